"""Image scores without maps, for work that scores the same images by many detectors.

An image's score is made of its highest patches, and which these are needs no full search: the distance of a patch to a
few normal patches is an upper bound of its distance to the nearest of all. Only patches whose bound is above the
highest exact values are compared with the whole memory bank.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.patch_grid import coarse_of_fine
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.scoring import fused_maps, pooled, text_maps, visual_maps
from lake_core.detector.search import Vectors
from lake_core.detector.text import margins

_FIRST = 16
"""Patches of an image that are compared in full first; their values tell which others may be higher."""
_AT_ONCE = 32


def image_scores(lake: Lake, images: Sequence[InputImage]) -> np.ndarray:
    """(n_images,) float64: the scores that `Lake.explain` gives, to float32 rounding, several times faster."""
    lake.fitted()
    lake.store.ensure(images, lake.hook_points)
    parts = [_Block(lake, images[start : start + _AT_ONCE]).scores() for start in range(0, len(images), _AT_ONCE)]
    return np.concatenate([np.zeros(0), *parts])


class _Block:
    """Some images' patches, each with its distance to the memory bank of a layer or an upper bound of it."""

    def __init__(self, lake: Lake, images: Sequence[InputImage]) -> None:
        self._memory_bank, self._config = lake.memory_bank_, lake.config
        grid, place = self._memory_bank.grid, lake.backbone.placement
        self._inside = torch.from_numpy(np.stack([grid.inside(place(image)) for image in images]))
        self._text = _text_maps(lake, images)
        self._vectors: dict[int, Vectors] = {}
        self._distances: dict[int, Tensor] = {}
        for layer in self._memory_bank.layers:
            number, neurons = layer.selection.layer, torch.from_numpy(layer.selection.neurons)
            hook_point = lake.backbone.hook_point(number, self._config.site)
            acts = torch.stack([lake.store.get(image, hook_point)[:, neurons] for image in images])
            self._vectors[number] = layer.search.vectors(acts)
            bound = layer.sparse_search.nearest(self._vectors[number]).distance
            self._distances[number] = bound.view(len(images), -1)

    def scores(self) -> np.ndarray:
        """(n_images,) float64."""
        top_q, fused = self._config.top_q, self._fused()
        first = torch.zeros_like(self._inside)
        first.scatter_(1, fused.topk(min(_FIRST + top_q, fused.shape[1]), dim=1).indices, value=True)
        self._compare(first)
        fused = self._fused()
        lowest = fused.masked_fill(~first, -torch.inf).topk(min(top_q, fused.shape[1]), dim=1).values[:, -1:]
        self._compare((fused > lowest) & ~first & self._inside)
        return pooled(self._fused(), self._inside, top_q).score.numpy()

    def _fused(self) -> Tensor:
        """(n_images, n_patches) float64; -inf where a patch is not on the image."""
        visual = visual_maps(self._memory_bank, self._distances)
        return fused_maps(visual, self._text, self._config.fusion_weight).masked_fill(~self._inside, -torch.inf)

    def _compare(self, patches: Tensor) -> None:
        """Puts exact distances in the place of bounds, at some patches (n_images, n_patches) of the fused grid."""
        for layer in self._memory_bank.layers:
            number = layer.selection.layer
            distances, vectors = self._distances[number], self._vectors[number]
            image, patch = patches.nonzero(as_tuple=True)
            under = torch.from_numpy(coarse_of_fine(self._memory_bank.grid, layer.grid))[patch]
            rows = (image * distances.shape[1] + under).unique()
            if len(rows):
                some = Vectors(vectors.numbers[rows], vectors.factor[rows])
                distances.view(-1)[rows] = layer.search.nearest(some).distance


def _text_maps(lake: Lake, images: Sequence[InputImage]) -> Tensor | None:
    text, joint = lake.memory_bank_.text, lake.backbone.joint_hook_point
    if text is None or joint is None:
        return None
    own = [margins(lake.store.get(image, joint), text.directions) for image in images]
    return text_maps(lake.memory_bank_, torch.stack(own))
