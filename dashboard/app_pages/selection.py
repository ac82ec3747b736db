"""Selection: for each layer the units ranked by sensitivity, which were kept, and a control with random units."""

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import components, compute, figures, sidebar, state
from dashboard.compute import N_RANDOM_DRAWS, Analysis
from lake_core.metrics import auroc
from lake_core.selection import Selection


def layer_section(selection: Selection) -> None:
    """One layer: what was kept, the ranked curve, and a way to each unit."""
    kind = sidebar.KIND_NAMES[selection.kind]
    st.subheader(f"Layer {selection.layer}", anchor=False)
    n_kept, n_units = len(selection.units), selection.n_units
    components.metrics(
        [
            (f"{kind.capitalize()} kept", f"{n_kept} of {n_units}", None),
            ("Sensitivity kept", f"{selection.share_kept:.0%}", "of the layer's total"),
            ("If spread evenly", f"{n_kept / n_units:.0%}", "of the layer's total"),
        ]
    )
    event = st.plotly_chart(
        figures.ranking(selection, state.focus().unit if state.focus().layer == selection.layer else None),
        on_select="rerun",
        selection_mode="points",
        key=f"ranking_{selection.layer}_{len(selection.units)}_{selection.criterion}",
        alt=f"Units of layer {selection.layer} ranked by sensitivity; {n_kept} of {n_units} are selected",
    )
    points = event.selection.points
    if points and "customdata" in points[0]:
        unit = points[0]["customdata"]
        state.set_focus(layer=selection.layer, unit=int(unit[0] if isinstance(unit, list) else unit))
    if state.focus().layer == selection.layer and state.focus().unit is not None:
        unit = state.focus().unit
        if st.button(f"See neuron {unit} of layer {selection.layer}", key=f"see_{selection.layer}", type="primary"):
            st.switch_page(st.session_state.pages["neurons"])
    else:
        st.caption("Click a bar to choose its neuron.")
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


def separation(found: Analysis, scores: list[float]) -> float | None:
    """AUROC where all is labelled; else how far test scores lie above the normals' own, in thresholds."""
    if found.labels is not None:
        return auroc(found.labels, scores)
    return float(np.mean(scores) / found.lake.threshold_)


def control_section(found: Analysis) -> None:
    """The same pipeline with random units, several draws."""
    st.subheader("Is selecting any better than chance?", anchor=False)
    if not found.workspace.tests:
        st.caption("Add test pictures to compare the selected neurons with random ones.")
        return
    config = found.lake.config
    progress = st.progress(0.0, text="Random draws …")
    draws = []
    for seed in range(N_RANDOM_DRAWS):
        scores = compute.random_draw(found.key, seed, config.text_weight, config.top_q, found.workspace)
        draws.append(separation(found, scores))
        progress.progress((seed + 1) / N_RANDOM_DRAWS, text=f"Random draw {seed + 1} of {N_RANDOM_DRAWS}")
    progress.empty()
    selected = separation(found, [score.score for score in found.scores])
    known = [draw for draw in draws if draw is not None]
    if selected is None or not known:
        st.caption("Label good and defective test pictures to see how well each choice of neurons separates them.")
        return
    measure = "image AUROC on your labels" if found.labels is not None else "mean test score ÷ threshold"
    st.plotly_chart(figures.control(selected, known, measure), alt=f"{measure}: selected against random units")
    n_beaten = sum(selected > draw for draw in known)
    n_units = ", ".join(str(len(s.units)) for s in found.lake.selection_.values())
    st.markdown(
        f"The selection is above **{n_beaten} of {len(known)}** random draws of the same size ({n_units} units): "
        f"{selected:.3f} against {np.mean(known):.3f} on average. "
        + (
            "Here selecting sensitive neurons helps."
            if n_beaten >= 0.9 * len(known)
            else "Here random neurons do better: high variance is not what finds these defects."
            if n_beaten <= 0.1 * len(known)
            else "Here random neurons do about as well: high variance alone explains little."
        )
    )
    if found.labels is None:
        st.caption("Without labels a greater gap can also mean that good test pictures look unusual.")


components.heading(
    "Selection",
    "The neurons of each layer ranked by how strongly they vary over the **normal** patches; the most sensitive ones, "
    "left of the dashed line, are kept. High variance is a ranking, not a proof of cause.",
)
found = components.analysis(sidebar.current(), tests_needed=False)
for selection in found.lake.selection_.values():
    layer_section(selection)
control_section(found)
