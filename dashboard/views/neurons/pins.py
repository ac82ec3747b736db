"""Neurons that the user has pinned, to compare them side by side on one picture."""

from typing import NamedTuple

import streamlit as st

from dashboard.components import common
from dashboard.components.sidebar import KIND_NAMES
from dashboard.services import compute
from dashboard.services.compute import ModelKey
from dashboard.text import escaped
from dashboard.views.neurons.maps import CARD, CARD_WIDTH, looked_at
from dashboard.views.neurons.view import UnitView, open_unit
from lake_core.backbones.hooks import Kind
from lake_core.visualization.overlays import symmetric_limit

MAX_PINS = 8


class Pin(NamedTuple):
    """A pinned unit; the same place of another backbone is another thing."""

    model: ModelKey
    layer: int
    kind: Kind
    unit: int


def held() -> list[Pin]:
    """This visitor's pins, in the order in which they were set."""
    pins: list[Pin] = st.session_state.setdefault("pins", [])
    return pins


def button(this: Pin) -> None:
    """Pins a unit, or takes its pin away."""
    pins = held()
    if this in pins:
        st.button(
            "Unpin this neuron", on_click=pins.remove, args=(this,), icon=":material/keep_off:", shortcut="P", key="pin"
        )
    else:
        is_full = len(pins) >= MAX_PINS
        st.button(
            "Pin this neuron",
            on_click=pins.append,
            args=(this,),
            icon=":material/keep:",
            shortcut="P",
            key="pin",
            disabled=is_full,
            help=f"{MAX_PINS} neurons are pinned, which is all there is room for; unpin one first."
            if is_full
            else f"Up to {MAX_PINS} neurons, compared under *Pinned* on one picture.",
        )


def side_by_side(view: UnitView) -> None:
    """The pinned units of this backbone on one picture, on one scale, beside the picture as it is."""
    model, lake = view.found.key.model, view.found.lake
    shown = [pin for pin in held() if pin.model == model]
    n_others = len(held()) - len(shown)
    if n_others:
        st.caption(f"{n_others} more pinned with another backbone or input size; they show when you go back to it.")
    if not shown:
        st.info(
            "No neuron is pinned yet. Pin this one and some others; here they stand side by side.",
            icon=":material/keep:",
        )
        return
    picture = looked_at(view).picture
    places = [lake.backbone.place(pin.layer, pin.kind) for pin in shown]
    lake.store.ensure([picture], set(places))
    values = [lake.store.get(picture, place)[:, pin.unit].numpy() for place, pin in zip(places, shown, strict=True)]
    limit = symmetric_limit(values)
    common.unit_legend(limit)
    with st.container(horizontal=True):
        first, *cards = [st.container(width=CARD_WIDTH) for _ in range(len(shown) + 1)]
    with first:
        plain = compute.plain_picture(picture.sha256, CARD, picture)
        st.image(plain, width="stretch", alt=picture.name)
        st.caption(f"{escaped(picture.name)}, as it is")
    for card, pin, place, own in zip(cards, shown, places, values, strict=True):
        _, layer, kind, unit = pin
        with card:
            st.image(
                compute.unit_picture(picture.sha256, model, place, unit, limit, CARD, True, picture),
                width="stretch",
                alt=f"Activation of unit {unit} of layer {layer} on {picture.name}, greatest {own.max():.3g}",
            )
            st.caption(f"layer {layer} · {KIND_NAMES[kind]} · unit {unit} · max {own.max():.2f}")
            key = f"{layer}_{kind}_{unit}"
            with st.container(horizontal=True, gap="small"):
                st.button("Open", key=f"open_{key}", on_click=open_unit, args=(layer, kind, unit), type="tertiary")
                st.button("Unpin", key=f"unpin_{key}", on_click=held().remove, args=(pin,), type="tertiary")
    st.caption("One scale for all. Another picture is chosen under *Maps*.")
    st.button("Unpin all", on_click=held().clear, type="tertiary")
