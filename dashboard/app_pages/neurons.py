"""Neurons: one neuron on one card, or many on all test images by kind of defect."""

from functools import partial

import numpy as np
import streamlit as st

from dashboard.components.analysis import current_analysis
from dashboard.components.neurons import neuron_button
from dashboard.components.page import heading
from dashboard.components.pickers import pick_layer, pick_section
from dashboard.services.analysis import Analysis
from dashboard.session import current
from dashboard.settings import Pin
from dashboard.text import escaped
from dashboard.views.neurons import facts, maps, meaning, numbers, pins
from dashboard.views.neurons.by_kind import BY_KIND, neurons_by_kind
from dashboard.views.neurons.sheet import Form, sheet
from dashboard.views.neurons.view import NeuronView
from dashboard.words import NEURON_CARD, direction
from lake_core.detector.selection import Selection
from lake_core.neurons.statistics import selection_of

FORMS: dict[Form, str] = {"png": "image/png", "svg": "image/svg+xml"}
N_TOP = 8


def chosen_neuron(found: Analysis, selection: Selection) -> int:
    """The shared neuron; at first the one that contributes most to the shared image's score."""
    neuron, score = current().focus.neuron, found.score_of(current().focus.image)
    if neuron is None or not 0 <= neuron < selection.n_neurons:
        neuron = int(selection.neurons[0])
        if score is not None and selection.layer in found.lake.selection_:
            neuron = int(score.top_neurons(None, selection.layer, 1)["neuron"][0])
    current().set_focus(layer=selection.layer, neuron=neuron)  # so that the link names it, also where nobody chose it
    return neuron


def pick_neuron(found: Analysis, selection: Selection, neuron: int) -> None:
    """Pickers of the shared neuron: by rank, by number, at random; and its pin."""

    def go(to: int) -> None:
        current().set_focus(layer=selection.layer, neuron=int(to))

    def step(sign: str, name: str, rank: int, shortcut: str) -> None:
        is_there = 1 <= rank <= selection.n_neurons
        to = selection.order[rank - 1] if is_there else neuron
        st.button(sign, help=name, key=name, on_click=go, args=(to,), disabled=not is_there, shortcut=shortcut)

    rank = selection.rank_of(neuron)
    st.session_state.picked_neuron = neuron
    step("◀", "More sensitive neuron", rank - 1, "K")
    st.number_input(
        f"Neuron (0 to {selection.n_neurons - 1})",
        0,
        selection.n_neurons - 1,
        key="picked_neuron",
        on_change=lambda: go(st.session_state.picked_neuron),
        width=150,
    )
    step("▶", "Less sensitive neuron", rank + 1, "J")
    st.button("Random", on_click=lambda: go(int(np.random.default_rng().integers(selection.n_neurons))), shortcut="N")
    pins.button(Pin(found.key.model, selection.layer, selection.site, neuron))


def top_neurons(view: NeuronView) -> None:
    """The layer's neurons that contribute most to the shared image's score, each with its direction."""
    selection, score = view.selection, view.found.score_of(current().focus.image)
    if score is None or selection.layer not in view.found.lake.selection_:
        return
    is_shown = maps.looked_at(view).image.sha256 == score.image.sha256
    whose = "its score" if is_shown else f"the score of {escaped(score.image.name)}"
    st.markdown(f"Add most to {whose}:", width="content")
    for row in score.top_neurons(None, selection.layer, N_TOP).to_dict("records"):
        mark, words = direction(row["here"] - row["normal"])
        number = int(row["neuron"])
        neuron_button(
            f"{number} {mark}",
            f"top_{number}",
            (selection.layer, selection.site, number),
            f"{words}, adds {row['contribution']:.3f}",
            type="primary" if number == view.neuron else "secondary",
        )


def downloads(view: NeuronView) -> None:
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


def card(found: Analysis) -> None:
    """Everything about one neuron, from top to bottom."""
    row = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    with row:
        selection = selection_of(found.lake, pick_layer(found))
    view = NeuronView.of(found, selection, chosen_neuron(found, selection))
    with row:
        pick_neuron(found, selection, view.neuron)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        maps.pick_looked_at(view)
        top_neurons(view)
    for part in CARD:
        part(view)


CARD = (
    facts.facts,
    maps.two_images,
    maps.extremes,
    numbers.distribution,
    numbers.correlated,
    meaning.words,
    meaning.pixels,
    maps.everywhere,
    downloads,
    pins.side_by_side,
)

heading(
    "Neurons",
    "What one neuron does. A neuron is one number that a layer of the network computes at every patch, a cell of the "
    "grid laid over the image; none of them was trained on defects.",
)
pick_section("Section", {NEURON_CARD: card, BY_KIND: neurons_by_kind}, "neuron_section")(
    current_analysis(tests_needed=False)
)
