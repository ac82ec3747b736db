"""Selection: units ranked by sensitivity in every layer, which are kept, and what that choice is worth."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import components, compute, figures, selection_figures, sidebar, state
from dashboard.compute import Analysis
from lake_core.capture import KINDS
from lake_core.controls import compare_criteria, effective_dimension, knee, random_control, separation_measure, sweep_k
from lake_core.neighbours import ALIKE, kinds_overlap
from lake_core.selection import Selection
from lake_core.stability import stability

N_DRAWS = 10
MEASURES = {"auroc": "image AUROC on your labels", "gap": "mean test score − mean normal score"}
VIEWS = ("Layers at a glance", "Ranking", "Criteria", "Stability", "Sweep over K")


def chosen_point(event: Any) -> Any:
    """The customdata of a clicked point, or None."""
    points = event.selection.points
    return points[0].get("customdata") if points else None


def see_unit(layer: int, unit: int, key: str) -> None:
    """A way to the page of a unit, which becomes the shared selection."""
    state.set_focus(layer=layer, unit=unit)
    if st.button(f"See neuron {unit} of layer {layer}", key=key, type="primary"):
        st.switch_page(st.session_state.pages["neurons"])


def glance(found: Analysis) -> None:
    """All layers in one map."""
    selections = compute.all_selections(found)
    event = st.plotly_chart(
        selection_figures.xray(selections, tuple(found.lake.selection_)),
        on_select="rerun",
        selection_mode="points",
        key="xray",
        alt="Sensitivity of the units of every layer, most sensitive first, with the cut at K",
    )
    st.caption(
        "Each row is a layer; ● marks the layers in the score. Left of the white line lie the units that are, or would "
        "be, kept. Click a place to choose the most sensitive neuron there."
    )
    point = chosen_point(event)
    if point is not None:
        see_unit(int(point[0]), int(point[1]), "see_xray")


def ranking(selection: Selection) -> None:
    """One layer: what was kept, the ranked curve, and a way to each unit."""
    kind = sidebar.KIND_NAMES[selection.kind]
    st.subheader(f"Layer {selection.layer}", anchor=False)
    n_kept, n_units = len(selection.units), selection.n_units
    components.metrics(
        [
            (f"{kind.capitalize()} kept", f"{n_kept} of {n_units}", None),
            ("Sensitivity kept", f"{selection.share_kept:.0%}", "of the layer's total"),
            ("If spread evenly", f"{n_kept / n_units:.0%}", "of the layer's total"),
            ("Effective dimension", f"{effective_dimension(selection.sensitivity):.0f}", "units carry it"),
            ("Knee of the curve", f"K = {knee(selection.sensitivity)}", "a suggestion"),
        ]
    )
    event = st.plotly_chart(
        figures.ranking(selection, state.focus().unit if state.focus().layer == selection.layer else None),
        on_select="rerun",
        selection_mode="points",
        key=f"ranking_{selection.layer}_{n_kept}_{selection.criterion}",
        alt=f"Units of layer {selection.layer} ranked by sensitivity; {n_kept} of {n_units} are selected",
    )
    st.caption("Click a bar to choose its neuron.")
    point = chosen_point(event)
    if point is not None:
        see_unit(selection.layer, int(point[0] if isinstance(point, list) else point), f"see_{selection.layer}")
    with st.expander(f"The {n_kept} selected neurons of layer {selection.layer}"):
        st.dataframe(
            pd.DataFrame(
                {
                    "rank": np.arange(1, n_kept + 1),
                    "unit": selection.units,
                    "sensitivity": selection.sensitivity[selection.units],
                }
            ),
            hide_index=True,
            alt=f"Selected units of layer {selection.layer}",
        )


def against_random(found: Analysis) -> None:
    """The same pipeline with random units, several draws."""
    st.subheader("Is selecting any better than chance?", anchor=False)
    if not found.workspace.tests:
        st.caption("Add test pictures to compare the selected neurons with random ones.")
        return
    labels = found.known_labels
    control = components.computed(
        ("random", found.result_key),
        "Random draws",
        lambda show: random_control(found.lake, found.pictures, labels, N_DRAWS, show),
    )
    if control is None:
        return
    measure = MEASURES[control.measure]
    st.plotly_chart(
        figures.control(control.selected, control.draws.tolist(), measure),
        alt=f"{measure}: {control.selected:.3f} selected, {control.draws.mean():.3f} random on average",
    )
    n_units = ", ".join(str(len(s.units)) for s in found.lake.selection_.values())
    st.markdown(
        f"The selection beats **{control.place:.0%}** of {len(control.draws)} random draws of the same size ({n_units} "
        f"units; a tie counts half): {control.selected:.3f} against {control.draws.mean():.3f} on average. "
        + (
            "Here selecting sensitive neurons helps."
            if control.place >= 0.9
            else "Here random neurons do better: high variance is not what finds these defects."
            if control.place <= 0.1
            else "Here random neurons do about as well: high variance alone explains little."
        )
    )
    if control.measure == "gap":
        st.caption("Without labels of both kinds, a greater gap can also mean that good test pictures look unusual.")


def criteria(found: Analysis) -> None:
    """What other criteria would select."""
    compared = components.computed(("criteria", found.key), "Other criteria", lambda _: compare_criteria(found.lake))
    if compared is None:
        return
    for layer, table in compared.jaccard.items():
        st.subheader(f"Layer {layer}", anchor=False)
        st.plotly_chart(
            selection_figures.overlap(table), key=f"overlap_{layer}", alt=f"Overlap of criteria in layer {layer}"
        )
    st.caption("Share of units that two criteria have in common, of all units that either selects (Jaccard).")
    kinds(found)


def kinds(found: Analysis) -> None:
    """Hidden units and channels of a layer matched by what they do."""
    backbone = found.lake.backbone
    layers = [layer for layer in found.lake.selection_ if all(layer in backbone.layers_with(kind) for kind in KINDS)]
    if not layers:
        return
    st.subheader("Do the two kinds of neuron find the same?", anchor=False)
    st.markdown(
        "Numbers of hidden units and of channels name different things, so they are matched by their maps: each "
        "selected hidden unit with the selected channel whose map agrees most (correlation)."
    )
    for layer in layers:
        kinds_of_layer(found, layer)


def kinds_of_layer(found: Analysis, layer: int) -> None:
    """The best match of each selected hidden unit of a layer."""
    overlap = components.computed(
        ("kinds", found.key, compute.shas(found.workspace.tests), layer),
        f"Matching the kinds in layer {layer}",
        lambda _: kinds_overlap(found.lake, layer, compute.pictures_of(found.workspace)),
    )
    if overlap is None:
        return
    st.plotly_chart(
        selection_figures.best_matches(overlap.matches, ALIKE),
        key=f"kinds_{layer}",
        alt=f"Agreement of each selected hidden unit of layer {layer} with its best channel",
    )
    chance = overlap.strength_by_chance
    st.markdown(
        f"**Layer {layer}**: {overlap.share_alike:.0%} of the selected hidden units have a channel that does alike "
        f"(agreement of {ALIKE:g} or more). The best match has {overlap.strength:.2f} on average"
        + ("." if chance is None else f", and {chance:.2f} for random units that are not selected.")
    )


def steadiness(found: Analysis) -> None:
    """Whether another normal photo would change the selection."""
    result = components.computed(
        ("stability", found.key), "Leaving normal pictures out", lambda show: stability(found.lake, on_progress=show)
    )
    if result is None:
        return
    st.markdown(f"**{result.sentence}**")
    if len(result.runs):
        st.plotly_chart(
            selection_figures.overlaps_by_count(result.runs), alt="Overlap of selections by number of normal pictures"
        )
    if len(result.units):
        always = int(result.units["always"].sum())
        st.caption(f"{always} of {len(result.units)} neurons are selected whichever picture is left out.")
        with st.expander("Neuron by neuron"):
            st.dataframe(result.units, hide_index=True, alt="How often each unit is selected")


def over_k(found: Analysis) -> None:
    """Separation and memory against K."""
    if not found.workspace.tests:
        st.info("Add test pictures to see what each K is worth.", icon=":material/image:")
        return
    labels = found.known_labels
    rows = components.computed(
        ("sweep", found.result_key),
        "Trying values of K",
        lambda show: sweep_k(found.lake, found.pictures, labels, on_progress=show),
    )
    if rows is None:
        return
    measure = MEASURES[separation_measure(labels)]
    st.plotly_chart(
        selection_figures.sweep(rows, found.lake.config.top_k, measure), alt=f"{measure} against K, selected and random"
    )
    st.caption("The band is one standard deviation over three random draws. Choosing K here looks at your test labels.")
    components.download_table(rows, "sweep.csv")


components.heading(
    "Selection",
    "The neurons of each layer ranked by how strongly they vary over the **normal** patches; the most sensitive ones "
    "are kept. High variance is a ranking, not a proof of cause.",
)
found = components.analysis(sidebar.current(), tests_needed=False)
view = st.segmented_control("View", VIEWS, default="Ranking", required=True, key="selection_view")
if view == "Layers at a glance":
    glance(found)
elif view == "Ranking":
    for selection in found.lake.selection_.values():
        ranking(selection)
    against_random(found)
elif view == "Criteria":
    criteria(found)
elif view == "Stability":
    steadiness(found)
else:
    over_k(found)
