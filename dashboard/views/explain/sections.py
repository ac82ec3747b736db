"""Sections of the page Explain: the contributions as a table, the fusion weight, another image."""

import streamlit as st

from dashboard.components.pickers import pick
from dashboard.components.progress import Estimate, asked_beside, computed
from dashboard.components.tables import download_table
from dashboard.plots import decomposition
from dashboard.services.analysis import Analysis
from dashboard.services.controls import control_key, control_seconds
from dashboard.services.images import score_image
from dashboard.session import current
from dashboard.text import escaped
from dashboard.views.selection import overview
from dashboard.words import SEPARATION_NAMES, max_scoring, of_normals, verdict
from lake_core.detector.contributions import adding_up
from lake_core.detector.result import ImageResult
from lake_core.experiments import controls
from lake_core.experiments.comparison import compare_contributions
from lake_core.experiments.controls import separation_measure, weight_curve
from lake_core.experiments.text_similarity import image_probabilities


def random_neurons(found: Analysis, score: ImageResult) -> None:
    """Whether as many random neurons tell the test images apart as well; on demand, beside the page."""
    st.markdown("The control: do as many **random** neurons tell the test images apart as well?")
    estimate = Estimate(control_seconds(found), "Random neurons may do as well or better.")
    if asked_beside(control_key(found), f"Compare with {controls.N_DRAWS} random draws", ":material/casino:", estimate):
        overview.against_random(found)


def contributions(found: Analysis, score: ImageResult) -> None:
    """The decomposition as a table, of the fixed patch or of the image score."""
    patch = current().focus.patch
    table = score.contributions(patch)
    total = float(table["contribution"].sum())
    st.dataframe(
        table.assign(contribution=adding_up(table["contribution"], total, 4)),
        hide_index=True,
        column_config={"contribution": st.column_config.NumberColumn(format="%.4f")},
        alt="Score decomposition: part, layer, neuron, contribution",
    )
    where = "the image score" if patch is None else f"patch {patch}, which is fixed above"
    st.caption(f"The rows ({len(table)}) add up to {total:.4f}, of {where}. The CSV has all digits.")
    download_table(table, "contributions.csv", "Download the contributions (CSV)")
    probability = score.patch_scores.image_probability
    if probability is not None:
        normals = image_probabilities(found.lake, found.lake.normals_)
        st.caption(
            f"Not part of the score: the whole image's zero-shot probability of “anomalous” is {probability:.0%} "
            f"({of_normals(normals)})."
        )


def weight(found: Analysis, score: ImageResult) -> None:
    """What the fusion weight is worth over all images, and for this one."""
    labels, config = found.known_labels, found.lake.config
    if found.lake.memory_bank_.text is None:
        st.info("These scores have no text part, so the fusion weight changes nothing.", icon=":material/translate:")
        return
    curve = computed(
        (
            "weight",
            found.key,
            found.lake.own_threshold,
            config.top_q,
            config.threshold_quantile,
            found.tests_key,
            labels,
        ),
        "Fusion weights",
        lambda show: weight_curve(found.lake, found.scores, labels, on_progress=show),
    )
    if curve is None:
        return
    measure = SEPARATION_NAMES[separation_measure(labels)]
    st.plotly_chart(
        decomposition.weight_curve(curve, measure, score.fusion_weight),
        key="weights",
        alt=f"{measure} against fusion weight",
    )
    st.caption(
        "Change the weight in the sidebar: scores, maps and decisions follow at once. The paper's best weight is about "
        "0.3; choosing it here uses your test " + ("labels." if separation_measure(labels) == "auroc" else "images.")
    )
    download_table(curve, "weights.csv")


def against(found: Analysis, score: ImageResult) -> None:
    """This image's contributions less another's, neuron by neuron."""
    others = [one for one in found.by_score if one.image != score.image]
    if not others:
        st.info("Add a second test image to compare with.", icon=":material/image:")
        return
    names = {one.image.sha256: f"{one.image.name}  ·  {one.score:.3f}" for one in others}
    held = current().compared_with
    sha256 = held if held in names else others[-1].image.sha256

    def choose(chosen: str) -> None:
        current().compared_with = chosen

    pick("Compare with", names, sha256, choose, 420)
    other = next(one for one in others if one.image.sha256 == sha256)
    left, right = st.columns(2)
    for column, one in ((left, score), (right, other)):
        column.image(
            score_image(found, one, 420),
            width="stretch",
            alt=f"{one.image.name}, score {one.score:.3f}",
            caption=f"{escaped(one.image.name)}: {one.score:.3f}, {verdict(one)}",
        )
    table, difference = compare_contributions(score, other), round(score.score, 3) - round(other.score, 3)
    st.plotly_chart(
        decomposition.difference_bars(table, difference, (score.image.name, other.image.name)),
        key="difference",
        alt="Difference of the contributions by neuron",
    )
    st.caption(
        f"All differences add up to {score.score:.3f} − {other.score:.3f} = {difference:+.3f}. Each image is "
        f"decomposed at its own {max_scoring(len(score.patches))}."
    )
    download_table(table, "difference.csv")
