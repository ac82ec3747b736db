"""The pointing game: how often the max-scoring patch lies on the defect (after Zhang et al., arXiv 1608.00507)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lake_core.backbones.patch_grid import PatchGrid, mask_to_patches
from lake_core.evaluation.maps import MapFile
from lake_core.evaluation.reading import Loaded
from lake_core.metrics.bootstrap import times_drawn


@dataclass(frozen=True, eq=False)
class Pointing:
    """One run's game.

    Attributes:
        hits: (n_masked,) bool, for each defective image with a mask: whether the max-scoring patch touches the mask.
        draws: (n_draws,) float64, the share of hits on bootstrap draws of the images.
        chance: How often a patch drawn at random from the image would, on average over the images, in [0, 1].
    """

    hits: np.ndarray
    draws: np.ndarray
    chance: float

    @property
    def share(self) -> float:
        """Share of images that are hit, in [0, 1]."""
        return float(self.hits.mean())


class PointingGame:
    """The defective test images with a mask that is not empty.

    Args:
        images: All test images.
    """

    def __init__(self, images: Sequence[Loaded]) -> None:
        self.rows = [i for i, image in enumerate(images) if image.has_defect]
        self._masks = [mask for i in self.rows if (mask := images[i].mask) is not None]
        self._times = times_drawn(np.ones(len(self.rows), dtype=bool))
        self._touching: dict[PatchGrid, np.ndarray] = {}

    def played(self, maps: MapFile, grids: Mapping[int, PatchGrid]) -> dict[int, Pointing]:
        """The games of some runs: their numbers, with the grids of their maps; none without such an image."""
        return {run: self._played(maps, run, grid) for run, grid in grids.items()} if self.rows else {}

    def _played(self, maps: MapFile, run: int, grid: PatchGrid) -> Pointing:
        values = maps.maps(range(run, run + 1), self.rows)
        touching = self._touching_of(grid)
        on_image = ~np.isnan(values)
        highest = np.where(on_image, values, -np.inf).argmax(1)
        chance = (touching & on_image).sum(1) / on_image.sum(1)
        hits = touching[np.arange(len(values)), highest]
        return Pointing(hits, (self._times @ hits) / len(hits), float(chance.mean()))

    def _touching_of(self, grid: PatchGrid) -> np.ndarray:
        """(n_masked, n_patches) bool: patches with at least one pixel of the defect."""
        if grid not in self._touching:
            shares = [mask_to_patches(mask.defects.regions > 0, grid, mask.placement) for mask in self._masks]
            self._touching[grid] = np.stack(shares) > 0
        return self._touching[grid]
