"""Neurons that the user has pinned, in lists with notes, to compare them side by side on one image."""

from collections.abc import Sequence

import streamlit as st

from dashboard.components.layout import cards
from dashboard.components.legends import legend
from dashboard.components.neurons import neuron_button
from dashboard.services.images import NeuronMap, neuron_image, plain_image
from dashboard.session import current
from dashboard.settings import Note, Pin
from dashboard.text import escaped
from dashboard.views.neurons import notes
from dashboard.views.neurons.maps import CARD, CARD_WIDTH, looked_at
from dashboard.views.neurons.view import NeuronView
from dashboard.words import SITE_NAMES
from lake_core.backbones.backbone import Backbone
from lake_core.projects.manifest import MAX_PINS
from lake_core.visualization.colours import activation_scale

MAX_IN_LIST = 8


def pin(this: Pin) -> None:
    current().pin(this, Note(notes.list_in_use()))


def unpin(*gone: Pin) -> None:
    here = current()
    here.pins = tuple(one for one in here.pins if one not in gone)


def button(this: Pin) -> None:
    """Pins a neuron, or takes its pin away."""
    here = current()
    if this in here.pins:
        st.button(
            "Unpin this neuron",
            on_click=unpin,
            args=(this,),
            icon=":material/keep_off:",
            shortcut="P",
            key="pin",
            disabled=here.is_read_only,
        )
    else:
        is_full = len(notes.pins_in_list()) >= MAX_IN_LIST or len(here.pins) >= MAX_PINS
        st.button(
            "Pin this neuron",
            on_click=pin,
            args=(this,),
            icon=":material/keep:",
            shortcut="P",
            key="pin",
            disabled=is_full or here.is_read_only,
            help=f"The list holds {MAX_IN_LIST} neurons, which is the maximum: unpin one, or choose another list."
            if is_full
            else f"Up to {MAX_IN_LIST} neurons in a list; they are compared at the end of this page.",
        )


def side_by_side(view: NeuronView) -> None:
    """The pinned neurons of a list and of this backbone on one image, on one scale, beside the image as it is."""
    if not current().pins:
        return
    st.markdown("##### Pinned neurons")
    notes.pick_list()
    model, in_list = view.found.key.model, notes.pins_in_list()
    shown = [one for one in in_list if one.model == model and _is_there(one, view.found.lake.backbone)]
    if len(shown) < len(in_list):
        st.caption(f"Pinned with another backbone or input size, and hidden here: {len(in_list) - len(shown)}.")
    if shown:
        _compare(view, shown)
        st.button("Unpin all", on_click=unpin, args=tuple(in_list), type="tertiary", disabled=current().is_read_only)
    notes.downloads()


def _compare(view: NeuronView, shown: Sequence[Pin]) -> None:
    model, lake = view.found.key.model, view.found.lake
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
            notes.edit_note(one)
            with st.container(horizontal=True, gap="small"):
                neuron_button("Open", f"open_{key}", (layer, site, neuron), type="tertiary")
                is_fixed = current().is_read_only
                st.button("Unpin", key=f"unpin_{key}", on_click=unpin, args=(one,), type="tertiary", disabled=is_fixed)
    st.caption("One scale for all. Choose another image at the top.")


def _is_there(one: Pin, backbone: Backbone) -> bool:
    """Whether a backbone has a neuron; a project may name any."""
    if one.layer not in backbone.layers_with(one.site):
        return False
    return one.neuron < backbone.layer(one.layer).n_neurons[one.site]
