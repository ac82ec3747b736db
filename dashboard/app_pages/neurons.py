"""Neurons: one neuron's activation map on every image, what it answers to, and its place in the ranking."""

from functools import partial

import numpy as np
import streamlit as st

from dashboard.components.analysis import current_analysis
from dashboard.components.legends import legend
from dashboard.components.page import heading
from dashboard.components.pickers import pick_layer, pick_section
from dashboard.services.analysis import Analysis, neuron_flags
from dashboard.session import current
from dashboard.settings import Pin
from dashboard.text import escaped
from dashboard.views.neurons import maps, meaning, numbers, pins
from dashboard.views.neurons.sheet import Form, sheet
from dashboard.views.neurons.view import NeuronView
from lake_core.detector.selection import Selection
from lake_core.neurons.statistics import selection_of

FORMS: dict[Form, str] = {"png": "image/png", "svg": "image/svg+xml"}
FLAGS = {
    "register_like": "register-like: its outlying maximum is on the same few patches of all normal images",
    "dead": "dead: it never varies over the normal images",
    "saturated": "saturated: many normal patches are at its ceiling",
}


def strongest(found: Analysis, layer: int, n: int = 8) -> list[int]:
    """Neurons of a layer with the greatest contributions to the shared image's score, greatest first."""
    score = found.score_of(current().focus.image)
    if score is None:
        return []
    contributions = score.contributions()
    return [int(neuron) for neuron in contributions[contributions["layer"] == layer]["neuron"].head(n)]


def pick_neuron(found: Analysis, selection: Selection) -> int:
    """Picker of the shared neuron: by rank among the selected, or any by number."""
    layer = selection.layer
    neuron = current().focus.neuron
    top_neurons = strongest(found, layer)
    if neuron is None or not 0 <= neuron < selection.n_neurons:
        neuron = top_neurons[0] if top_neurons else int(selection.neurons[0])
    rank = selection.rank_of(neuron)
    st.session_state.picked_neuron = neuron

    def go(to: int) -> None:
        current().set_focus(layer=layer, neuron=int(to))

    go(neuron)  # so that the link names it, also where nobody has chosen it
    shown = found.score_of(current().focus.image)
    if shown is not None and top_neurons:
        st.session_state.top_neuron = neuron if neuron in top_neurons else None
        st.pills(
            f"Neurons that contribute most to the score of {escaped(shown.image.name)}",
            top_neurons,
            key="top_neuron",
            on_change=lambda: go(neuron if st.session_state.top_neuron is None else st.session_state.top_neuron),
        )
    row = st.container(horizontal=True, vertical_alignment="bottom")

    row.button(
        "◀ more sensitive",
        on_click=go,
        args=(selection.order[max(rank - 2, 0)],),
        disabled=rank == 1,
        width="stretch",
        shortcut="K",
    )
    row.number_input(
        f"Neuron (0 to {selection.n_neurons - 1})",
        0,
        selection.n_neurons - 1,
        key="picked_neuron",
        on_change=lambda: go(st.session_state.picked_neuron),
    )
    row.button(
        "less sensitive ▶",
        on_click=go,
        args=(selection.order[min(rank, selection.n_neurons - 1)],),
        disabled=rank == selection.n_neurons,
        width="stretch",
        shortcut="J",
    )
    row.button(
        "Random neuron",
        on_click=lambda: go(int(np.random.default_rng().integers(selection.n_neurons))),
        width="stretch",
        shortcut="N",
    )
    with row:
        pins.button(Pin(found.key.model, layer, selection.site, neuron))
    return neuron


def download(view: NeuronView) -> None:
    """The neuron on one sheet."""
    name = f"layer{view.selection.layer}_neuron{view.neuron}"
    with st.container(horizontal=True):
        for form, mime in FORMS.items():
            st.download_button(
                f"Download the figure ({form.upper()})",
                partial(sheet, view, form),
                file_name=f"{name}.{form}",
                mime=mime,
                icon=":material/download:",
                on_click="ignore",
            )


def all_maps(view: NeuronView) -> None:
    """The neuron on one image in full, and on all images small."""
    legend(view.limit, "the activations")
    maps.in_full(view)
    maps.gallery("Test images", view.tests_by_score, view)
    maps.gallery("Normal images", view.found.workspace.normals, view)
    download(view)


SECTIONS = {
    "Maps": all_maps,
    "Patches": maps.extremes,
    "Distribution": numbers.distribution,
    "Correlated neurons": numbers.correlated,
    "Concept labels": meaning.words,
    "Input attribution": meaning.pixels,
    "Pinned": pins.side_by_side,
}

heading(
    "Neurons",
    "Where one neuron is active, on every image and on one shared scale. A neuron is one number that a layer computes "
    "at every patch; red is above zero, blue below, faint is near zero.",
)
found = current_analysis(tests_needed=False)
selection = selection_of(found.lake, pick_layer(found))
view = NeuronView.of(found, selection, pick_neuron(found, selection))
numbers.own_numbers(view)
for flag in neuron_flags(found, selection.layer).of(view.neuron):
    st.warning(f"This neuron is {FLAGS[flag]}.", icon=":material/flag:")

pick_section("Section", SECTIONS, "neuron_section")(view)
