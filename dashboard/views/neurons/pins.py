"""Neurons that the user has pinned, to compare them side by side on one image."""

import streamlit as st

from dashboard.components.layout import cards
from dashboard.components.legends import legend
from dashboard.services.images import NeuronMap, neuron_image, plain_image
from dashboard.session import current
from dashboard.settings import Pin
from dashboard.text import escaped
from dashboard.views.neurons.maps import CARD, CARD_WIDTH, looked_at
from dashboard.views.neurons.view import NeuronView, open_neuron
from dashboard.words import SITE_NAMES
from lake_core.visualization.colours import symmetric_limit

MAX_PINS = 8


def pin(this: Pin) -> None:
    here = current()
    here.pins = (*here.pins, this)


def unpin(*gone: Pin) -> None:
    here = current()
    here.pins = tuple(one for one in here.pins if one not in gone)


def button(this: Pin) -> None:
    """Pins a neuron, or takes its pin away."""
    pins = current().pins
    if this in pins:
        st.button(
            "Unpin this neuron", on_click=unpin, args=(this,), icon=":material/keep_off:", shortcut="P", key="pin"
        )
    else:
        is_full = len(pins) >= MAX_PINS
        st.button(
            "Pin this neuron",
            on_click=pin,
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
    shown = [one for one in current().pins if one.model == model]
    n_others = len(current().pins) - len(shown)
    if n_others:
        st.caption(f"Pinned with another backbone or input size, and hidden here: {n_others}.")
    if not shown:
        st.info("No neuron is pinned yet. Pin this one and a few others to compare them here.", icon=":material/keep:")
        return
    image = looked_at(view).image
    hook_points = [lake.backbone.hook_point(one.layer, one.site) for one in shown]
    lake.store.ensure([image], set(hook_points))
    values = [
        lake.store.get(image, hook_point)[:, one.neuron].numpy()
        for hook_point, one in zip(hook_points, shown, strict=True)
    ]
    limit = symmetric_limit(values)
    legend(limit, "the activations")
    first, *places = cards(len(shown) + 1, CARD_WIDTH)
    with first:
        plain = plain_image(image, CARD)
        st.image(plain, width="stretch", alt=image.name)
        st.caption(f"{escaped(image.name)}, as it is")
    for card, one, hook_point, own in zip(places, shown, hook_points, values, strict=True):
        _, layer, site, neuron = one
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
                st.button("Unpin", key=f"unpin_{key}", on_click=unpin, args=(one,), type="tertiary")
    st.caption("One scale for all. Choose another image under *Maps*.")
    st.button("Unpin all", on_click=unpin, args=current().pins, type="tertiary")
