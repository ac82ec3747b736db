"""A detector with other neurons or normal images than its own, and what one layer alone would tell."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lake_core.data.images import InputImage
from lake_core.detector.fitting import learned_alone
from lake_core.detector.lake import Lake
from lake_core.detector.memory_bank import LearnedLayer, finest, fit_layer
from lake_core.detector.scoring import PatchScores, matched
from lake_core.detector.selection import Selection, select
from lake_core.errors import LakeError
from lake_core.findings.fits import LayerLeftOut
from lake_core.types import Neurons, Site


def with_neurons(lake: Lake, neurons: Neurons) -> Lake:
    """The detector with other neurons in place of the selected ones; equal to one fitted with that selection.

    The text part is shared, and layers that do not take part stay out. A layer whose neurons do not vary over the
    normal images is left out, with a warning.

    Args:
        lake: Fitted.
        neurons: Layer number -> at least one neuron, for each layer that takes part.
    Raises:
        LakeError: if nothing varies in any layer.
    """
    memory_bank = lake.fitted()
    again = {}
    for layer in memory_bank.layers:
        number = layer.selection.layer
        selection = replace(layer.selection, neurons=np.asarray(neurons[number]))
        acts_ipn, inside_ip = (values.to(lake.backbone.device) for values in lake.normal_patches(number))
        again[number] = fit_layer(acts_ipn, inside_ip, selection, layer.geometry, lake.config)
    layers = tuple(layer for layer in again.values() if layer.tau > 0)
    if not layers:
        raise LakeError("These neurons do not vary over the normal images; choose others.")
    left_out = tuple(LayerLeftOut(number) for number, layer in again.items() if layer.tau == 0)
    grid = finest([layer.grid for layer in layers])
    return lake.with_memory_bank(
        replace(memory_bank, layers=layers, grid=grid, warnings=(*memory_bank.warnings, *left_out))
    )


def would_select(lake: Lake, layer: int, normals: Sequence[InputImage], site: Site | None = None) -> Selection:
    """What a detector selects in a layer when it is fitted on some normal images; it need not be fitted.

    Args:
        lake: Its configuration and store are used.
        layer: Layer number.
        normals: At least one.
        site: Activation site; None means the detector's.
    """
    config = lake.config
    site = site or config.site
    patches = lake.store.patches(normals, lake.backbone.hook_point(layer, site))
    return select(*patches, layer, site, config.criterion, config.k_of(layer), config.seed)


def left_out_selections(lake: Lake, layer: int) -> list[np.ndarray]:
    """The neurons of any layer that are selected when one normal image is left out, for each in turn.

    Returns:
        One (k,) int64 per normal image, most sensitive first; with a single normal image one, from all of it.
    """
    config, patches = lake.config, lake.normal_patches(layer)
    n_normals = len(lake.normals_)
    choices = [[i for i in range(n_normals) if i != left_out] for left_out in range(n_normals)]
    return [
        select(*patches.of(kept), layer, config.site, config.criterion, config.k_of(layer), config.seed).neurons
        for kept in (choices if n_normals > 1 else [[0]])
    ]


def layer_alone(lake: Lake, layer: int) -> LearnedLayer | None:
    """What the detector would learn of any layer from its normal images if that were its only one.

    Its tau and memory bank are those of a detector with that layer alone, without what its threshold is made of.

    Returns:
        None where the layer's selected neurons do not vary.
    """
    held = [one for one in lake.fitted().layers if one.selection.layer == layer]
    return held[0] if held else learned_alone(lake.store, lake.config, lake.normals_, layer)


def scores_alone(lake: Lake, learned: LearnedLayer, image: InputImage) -> PatchScores:
    """An image's visual map by one layer alone, as a detector of that layer computes it.

    Args:
        learned: From `layer_alone`, of the same detector.
    """
    hook_point = lake.backbone.hook_point(learned.selection.layer, lake.config.site)
    matches = matched(learned, lake.store.get(image, hook_point))
    placement, grid = lake.backbone.placement(image), learned.grid
    return PatchScores(
        image=image,
        placement=placement,
        grid=grid,
        inside=grid.inside(placement),
        layers=(matches,),
        fine_to_layer=(np.arange(grid.n_patches),),
        visual=(matches.distance / learned.tau).numpy(),
        text=None,
        margin=None,
        image_probability=None,
    )
