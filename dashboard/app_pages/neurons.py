"""Neurons: one unit's activation map on every picture, what it answers to, and its place in the ranking."""

from functools import partial

import numpy as np
import streamlit as st

from dashboard import session
from dashboard.components import common, sidebar
from dashboard.services import compute
from dashboard.services.compute import Analysis
from dashboard.text import escaped
from dashboard.views.neurons import maps, meaning, numbers, pins
from dashboard.views.neurons.pins import Pin
from dashboard.views.neurons.sheet import Form, sheet
from dashboard.views.neurons.view import UnitView
from lake_core.detector.selection import Selection
from lake_core.neurons.statistics import selection_of

SECTIONS = ("Maps", "Patches", "Distribution", "Neighbours", "Words", "Pixels behind it", "Pinned")
FORMS: dict[Form, str] = {"png": "image/png", "svg": "image/svg+xml"}
FLAGS = {
    "register_like": "register-like: an outlying maximum sits on the same few patches of all normal pictures",
    "dead": "dead: it never varies over the normal pictures",
    "saturated": "saturated: many normal patches are at its ceiling",
}


def strongest(found: Analysis, layer: int, n: int = 8) -> list[int]:
    """Units of a layer with the greatest contributions to the shared picture's score, greatest first."""
    score = found.score_of(session.focus().picture)
    if score is None:
        return []
    ledger = score.ledger()
    return [int(unit) for unit in ledger[ledger["layer"] == layer]["unit"].head(n)]


def pick_unit(found: Analysis, selection: Selection) -> int:
    """Picker of the shared unit: by rank among the selected, or any by number."""
    layer = selection.layer
    unit = session.focus().unit
    carriers = strongest(found, layer)
    if unit is None or not 0 <= unit < selection.n_units:
        unit = carriers[0] if carriers else int(selection.units[0])
    rank = selection.rank_of(unit)
    st.session_state.picked_unit = unit

    def go(to: int) -> None:
        session.set_focus(layer=layer, unit=int(to))

    go(unit)  # so that the link names it, also where nobody has chosen it
    shown = found.score_of(session.focus().picture)
    if shown is not None and carriers:
        st.session_state.carrier = unit if unit in carriers else None
        st.pills(
            f"Neurons that carry most of the score of {escaped(shown.picture.name)}",
            carriers,
            key="carrier",
            on_change=lambda: go(unit if st.session_state.carrier is None else st.session_state.carrier),
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
        f"Unit (0 to {selection.n_units - 1})",
        0,
        selection.n_units - 1,
        key="picked_unit",
        on_change=lambda: go(st.session_state.picked_unit),
    )
    row.button(
        "less sensitive ▶",
        on_click=go,
        args=(selection.order[min(rank, selection.n_units - 1)],),
        disabled=rank == selection.n_units,
        width="stretch",
        shortcut="J",
    )
    row.button(
        "Random neuron",
        on_click=lambda: go(int(np.random.default_rng().integers(selection.n_units))),
        width="stretch",
        shortcut="N",
    )
    with row:
        pins.button(Pin(found.key.model, layer, selection.kind, unit))
    return unit


def download(view: UnitView) -> None:
    """The unit on one sheet."""
    name = f"layer{view.selection.layer}_unit{view.unit}"
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


common.heading(
    "Neurons",
    "Where one neuron is active, on every picture and on one shared scale. Red is above zero, blue below; faint places "
    "are near zero.",
)
found = common.analysis(sidebar.current(), tests_needed=False)
selection = selection_of(found.lake, common.pick_layer(found))
view = UnitView.of(found, selection, pick_unit(found, selection))
numbers.own_numbers(view)
for flag in compute.unit_flags(found.key, selection.layer, found.lake).of(view.unit):
    st.warning(f"This neuron is {FLAGS[flag]}.", icon=":material/flag:")

section = st.segmented_control(
    "Section", SECTIONS, default="Maps", required=True, key="unit_section", label_visibility="collapsed"
)
if section == "Maps":
    common.unit_legend(view.limit)
    maps.in_full(view)
    maps.gallery("Test pictures", view.tests_by_score, view)
    maps.gallery("Normal pictures", found.workspace.normals, view)
    download(view)
elif section == "Patches":
    maps.extremes(view)
elif section == "Distribution":
    numbers.distribution(view)
elif section == "Neighbours":
    numbers.company(view)
elif section == "Words":
    meaning.words(view)
elif section == "Pixels behind it":
    meaning.pixels(view)
else:
    pins.side_by_side(view)
