"""Neurons that the user has pinned, to compare them side by side on one image."""

import streamlit as st

from dashboard.components.layout import cards
from dashboard.components.legends import legend
from dashboard.services.images import NeuronMap, neuron_image, plain_image
from dashboard.session import Pin, current
from dashboard.text import escaped
from dashboard.views.neurons.maps import CARD, CARD_WIDTH, looked_at
from dashboard.views.neurons.view import NeuronView, open_neuron
from dashboard.words import SITE_NAMES
from lake_core.visualization.colours import symmetric_limit

MAX_PINS = 8


def held() -> list[Pin]:
    """This visitor's pins, in the order in which they were set."""
    return current().pins


def button(this: Pin) -> None:
    """Pins a neuron, or takes its pin away."""
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
            help=f"{MAX_PINS} neurons are pinned, which is the maximum; unpin one first."
            if is_full
            else f"Up to {MAX_PINS} neurons; compare them under *Pinned*.",
        )


def side_by_side(view: NeuronView) -> None:
    """The pinned neurons of this backbone on one image, on one scale, beside the image as it is."""
    model, lake = view.found.key.model, view.found.lake
    shown = [pin for pin in held() if pin.model == model]
    n_others = len(held()) - len(shown)
    if n_others:
        st.caption(f"Pinned with another backbone or input size, and hidden here: {n_others}.")
    if not shown:
        st.info("No neuron is pinned yet. Pin this one and a few others to compare them here.", icon=":material/keep:")
        return
    image = looked_at(view).image
    hook_points = [lake.backbone.hook_point(pin.layer, pin.site) for pin in shown]
    lake.store.ensure([image], set(hook_points))
    values = [
        lake.store.get(image, hook_point)[:, pin.neuron].numpy()
        for hook_point, pin in zip(hook_points, shown, strict=True)
    ]
    limit = symmetric_limit(values)
    legend(limit, "the activations")
    first, *places = cards(len(shown) + 1, CARD_WIDTH)
    with first:
        plain = plain_image(image, CARD)
        st.image(plain, width="stretch", alt=image.name)
        st.caption(f"{escaped(image.name)}, as it is")
    for card, pin, hook_point, own in zip(places, shown, hook_points, values, strict=True):
        _, layer, site, neuron = pin
        with card:
            st.image(
                neuron_image(image, NeuronMap(model, hook_point, neuron, limit, CARD)),
                width="stretch",
                alt=f"Activation of neuron {neuron} of layer {layer} on {image.name}, greatest {own.max():.3g}",
            )
            st.caption(f"layer {layer} · {SITE_NAMES[site]} · neuron {neuron} · max {own.max():.2f}")
            key = f"{layer}_{site}_{neuron}"
            with st.container(horizontal=True, gap="small"):
                st.button("Open", key=f"open_{key}", on_click=open_neuron, args=(layer, site, neuron), type="tertiary")
                st.button("Unpin", key=f"unpin_{key}", on_click=held().remove, args=(pin,), type="tertiary")
    st.caption("One scale for all. Choose another image under *Maps*.")
    st.button("Unpin all", on_click=held().clear, type="tertiary")
