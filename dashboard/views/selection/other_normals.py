"""Selection, with other normal images: scores and decisions, and the overlap of selections."""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.components.pickers import pick_one
from dashboard.components.progress import Estimate, asked_beside, computed, computed_beside
from dashboard.components.tables import Cell, download_table, metrics
from dashboard.plots import other_normals as plots
from dashboard.services.analysis import Analysis
from dashboard.services.estimates import Steps, seconds_of
from dashboard.text import escaped
from lake_core.experiments.other_normals import OtherNormals, n_refits, other_normals
from lake_core.experiments.selection_overlap import selection_overlap
from lake_core.findings.normals import Refits
from lake_core.sentences import quantity, sentence

REFITS: dict[Refits, str] = {"leave one out": "one left out", "bootstrap": "bootstrap draws"}


def decisions(found: Analysis) -> None:
    """How the decisions on the test images change when the detector is fitted on other normal images."""
    st.subheader("Scores and decisions", anchor=False)
    st.markdown(
        "The detector is fitted again without each one of the normal images, and on draws of as many of them with "
        "replacement (bootstrap; an image drawn twice counts once, so a draw also shows what fewer images do)."
    )
    if not found.workspace.tests:
        st.info("Add test images to see whether their scores and decisions would change.", icon=":material/image:")
        return
    lake, images, labels = found.lake, found.images, found.known_labels
    key = "other normals", found.result_key, lake.threshold_
    n_fits = n_refits(len(lake.normals_))
    estimate = Estimate(
        seconds_of(found, Steps(n_scored=n_fits * len(images), n_fits=n_fits)),
        "Decisions may turn out to depend on single normal images.",
    )
    if not asked_beside(key, "Fit on other normal images", ":material/shuffle:", estimate):
        return
    result = computed_beside(key, "Scores", lambda show: other_normals(lake, images, labels, on_progress=show))
    if result is not None:
        _outcome(found, result)


def _outcome(found: Analysis, result: OtherNormals) -> None:
    finding = result.finding
    st.markdown(escaped(sentence(finding)))
    if result.images.empty:
        return
    cells: list[Cell] = [
        (
            f"Decisions that change, {REFITS[one.kind]}",
            f"{one.n_changed / (one.n_refits * finding.n_images):.0%}",
            f"{one.n_changed} of {one.n_refits * finding.n_images}",
        )
        for one in finding.refits
        if one.n_refits
    ]
    metrics(cells)
    kinds = [one.kind for one in finding.refits if one.n_refits]
    kind = pick_one("Refits", {name: REFITS[name] for name in kinds}, "other_normals")
    rows = result.images[result.images["refits"] == kind].sort_values("score", ascending=False)
    st.plotly_chart(
        plots.score_ranges(rows, found.lake.threshold_),
        key=f"ranges_{kind}",
        alt=f"Score of each test image with all normal images, and its range over the refits ({REFITS[kind]})",
    )
    st.caption(
        f"A score of 1 is the {found.lake.config.calibration_percentile} of normal patches. Bars reach from the lowest "
        "to the highest score of the refits; the line is the threshold from all normal images. Each refit decides by "
        "its own threshold, which is not drawn: a decision can change although the bar lies on one side of the line, "
        "and stay although it crosses it."
    )
    _tables(rows, result.refits[result.refits["refits"] == kind])
    for table, name in ((result.images, "other_normals_images.csv"), (result.refits, "other_normals_refits.csv")):
        what = "by image" if table is result.images else "by refit"
        download_table(table, name, f"Download {what} (CSV)")


def _tables(images: pd.DataFrame, refits: pd.DataFrame) -> None:
    """The numbers, image by image and refit by refit."""
    columns: dict[str, Any] = {
        name: st.column_config.NumberColumn(format="%.3f")
        for name in ("score", "lowest", "q05", "median", "q95", "highest", "threshold")
    }
    columns |= {
        "label": "defective",
        "is_anomalous": "anomalous",
        "n_refits": None,
        "refits": None,
        "n_changed": "decisions changed",
        "n_changed_at_kept": "changed at the kept threshold",
        "n_normals": "normal images",
        "auroc": st.column_config.NumberColumn("image AUROC", format="%.3f"),
        "jaccard": st.column_config.NumberColumn("overlap of selections (Jaccard)", format="%.3f"),
    }
    for name, table in (("Image by image", images), ("Refit by refit", refits)):
        with st.expander(name):
            st.dataframe(table, hide_index=True, column_config=columns, alt=f"Scores and decisions, {name.lower()}")


def selections(found: Analysis) -> None:
    """How the selections from fewer normal images overlap with that from all."""
    st.subheader("Overlap of selections", anchor=False)
    result = computed(
        ("selections", found.key),
        "Selections from fewer images",
        lambda show: selection_overlap(found.lake, on_progress=show),
    )
    if result is None:
        return
    st.markdown(f"**{escaped(sentence(result.finding))}**")
    if len(result.runs):
        st.plotly_chart(plots.overlaps_by_count(result.runs), alt="Overlap of selections by number of normal images")
    if len(result.neurons):
        for layer, neurons in result.neurons.groupby("layer"):
            always, sometimes = neurons[neurons["always"]], neurons[~neurons["always"]]
            st.markdown(
                f"**Layer {layer}**: always selected, whichever image is left out: {quantity(len(always), 'neuron')}; "
                f"sometimes: {len(sometimes)}"
                + (f" ({', '.join(str(neuron) for neuron in sometimes['neuron'])})." if len(sometimes) else ".")
            )
        with st.expander("Neuron by neuron"):
            st.dataframe(
                result.neurons,
                hide_index=True,
                column_config={
                    "selected": "selected with all images",
                    "share": st.column_config.NumberColumn("share of leave-one-out selections", format="percent"),
                    "always": "always selected",
                },
                alt="How often each neuron is selected",
            )
