"""One image through the eyes of a whole layer, and of all layers, which are computed beside the page."""

from collections.abc import Hashable

import streamlit as st

from dashboard.components.layout import cards
from dashboard.components.legends import legend
from dashboard.components.page import error
from dashboard.components.pickers import pick_layer, pick_one, see_page
from dashboard.components.progress import watch
from dashboard.services.analysis import Analysis
from dashboard.services.every_layer import (
    AT_ONCE_SECONDS,
    Ahead,
    known_maps,
    look_ahead,
    maps_key,
    seconds_expected,
)
from dashboard.services.images import NeuronMap, neuron_image
from dashboard.services.jobs import jobs
from dashboard.session import current
from lake_core.detector.result import ImageResult
from lake_core.detector.selection import Selection
from lake_core.neurons.statistics import selection_of
from lake_core.visualization.colours import activation_scale

CARD, CARD_WIDTH, MOST = 200, 124, 100


def neurons_in_order(score: ImageResult, selection: Selection, order: str) -> list[tuple[int, float]]:
    """The layer's selected neurons with the number that orders them."""
    if order == "sensitivity":
        return [(int(neuron), float(selection.sensitivity[neuron])) for neuron in selection.neurons]
    contributions = score.contributions()
    rows = contributions[contributions["layer"] == selection.layer]
    return list(zip(rows["neuron"].astype(int), rows["contribution"], strict=True))


def contact_sheet(found: Analysis, score: ImageResult) -> None:
    """The selected neurons' maps of a layer on the image, small, in order; a click leads to the neuron."""
    selection = selection_of(found.lake, pick_layer(found))
    in_score = selection.layer in found.lake.selection_
    orders = ["contribution to this score", "sensitivity"] if in_score else ["sensitivity"]
    order = pick_one("Order", orders, f"sheet_order_{in_score}")
    neurons = neurons_in_order(score, selection, order)
    n_shown = (
        st.slider("Neurons shown", 1, min(MOST, len(neurons)), min(24, len(neurons)), key="sheet_n")
        if len(neurons) > 1
        else 1
    )
    hook_point = found.lake.backbone.hook_point(selection.layer, selection.site)
    image = score.image
    acts = found.lake.store.get(image, hook_point)
    shown = neurons[:n_shown]
    scale = activation_scale([acts[:, neuron].numpy() for neuron, _ in shown], quantile=0.999)
    legend(scale, "the activations")
    st.caption(
        f"Under each map the neuron's number and its {order}"
        + (" (visual part of the image score)" if order != "sensitivity" else "")
        + "; a click opens the neuron. One scale for all."
    )
    for card, (neuron, number) in zip(cards(len(shown), CARD_WIDTH), shown, strict=True):
        with card:
            st.image(
                neuron_image(image, NeuronMap(found.key.model, hook_point, neuron, scale, CARD)),
                width="stretch",
                alt=f"Neuron {neuron} on {image.name}",
            )
            if st.button(f"{neuron} · {number:.3f}", key=f"sheet_{neuron}", width="stretch", help="Open this neuron"):
                see_page("neurons", layer=selection.layer, neuron=neuron)


def beside(found: Analysis, score: ImageResult, following: ImageResult | None, is_shown: bool) -> None:
    """All layers of the image, computed beside the page without being asked for, with progress and a way to cancel.

    Args:
        following: The image that is prepared meanwhile: the one that a visitor most likely looks at next.
        is_shown: Whether all layers are on screen already.
    """
    here, key, seconds = current(), maps_key(found, score.image), seconds_expected(found)
    is_wanted = is_shown or seconds <= AT_ONCE_SECONDS or here.asked_beside == key
    job = look_ahead(found, Ahead(score, following, is_wanted, here.opened_patch), _owner())
    if is_shown:
        return
    if not is_wanted:
        _offer(key, f"Compute all layers (about {_duration(seconds)})")
    elif job.is_running:
        with st.container(key="layers_beside"):
            watch(job, "All layers, in the background", "All layers, in the background")
    elif known_maps(found, score.image) is not None:
        st.rerun()
    else:
        if job.status == "failed":
            error(job.error)
        _offer(key, "Compute all layers")


def _owner() -> str:
    """Each tab of a session looks ahead for itself."""
    here = current()
    return f"{here.number} {here.tab}"


def _duration(seconds: float) -> str:
    return f"{round(seconds, -1):.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _offer(key: Hashable, label: str) -> None:
    """A button that has the layers of that key computed."""

    def ask() -> None:
        here = current()
        here.asked_beside = key
        jobs().forget(_owner(), "ahead")

    st.button(label, icon=":material/layers:", on_click=ask, key="compute_layers")
