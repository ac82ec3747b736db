"""Selection, what is kept: all layers at a glance, each layer's ranked curve with its cut, and random draws."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.components import top_k
from dashboard.components.layout import chart
from dashboard.components.neurons import preview, preview_address, shared_image
from dashboard.components.pickers import first_clicked, see_page
from dashboard.components.progress import computed_beside
from dashboard.components.tables import metrics
from dashboard.plots import selection
from dashboard.services.analysis import Analysis
from dashboard.services.controls import control_key, known_control, measured_control
from dashboard.session import current
from dashboard.text import escaped
from dashboard.words import SEPARATION_NAMES
from lake_core.data.samples import measured_sample
from lake_core.detector.selection import Selection
from lake_core.experiments.ranking import elbow, participation_ratio
from lake_core.sentences import control_caveat, sentence

VERDICTS = {  # by the verdict, and by what the interval alone says
    ("better", "better"): "better than the mean of {} random selections",
    ("worse", "worse"): "worse than the mean of {} random selections",
    ("no difference", "better"): "better than the mean of {} random selections, but maybe an ordinary one among them",
    ("no difference", "worse"): "worse than the mean of {} random selections, but maybe an ordinary one among them",
    ("no difference", "no difference"): "no reliable difference from the mean of {} random selections",
}


def pick_k(selections: Mapping[int, Selection]) -> None:
    """The sidebar's K, moved from the page."""
    pick_k_of(max(selection.n_neurons for selection in selections.values()))


def pick_k_of(n_neurons: int) -> None:
    """The sidebar's K of so many neurons, moved from the page."""
    if top_k.is_by_layer():
        st.caption("Each layer has its own K, set in the sidebar.")
        return
    if n_neurons < 2:
        return

    def move() -> None:
        top_k.set_for_all(st.session_state.page_k)

    st.session_state.page_k = min(st.session_state.top_k, n_neurons)
    is_fixed = current().is_read_only
    st.slider("Neurons kept per layer (K)", 1, n_neurons, key="page_k", on_change=move, width=420, disabled=is_fixed)


def k_and_elbows(selections: Mapping[int, Selection]) -> None:
    """The elbow of each of several layers, and that one K holds for all if it does."""
    if len(selections) < 2:
        return
    said = "" if top_k.is_by_layer() else "**K is the same for every layer.** "
    st.markdown(f"{said}The elbow of each layer's own curve, for comparison:")
    rows = [
        (layer, one.n_neurons, len(one.neurons), elbow(one.sensitivity), one.share_kept)
        for layer, one in selections.items()
    ]
    st.dataframe(
        pd.DataFrame(rows, columns=["layer", "neurons", "kept", "elbow", "sensitivity kept"]),
        hide_index=True,
        height="auto" if len(rows) < 8 else 260,
        width=460,
        column_config={"sensitivity kept": st.column_config.NumberColumn(format="percent")},
        alt="Neurons, neurons kept and elbow of each layer",
    )


def see_neuron(layer: int, neuron: int, key: str, in_full: bool = True) -> None:
    """A way to the page of a neuron, which becomes the shared selection."""
    says = f"See neuron {neuron} of layer {layer}" if in_full else str(neuron)
    if st.button(says, key=key, type="primary" if in_full else "tertiary", help=preview(layer, neuron)):
        see_page("neurons", layer=layer, neuron=neuron)


def glance(selections: Mapping[int, Selection], in_use: tuple[int, ...]) -> None:
    """All layers in one map, and a way to each neuron of a place that was clicked."""
    pick_k({layer: selections[layer] for layer in in_use})
    event = chart(
        selection.xray(selections, in_use),
        "xray",
        "Sensitivity of the neurons of every layer, most sensitive first, with the cut at K",
        on_select="rerun",
        selection_mode="points",
    )
    st.caption(
        "Each row is a layer; ● marks the layers in the score. Neurons left of the white line are, or would be, kept. "
        "Click a square to see its neurons."
    )
    with st.expander("The elbow of every layer"):
        k_and_elbows(selections)
    point = first_clicked(event)
    if point is None:
        return
    layer, first = int(point[0]), int(point[1])
    here = next((neurons for neurons in selection.bins(selections[layer]) if neurons[0] == first), np.array([first]))
    with st.container(horizontal=True, vertical_alignment="center"):
        see_neuron(layer, first, "see_xray")
        if len(here) > 1:
            st.markdown("or, next in rank:", width="content")
        for neuron in here[1:13]:
            see_neuron(layer, int(neuron), f"see_xray_{neuron}", in_full=False)


def ranking(chosen: Selection, n_layers: int) -> None:
    """One layer: what was kept, the ranked curve, and a way to each neuron.

    Args:
        chosen: Of the layer.
        n_layers: Layers in the score.
    """
    focus = current().focus
    st.subheader(f"Layer {chosen.layer}", anchor=False)
    n_kept, n_neurons, suggested = len(chosen.neurons), chosen.n_neurons, elbow(chosen.sensitivity)
    metrics(
        [
            ("Neurons kept", f"{n_kept} of {n_neurons}", None),
            ("Sensitivity kept", f"{chosen.share_kept:.0%}", "of the layer's total"),
            ("Uniform baseline", f"{n_kept / n_neurons:.0%}", "of the layer's total"),
            (
                "Sensitivity spread over",
                f"{participation_ratio(chosen.sensitivity):.0f} neurons",
                "participation ratio of the sensitivities",
            ),
            ("Elbow", f"K = {suggested}", "a suggestion"),
        ]
    )
    by_layer = top_k.is_by_layer()
    if suggested != n_kept and chosen.criterion not in ("random", "all"):
        st.button(
            f"Use K = {suggested} (elbow)" + (" in every layer" if n_layers > 1 and not by_layer else ""),
            key=f"elbow_{chosen.layer}",
            on_click=top_k.set_for_layer if by_layer else top_k.set_for_all,
            args=(suggested, chosen.layer) if by_layer else (suggested,),
            disabled=current().is_read_only,
            help=(
                "Up to the elbow each further neuron adds more than the average one. It follows from the curve alone "
                "and does not tell how well defects are found."
            ),
        )
    event = st.plotly_chart(
        selection.ranking(chosen, focus.neuron if focus.layer == chosen.layer else None, suggested),
        on_select="rerun",
        selection_mode="points",
        key=f"ranking_{chosen.layer}_{n_kept}_{chosen.criterion}",
        alt=(
            f"Neurons of layer {chosen.layer} ranked by sensitivity; {n_kept} of {n_neurons} are selected, "
            f"and the elbow of the curve is at {suggested}"
        ),
    )
    st.caption("Click a bar to open its neuron.")
    point = first_clicked(event)
    if point is not None:
        see_page("neurons", layer=chosen.layer, neuron=int(point[0] if isinstance(point, list) else point))
    with st.expander(f"The selected neurons of layer {chosen.layer} ({n_kept})"):
        selected_neurons(chosen)


def selected_neurons(chosen: Selection) -> None:
    """The selected neurons as a table, with their maps if asked; a row opens its neuron."""
    n_kept, layer, image = len(chosen.neurons), chosen.layer, shared_image()
    table = pd.DataFrame(
        {
            "rank": np.arange(1, n_kept + 1),
            "neuron": chosen.neurons,
            "sensitivity": chosen.sensitivity[chosen.neurons],
        }
    )
    columns = {}
    if st.toggle(f"With each one's map on {escaped(image.name)}", key=f"with_maps_{layer}"):
        table["map"] = [preview_address(layer, int(neuron), chosen.site, image) for neuron in chosen.neurons]
        columns["map"] = st.column_config.ImageColumn(help="Click to enlarge")
    rows = st.dataframe(
        table,
        hide_index=True,
        row_height=72 if columns else None,
        column_config=columns,
        on_select="rerun",
        selection_mode="single-row",
        key=f"selected_{layer}_{n_kept}_{chosen.criterion}",
        alt=f"Selected neurons of layer {layer}",
    ).selection.rows
    st.caption("Choose a row to open its neuron.")
    if rows:
        see_page("neurons", layer=layer, neuron=int(chosen.neurons[rows[0]]))


def control_in_a_line(found: Analysis) -> str | None:
    """What the control says, as far as it is known: of the images that are open, else of the sample they are from."""
    control = known_control(found)
    if control is not None:
        n_draws = len(control.draws)
        if control.finding is None:
            return f"Control: {control.n_as_good} of {n_draws} random selections reach as large a gap to normal images."
        verdict = VERDICTS[control.finding.verdict, control.finding.on_average].format(n_draws)
        return f"Control: {verdict} (AUROC {control.difference:+.2f}, p = {control.p_value:.2f})."
    measured = measured_sample(found.workspace.sample)
    if measured is None:
        return None
    lake, random, every = (measured.methods[method].mean for method in ("lake", "random", "all"))
    return (
        f"Control, measured in advance with {measured.shots} normal images and {len(measured.seeds)} seeds: image "
        f"AUROC {lake:.2f} with selected neurons, {random:.2f} with random ones, {every:.2f} with all."
    )


def against_random(found: Analysis) -> None:
    """The same pipeline with random neurons, several draws."""
    st.subheader("Selected against random neurons", anchor=False)
    if not found.workspace.tests:
        st.caption("Add test images to compare the selected neurons with random ones.")
        return
    control = computed_beside(control_key(found), "Random draws", lambda show: measured_control(found, show))
    if control is None:
        return
    measure = SEPARATION_NAMES[control.measure]
    st.plotly_chart(
        selection.control(control.selected, control.draws.tolist(), measure),
        key="random_control",
        alt=f"{measure}: {control.selected:.3f} selected, {control.draws.mean():.3f} random on average",
    )
    if control.finding is not None:
        st.markdown(f"**{sentence(control.finding)}**")
    st.markdown(sentence(control.draws_finding(found.lake)))
    st.caption(control_caveat(control.finding is not None))
