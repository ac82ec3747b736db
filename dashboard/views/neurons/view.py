"""One neuron as its page shows it: the unit, its activations on every picture of the workspace, and their scale."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from dashboard import session
from dashboard.components import sidebar
from dashboard.services import compute
from dashboard.services.compute import Analysis
from lake_core.backbones.hooks import Kind, Place
from lake_core.backbones.patch_grid import PatchGrid, mask_to_patches
from lake_core.data.datasets import Example
from lake_core.detector.selection import Selection


@dataclass(frozen=True, eq=False)
class UnitView:
    """A unit and what it does.

    Attributes:
        found: The analysis.
        selection: Of the unit's layer.
        unit: Its number.
        normals, tests: For each picture (n_patches,), NaN off the picture; in the workspace's order.
    """

    found: Analysis
    selection: Selection
    unit: int
    normals: list[np.ndarray] = field(repr=False)
    tests: list[np.ndarray] = field(repr=False)

    @classmethod
    def of(cls, found: Analysis, selection: Selection, unit: int) -> "UnitView":
        return cls(found, selection, unit, *compute.unit_values(found, selection.layer, unit))

    @property
    def place(self) -> Place:
        return self.found.lake.backbone.place(self.selection.layer, self.selection.kind)

    @property
    def grid(self) -> PatchGrid:
        return self.found.lake.backbone.grid(self.place)

    @property
    def examples(self) -> tuple[Example, ...]:
        """Normal pictures, then test pictures, as in `values`."""
        return (*self.found.workspace.normals, *self.found.workspace.tests)

    @property
    def values(self) -> list[np.ndarray]:
        return [*self.normals, *self.tests]

    @cached_property
    def limit(self) -> float:
        """The value of the full colour, shared by all pictures."""
        return compute.unit_limit(self.normals, self.tests)

    @cached_property
    def tests_by_score(self) -> tuple[Example, ...]:
        """The test pictures, highest score first."""
        pairs = sorted(zip(self.found.workspace.tests, self.found.scores, strict=True), key=lambda pair: -pair[1].score)
        return tuple(example for example, _ in pairs)

    def value_on(self, example: Example) -> np.ndarray:
        """(n_patches,) on one picture, NaN off it."""
        position = next(
            index for index, other in enumerate(self.examples) if other.picture.sha256 == example.picture.sha256
        )
        return self.values[position]

    def by_mask(self, example: Example) -> tuple[np.ndarray, np.ndarray] | None:
        """The values of patches that touch the defect's mask, and of the others; None without both."""
        if example.mask is None or not example.mask.any():
            return None
        own = self.value_on(example)
        placement = self.found.lake.backbone.placement(example.picture)
        defect, on_picture = mask_to_patches(example.mask, self.grid, placement) > 0, np.isfinite(own)
        inside, outside = own[defect & on_picture], own[~defect & on_picture]
        return (inside, outside) if len(inside) and len(outside) else None


def flat(values: list[np.ndarray]) -> np.ndarray:
    """All values that lie on the pictures, one after the other."""
    return np.concatenate([own[np.isfinite(own)] for own in values] or [np.zeros(0)])


def open_unit(layer: int, kind: Kind, unit: int) -> None:
    """Makes a unit the one that the page shows, and its kind the sidebar's; only in a button's callback."""
    settings = sidebar.current()
    if settings.kind != kind:
        sidebar.take(replace(settings, kind=kind, layers=None))
    session.set_focus(layer=layer, unit=unit)
