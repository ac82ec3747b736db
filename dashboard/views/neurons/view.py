"""One neuron as its page shows it: the neuron, its activations on every image of the workspace, and their scale."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from dashboard.services.analysis import Analysis, neuron_values
from dashboard.services.images import NEURON_OPACITY, NeuronMap
from lake_core.backbones.adapters.base import Ceiling
from lake_core.backbones.patch_grid import PatchGrid, mask_to_patches
from lake_core.data.datasets import Example
from lake_core.detector.selection import Selection
from lake_core.types import HookPoint
from lake_core.visualization.colours import ValueScale, activation_scale


@dataclass(frozen=True, eq=False)
class NeuronView:
    """A neuron and what it does.

    Attributes:
        selection: Of the neuron's layer.
        neuron: Its number.
        normals, tests: For each image (n_patches,), NaN off the image; in the workspace's order.
    """

    found: Analysis
    selection: Selection
    neuron: int
    normals: list[np.ndarray] = field(repr=False)
    tests: list[np.ndarray] = field(repr=False)

    @classmethod
    def of(cls, found: Analysis, selection: Selection, neuron: int) -> "NeuronView":
        return cls(found, selection, neuron, *neuron_values(found, selection.layer, neuron))

    @property
    def hook_point(self) -> HookPoint:
        return self.found.lake.backbone.hook_point(self.selection.layer, self.selection.site)

    @property
    def grid(self) -> PatchGrid:
        return self.found.lake.backbone.grid(self.hook_point)

    @property
    def examples(self) -> tuple[Example, ...]:
        """Normal images, then test images, as in `values`."""
        return (*self.found.workspace.normals, *self.found.workspace.tests)

    @property
    def values(self) -> list[np.ndarray]:
        return [*self.normals, *self.tests]

    @cached_property
    def scale(self) -> ValueScale:
        """Its colours, shared by all images."""
        return activation_scale(self.values, quantile=0.999)

    @cached_property
    def ceiling(self) -> Ceiling | None:
        """That of its activation function, if it has one and the neuron reaches it on some image."""
        ceiling = self.found.lake.backbone.ceiling(self.hook_point)
        return None if ceiling is None or max(map(np.nanmax, self.values)) < ceiling.value else ceiling

    def said(self, activation: float) -> str:
        """An activation in figures; the ceiling is named."""
        if self.ceiling is not None and activation >= self.ceiling.value:
            return f"{activation:.2f} (ceiling)"
        return f"{activation:.2f}"

    def drawn(self, max_side: int, smooth: bool = True, opacity: float = NEURON_OPACITY) -> NeuronMap:
        """How the neuron's maps are drawn, on the scale shared by all images."""
        return NeuronMap(self.found.key.model, self.hook_point, self.neuron, self.scale, max_side, smooth, opacity)

    @cached_property
    def tests_by_score(self) -> tuple[Example, ...]:
        """The test images, highest score first."""
        pairs = sorted(zip(self.found.workspace.tests, self.found.scores, strict=True), key=lambda pair: -pair[1].score)
        return tuple(example for example, _ in pairs)

    def value_on(self, example: Example) -> np.ndarray:
        """(n_patches,) on one image, NaN off it."""
        position = next(
            index for index, other in enumerate(self.examples) if other.image.sha256 == example.image.sha256
        )
        return self.values[position]

    @cached_property
    def by_mask(self) -> list[tuple[np.ndarray, np.ndarray] | None]:
        """For each of `values` those of patches that touch the defect's mask, and the others; None without both."""
        return [self._by_mask(example, own) for example, own in zip(self.examples, self.values, strict=True)]

    def _by_mask(self, example: Example, own: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        if example.mask is None or not example.mask.any():
            return None
        placement = self.found.lake.backbone.placement(example.image)
        defect, on_image = mask_to_patches(example.mask, self.grid, placement) > 0, np.isfinite(own)
        inside, outside = own[defect & on_image], own[~defect & on_image]
        return (inside, outside) if len(inside) and len(outside) else None


def flat(values: list[np.ndarray]) -> np.ndarray:
    """All values that lie on the images, one after the other."""
    return np.concatenate([own[np.isfinite(own)] for own in values] or [np.zeros(0)])
