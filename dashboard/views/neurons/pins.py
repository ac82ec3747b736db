"""Neurons that the user has pinned, to compare them side by side on one image."""

import streamlit as st

from dashboard.components.layout import cards
from dashboard.components.legends import legend
from dashboard.components.neurons import neuron_button
from dashboard.services.images import NeuronMap, neuron_image, plain_image
from dashboard.session import current
from dashboard.settings import Pin
from dashboard.text import escaped
from dashboard.views.neurons.maps import CARD, CARD_WIDTH, looked_at
from dashboard.views.neurons.view import NeuronView
from dashboard.words import SITE_NAMES
from lake_core.visualization.colours import activation_scale

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
            else f"Up to {MAX_PINS} neurons; they are compared at the end of this page.",
        )


def side_by_side(view: NeuronView) -> None:
    """The pinned neurons of this backbone on one image, on one scale, beside the image as it is."""
    if not current().pins:
        return
    st.markdown("##### Pinned neurons")
    model, lake = view.found.key.model, view.found.lake
    shown = [one for one in current().pins if one.model == model]
    n_others = len(current().pins) - len(shown)
    if n_others:
        st.caption(f"Pinned with another backbone or input size, and hidden here: {n_others}.")
    if not shown:
        return
    image = looked_at(view).image
    hook_points = [lake.backbone.hook_point(one.layer, one.site) for one in shown]
    lake.store.ensure([image], set(hook_points))
    values = [
        lake.store.get(image, hook_point)[:, one.neuron].numpy()
        for hook_point, one in zip(hook_points, shown, strict=True)
    ]
    scale = activation_scale(values)
    legend(scale, "the activations")
    first, *places = cards(len(shown) + 1, CARD_WIDTH)
    with first:
        plain = plain_image(image, CARD)
        st.image(plain, width="stretch", alt=image.name)
        st.caption(f"{escaped(image.name)}, as it is")
    for card, one, hook_point, own in zip(places, shown, hook_points, values, strict=True):
        _, layer, site, neuron = one
        with card:
            st.image(
                neuron_image(image, NeuronMap(model, hook_point, neuron, scale, CARD)),
                width="stretch",
                alt=f"Activation of neuron {neuron} of layer {layer} on {image.name}, greatest {own.max():.3g}",
            )
            st.caption(f"layer {layer} · {SITE_NAMES[site]} · neuron {neuron} · max {own.max():.2f}")
            key = f"{layer}_{site}_{neuron}"
            with st.container(horizontal=True, gap="small"):
                neuron_button("Open", f"open_{key}", (layer, site, neuron), type="tertiary")
                st.button("Unpin", key=f"unpin_{key}", on_click=unpin, args=(one,), type="tertiary")
    st.caption("One scale for all. Choose another image at the top.")
    st.button("Unpin all", on_click=unpin, args=current().pins, type="tertiary")
