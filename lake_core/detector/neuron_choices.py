"""Image scores with other neurons in place of the selected ones, for many choices of neurons at once.

Averaging over neighbouring patches treats each neuron by itself, so it is done once for all neurons. A choice is then
learned and scored from some of the averaged activations, of which each neuron's lie side by side.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lake_core.config import FitConfig
from lake_core.data.images import InputImage
from lake_core.detector.image_scores import ImageBlock
from lake_core.detector.lake import Lake
from lake_core.detector.memory_bank import LayerMemoryBank, LearnedLayer, finest, fit_layer, learn_layer
from lake_core.detector.search import Geometry, smoothed
from lake_core.detector.selection import Selection
from lake_core.types import Neurons, Progress

L = TypeVar("L", bound=LearnedLayer)

_MOST_HELD = 2**26
"""Activations of test images that are held at once."""


@dataclass(frozen=True, eq=False)
class ChoiceScores:
    """What a choice of neurons makes of images.

    Attributes:
        scores: (n_images,) float64, those of `with_neurons` to float32 rounding.
        normal_mean: Mean of the normal images' leave-one-out scores; None where it was not asked for.
    """

    scores: np.ndarray = field(repr=False)
    normal_mean: float | None


def scores_by_choice(
    lake: Lake,
    images: Sequence[InputImage],
    choices: Sequence[Neurons],
    with_normals: bool = False,
    on_progress: Progress | None = None,
) -> list[ChoiceScores | None]:
    """Scores images with each choice of neurons; only tau and memory banks are learned anew, not the threshold.

    Args:
        lake: Fitted.
        images: Test images, at least one.
        choices: For each layer that takes part at least one neuron.
        with_normals: Also score the normal images, each left out, which takes about twice as long.
        on_progress: Called after each choice and block of images; may raise to cancel.
    Returns:
        One for each choice; None where nothing varies over the normal images.
    """
    layers = lake.fitted().layers
    lake.store.ensure(images, lake.hook_points)
    normals = {layer.selection.layer: _AllNeurons(lake, layer, lake.normals_) for layer in layers}
    at_once = max(1, _MOST_HELD // sum(one.n_each for one in normals.values()))
    blocks = [images[start : start + at_once] for start in range(0, len(images), at_once)]
    found: list[ChoiceScores | None] = []
    for block in blocks:
        scorer = _Scorer(lake, normals, block)
        for chosen in choices:
            found.append(scorer.scored(chosen, with_normals))
            if on_progress is not None:
                on_progress(len(found), len(blocks) * len(choices))
    return [_joined(found[number :: len(choices)]) for number in range(len(choices))]


class _AllNeurons:
    """Activations of some images in a layer, averaged over neighbouring patches.

    Attributes:
        geometry: How they become patch vectors.
        inside_ip: (n_images, n_patches) bool, patches that lie on the image.
        n_each: Activations of one image.
    """

    def __init__(self, lake: Lake, layer: LayerMemoryBank, images: Sequence[InputImage]) -> None:
        hook_point = lake.backbone.hook_point(layer.selection.layer, lake.config.site)
        acts_ipn, self.inside_ip = (
            values.to(lake.backbone.device) for values in lake.store.patches(images, hook_point)
        )
        self.geometry, self.n_each = layer.geometry, acts_ipn[0].numel()
        # A single normal image is compared with itself, but for patches so near that they share cells by averaging.
        if len(lake.normals_) > 1 and layer.geometry.smooth > 1:
            acts_ipn = smoothed(acts_ipn, layer.geometry.grid, layer.geometry.smooth)
            self.geometry = layer.geometry._replace(smooth=1)
        self._acts_nip = acts_ipn.permute(2, 0, 1).contiguous()

    @property
    def acts_ipn(self) -> Tensor:
        """(n_images, n_patches, n_neurons) float32, each neuron's side by side."""
        return self._acts_nip.permute(1, 2, 0)

    def of(self, neurons: np.ndarray) -> Tensor:
        """(n_images, n_patches, k) float32 of some neurons, on the CPU."""
        some = self._acts_nip[torch.from_numpy(neurons).to(self._acts_nip.device)]
        return some.permute(1, 2, 0).contiguous().cpu()


class _Scorer:
    """Test images that are scored with one choice of neurons after the other."""

    def __init__(self, lake: Lake, normals: Mapping[int, _AllNeurons], images: Sequence[InputImage]) -> None:
        self._lake, self._normals, self._block = lake, normals, ImageBlock(lake, images)
        self._tests = {layer.selection.layer: _AllNeurons(lake, layer, images) for layer in lake.memory_bank_.layers}

    def scored(self, chosen: Neurons, with_normals: bool) -> ChoiceScores | None:
        """The images by that choice, or None where nothing varies over the normal images."""
        if not with_normals:
            layers = self._learned(chosen, learn_layer)
            return ChoiceScores(self._scores(layers), None) if layers else None
        fitted = self._learned(chosen, fit_layer)
        if not fitted:
            return None
        grid = finest([layer.grid for layer in fitted])
        other = self._lake.with_memory_bank(replace(self._lake.memory_bank_, layers=tuple(fitted), grid=grid))
        return ChoiceScores(self._scores(fitted), float(other.normal_scores_.mean()))

    def _learned(
        self, chosen: Neurons, learn: Callable[[Tensor, Tensor, Selection, Geometry, FitConfig], L]
    ) -> list[L]:
        """What is learned of the layers whose neurons vary."""
        found = []
        for layer in self._lake.memory_bank_.layers:
            own = self._normals[layer.selection.layer]
            selection = replace(layer.selection, neurons=np.asarray(chosen[layer.selection.layer]))
            found.append(learn(own.acts_ipn, own.inside_ip, selection, own.geometry, self._lake.config))
        return [layer for layer in found if layer.tau > 0]

    def _scores(self, layers: Sequence[LearnedLayer]) -> np.ndarray:
        tests = {layer.selection.layer: self._tests[layer.selection.layer] for layer in layers}
        vectors = {
            layer.selection.layer: layer.search.vectors(tests[layer.selection.layer].of(layer.selection.neurons))
            for layer in layers
        }
        return self._block.scores(layers, vectors)


def _joined(parts: Sequence[ChoiceScores | None]) -> ChoiceScores | None:
    """One choice's scores of all images, from those of each block."""
    found = [one for one in parts if one is not None]
    return ChoiceScores(np.concatenate([one.scores for one in found]), found[0].normal_mean) if found else None
