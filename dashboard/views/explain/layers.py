"""One image through the eyes of a whole layer, and through all layers in turn."""

from collections.abc import Hashable
from dataclasses import replace

import numpy as np
import streamlit as st

from dashboard.components.layout import cards
from dashboard.components.legends import legend
from dashboard.components.pickers import pick_layer, pick_one, see_page
from dashboard.components.progress import asked_beside, computed_beside
from dashboard.services.analysis import Analysis
from dashboard.services.cache import results
from dashboard.services.images import NeuronMap, neuron_image
from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from lake_core.detector.selection import Selection
from lake_core.neurons.statistics import selection_of
from lake_core.types import Progress, counted
from lake_core.visualization.colours import activation_scale, score_scale
from lake_core.visualization.overlays import Style, overlay

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
        + (" (visual part, at the max-scoring patch)" if order != "sensitivity" else "")
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


def maps_by_depth(found: Analysis, score: ImageResult, show: Progress) -> dict[int, ImageResult]:
    """The visual score of the image from each layer alone; layers in which nothing varies are left out."""
    lake = found.lake
    layers = lake.backbone.layers_with(lake.config.site)
    maps = {}
    for layer in counted(layers, show):
        config = replace(lake.config, layers=(layer,), fusion_weight=0.0)
        alone = Lake(lake.backbone, config, lake.store).fit(lake.normals_)
        maps[layer] = alone.explain(score.image)
    return maps


def depth_key(found: Analysis, score: ImageResult) -> Hashable:
    """Of the results of `maps_by_depth`, which the microscope shows too once they are there."""
    return "depth", found.key, score.image.sha256


def depth(found: Analysis, score: ImageResult) -> None:
    """How the map changes from the input to the output of the tower, on demand."""
    key = depth_key(found, score)
    if not asked_beside(key, "Compute all layers", ":material/layers:"):
        st.caption(
            "Each layer by itself, with its own selection: how the map forms from the first layer to the last, and a "
            "row for every layer in the microscope above. It runs in the background and may take a minute."
        )
        return
    was_known = results().get(key) is not None
    maps = computed_beside(key, "Layers", lambda show: maps_by_depth(found, score, show))
    if maps is None:
        return
    if not was_known:
        st.rerun()  # the microscope above shows them too
    scale = score_scale([one.map for one in maps.values()], 1.0)
    in_use, percentile = found.lake.selection_, found.lake.config.calibration_percentile
    legend(scale, "the layers' maps", mark=percentile)
    for card, (layer, one) in zip(cards(len(maps), CARD_WIDTH + 40), maps.items(), strict=True):
        with card:
            patch_scores = one.patch_scores
            st.image(
                overlay(one.image, one.map, patch_scores.grid, patch_scores.placement, scale, Style(max_side=240)),
                width="stretch",
                alt=f"Visual map of layer {layer}, greatest {one.score:.2f}",
            )
            mark = " ●" if layer in in_use else ""
            st.caption(
                f"layer {layer}{mark} · {patch_scores.grid.rows} × {patch_scores.grid.cols} · max"
                f" {np.nanmax(one.map):.2f}"
            )
    st.caption(
        "Each layer's visual map on one scale; a line surrounds values above 1, the "
        f"{percentile} of normal patches. ● marks the layers in the score."
    )
