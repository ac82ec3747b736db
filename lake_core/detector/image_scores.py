"""Image scores without maps, for work that scores the same images by many detectors.

An image's score is made of its highest patches, and which these are needs no full search: the distance of a patch to a
few normal patches is an upper bound of its distance to the nearest of all. Only patches whose bound is above the
highest exact values are compared with the whole memory bank.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid, coarse_of_fine
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.memory_bank import LearnedLayer, finest
from lake_core.detector.scoring import fused_maps, mean_over_layers, pooled, text_maps
from lake_core.detector.search import Vectors
from lake_core.detector.text import margins

_FIRST = 16
"""Patches of an image that are compared in full first; their values tell which others may be higher."""
_AT_ONCE = 32


def image_scores(lake: Lake, images: Sequence[InputImage]) -> np.ndarray:
    """(n_images,) float64: the scores that `Lake.explain` gives, to float32 rounding, several times faster."""
    memory_bank = lake.fitted()
    lake.store.ensure(images, lake.hook_points)
    parts = [np.zeros(0)]
    for start in range(0, len(images), _AT_ONCE):
        block = ImageBlock(lake, images[start : start + _AT_ONCE])
        vectors = {}
        for layer in memory_bank.layers:
            hook_point = lake.backbone.hook_point(layer.selection.layer, lake.config.site)
            neurons = torch.from_numpy(layer.selection.neurons)
            acts = torch.stack([lake.store.get(image, hook_point)[:, neurons] for image in block.images])
            vectors[layer.selection.layer] = layer.search.vectors(acts)
        parts.append(block.scores(memory_bank.layers, vectors))
    return np.concatenate(parts)


class ImageBlock:
    """Some images, and what of their scores depends on no neuron.

    Args:
        lake: Fitted; its text part and weights count.
        images: At least one, with everything in the store.
    """

    def __init__(self, lake: Lake, images: Sequence[InputImage]) -> None:
        self.images = images
        self._lake = lake
        self._placements = [lake.backbone.placement(image) for image in images]
        joint, text = lake.backbone.joint_hook_point, lake.memory_bank_.text
        self._margin = None
        if text is not None and joint is not None:
            self._margin = torch.stack([margins(lake.store.get(image, joint), text.directions) for image in images])

    def scores(self, layers: Sequence[LearnedLayer], vectors: Mapping[int, Vectors]) -> np.ndarray:
        """The images' scores by some layers' neurons and memory banks.

        Args:
            layers: At least one.
            vectors: Layer number -> the images' patches, one image after the other, as the layer's bank compares them.
        Returns:
            (n_images,) float64.
        """
        grid, config = finest([layer.grid for layer in layers]), self._lake.config
        inside = torch.from_numpy(np.stack([grid.inside(placement) for placement in self._placements]))
        memory_bank = replace(self._lake.memory_bank_, grid=grid)
        text = None if self._margin is None else text_maps(memory_bank, self._margin)
        search = _Search(layers, grid, vectors, len(self.images))

        def fused() -> Tensor:
            """(n_images, n_patches) float64; -inf where a patch is not on the image."""
            visual = mean_over_layers(layers, grid, search.distances)
            return fused_maps(visual, text, config.fusion_weight).masked_fill(~inside, -torch.inf)

        bounds, top_q = fused(), config.top_q
        n_patches = grid.n_patches
        first = torch.zeros_like(inside)
        first.scatter_(1, bounds.topk(min(_FIRST + top_q, n_patches), dim=1).indices, value=True)
        search.compare(first)
        found = fused()
        lowest = found.masked_fill(~first, -torch.inf).topk(min(top_q, n_patches), dim=1).values[:, -1:]
        search.compare((found > lowest) & ~first & inside)
        return pooled(fused(), inside, top_q).score.numpy()


class _Search:
    """Images' patches, each with its distance to the memory bank of a layer or an upper bound of it.

    Attributes:
        distances: Layer number -> (n_images, n_patches of the layer) float32.
    """

    def __init__(
        self, layers: Sequence[LearnedLayer], grid: PatchGrid, vectors: Mapping[int, Vectors], n_images: int
    ) -> None:
        self._layers, self._grid, self._vectors = layers, grid, vectors
        self.distances: dict[int, Tensor] = {}
        for layer in layers:
            bound = layer.sparse_search.nearest(vectors[layer.selection.layer]).distance
            self.distances[layer.selection.layer] = bound.view(n_images, -1)

    def compare(self, patches: Tensor) -> None:
        """Puts exact distances in the place of bounds, at some patches (n_images, n_patches) of the fused grid."""
        image, patch = patches.nonzero(as_tuple=True)
        for layer in self._layers:
            distances, vectors = self.distances[layer.selection.layer], self._vectors[layer.selection.layer]
            under = torch.from_numpy(coarse_of_fine(self._grid, layer.grid))[patch]
            rows = (image * distances.shape[1] + under).unique()
            if len(rows):
                some = Vectors(vectors.numbers[rows], vectors.factor[rows])
                distances.view(-1)[rows] = layer.search.nearest(some).distance
