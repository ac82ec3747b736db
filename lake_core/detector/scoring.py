"""Maps, fusion and pooling, in batches and on any device (docs/method.md, sections 2 to 4).

`PatchScores` holds what depends on the image and on what was learned; how its maps are weighed is added by
`ImageResult`. Another weight makes a new `ImageResult` of the same `PatchScores`, which costs next to nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid, Placement, coarse_of_fine
from lake_core.data.images import InputImage
from lake_core.detector.layer_matches import LayerMatches
from lake_core.detector.memory_bank import LearnedLayer, MemoryBank
from lake_core.detector.search import subspace
from lake_core.detector.text import calibrated, margins


@dataclass(frozen=True, eq=False)
class PatchScores:
    """The visual and the text map of one image, before they are weighed.

    Attributes:
        placement: Where it lies in the model's input.
        grid: The fused grid.
        inside: (n_patches,) bool, patches of the fused grid that lie on the image.
        layers: One per layer that takes part.
        fine_to_layer: For each of `layers`, (n_patches,) int64: the layer's patch under each patch of the fused grid.
        visual: (n_patches,) float32, the visual map V on the fused grid; 1 is the calibration quantile of normal
            patches.
        text: (n_patches,) float32, the text map T on the fused grid, or None where the text part is left out.
        margin: (n_joint_patches,) float32, cos(patch, anomalous) - cos(patch, normal) on the joint grid, or None.
        image_probability: softmax probability of "anomalous" for the whole image, or None; never part of a score.
    """

    image: InputImage
    placement: Placement
    grid: PatchGrid
    inside: np.ndarray = field(repr=False)
    layers: tuple[LayerMatches, ...] = field(repr=False)
    fine_to_layer: tuple[np.ndarray, ...] = field(repr=False)
    visual: np.ndarray = field(repr=False)
    text: np.ndarray | None = field(repr=False)
    margin: np.ndarray | None = field(repr=False)
    image_probability: float | None


class Pooled(NamedTuple):
    """Image scores (...) float64 and the patches (..., q) int64 that they are the means of, greatest first.

    Where fewer than q patches lie on an image, the last ones lie off it and do not count.
    """

    score: Tensor
    patches: Tensor


def visual_maps(memory_bank: MemoryBank, distances: Mapping[int, Tensor]) -> Tensor:
    """V on the fused grid: the mean over layers of distance / tau.

    Args:
        memory_bank: What was learned.
        distances: Layer number -> (..., n_patches of the layer) float32.
    Returns:
        (..., n_patches of the fused grid) float32.
    """
    return mean_over_layers(memory_bank.layers, memory_bank.grid, distances)


def mean_over_layers(layers: Sequence[LearnedLayer], grid: PatchGrid, distances: Mapping[int, Tensor]) -> Tensor:
    """The same for the layers of any memory bank, and the grid to bring them to."""
    total: Tensor | None = None
    for layer in layers:
        distance = distances[layer.selection.layer]
        share = distance[..., coarse_under(grid, layer.grid, distance.device)] / (layer.tau * len(layers))
        total = share if total is None else total + share
    if total is None:
        raise ValueError("no layer takes part")
    return total


def text_maps(memory_bank: MemoryBank, margin: Tensor) -> Tensor:
    """T on the fused grid, (..., n_patches) float32 >= 0, from margins (..., n_joint_patches)."""
    text = memory_bank.text
    if text is None:
        raise ValueError("the text part is left out")
    return calibrated(margin, text.m50, text.m99)[..., coarse_under(memory_bank.grid, text.grid, margin.device)]


def fused_maps(visual: Tensor, text: Tensor | None, fusion_weight: Tensor | float) -> Tensor:
    """F = (1 - w) V + w T, and V alone where the text part is left out; float64."""
    if text is None:
        return visual.double()
    return (1 - fusion_weight) * visual.double() + fusion_weight * text.double()


def pooled(fused: Tensor, inside: Tensor | None, top_q: int) -> Pooled:
    """Image scores: the mean over the q patches on the image with the greatest fused value.

    Args:
        fused: (..., n_patches) float64.
        inside: (..., n_patches) bool, at least one True for each image; None where all patches lie on their images.
        top_q: q; fewer where fewer lie on the image. Ties go to the lower index.
    """
    values = fused if inside is None else fused.masked_fill(~inside, -torch.inf)
    if top_q == 1:
        patches = values.argmax(-1, keepdim=True)
        return Pooled(values.gather(-1, patches)[..., 0], patches)
    patches = values.argsort(dim=-1, descending=True, stable=True)[..., : min(top_q, fused.shape[-1])]
    top = values.gather(-1, patches)
    counts = torch.isfinite(top)
    return Pooled(top.masked_fill(~counts, 0).sum(-1) / counts.sum(-1), patches)


def compute_maps(
    memory_bank: MemoryBank,
    image: InputImage,
    placement: Placement,
    acts: Mapping[int, Tensor],
    joint: Tensor | None,
    image_probability: float | None,
) -> PatchScores:
    """The visual and the text map of an image.

    Args:
        memory_bank: What was learned.
        placement: Where it lies in the model's input.
        acts: Layer number -> (n_patches, n_neurons) float32 of the image, on the CPU.
        joint: (n_joint_patches, joint) float32 patch directions of length 1, or None.
        image_probability: Passed through.
    """
    matches = [matched(layer, acts[layer.selection.layer]) for layer in memory_bank.layers]
    margin = None if joint is None or memory_bank.text is None else margins(joint, memory_bank.text.directions)
    return PatchScores(
        image=image,
        placement=placement,
        grid=memory_bank.grid,
        inside=memory_bank.grid.inside(placement),
        layers=tuple(matches),
        fine_to_layer=tuple(coarse_of_fine(memory_bank.grid, layer.grid) for layer in memory_bank.layers),
        visual=visual_maps(memory_bank, {one.memory_bank.selection.layer: one.distance for one in matches}).numpy(),
        text=None if margin is None else text_maps(memory_bank, margin).numpy(),
        margin=None if margin is None else margin.numpy(),
        image_probability=image_probability,
    )


def matched(layer: LearnedLayer, acts: Tensor) -> LayerMatches:
    """An image's patches in one layer, each with its nearest normal patch.

    Args:
        acts: (n_patches, n_neurons) float32 of the image, on the CPU.
    """
    patches = subspace(acts[None], layer.selection.neurons, layer.geometry)[0]
    return LayerMatches(layer, patches, *layer.search.nearest(layer.search.as_vectors(patches)))


@lru_cache(maxsize=64)  # grids of one backbone are few; on a GPU a copy would wait for all work under way there
def coarse_under(fine: PatchGrid, coarse: PatchGrid, device: torch.device) -> Tensor:
    """(fine.n_patches,) int64 on the device: the coarse patch under each fine one, as `coarse_of_fine`."""
    return torch.from_numpy(coarse_of_fine(fine, coarse)).to(device)
