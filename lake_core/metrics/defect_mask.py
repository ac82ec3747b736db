"""Masks of defects kept small: a data set's masks stay in memory while all detectors are compared with them.

Needs no PyTorch, so that processes that only read begin at once.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

_EIGHT_CONNECTED = np.ones((3, 3), dtype=int)


def _no_runs() -> np.ndarray:
    return np.zeros((3, 0), dtype=np.int32)


@dataclass(frozen=True, eq=False)
class DefectMask:
    """The defect regions of one image as runs of pixels: some hundred bytes instead of one per pixel.

    Attributes:
        shape: (h, w).
        n_regions: Regions, connected over edges and corners.
        runs: (3, n_runs) int32: where each run of defect pixels begins, counted row by row, how long it is, and the
            number of its region, from 1.
    """

    shape: tuple[int, int]
    n_regions: int = 0
    runs: np.ndarray = field(default_factory=_no_runs, repr=False)

    @classmethod
    def of(cls, mask: np.ndarray) -> "DefectMask":
        """A mask (h, w) bool, True where defect."""
        regions, n_regions = ndimage.label(mask, _EIGHT_CONNECTED)
        flat = regions.reshape(-1)
        starts = np.flatnonzero(np.diff(flat, prepend=0))
        runs = np.stack([starts, np.diff(starts, append=flat.size), flat[starts]]).astype(np.int32)
        return cls((mask.shape[0], mask.shape[1]), n_regions, runs[:, runs[2] > 0])

    @property
    def n_pixels(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def n_defect(self) -> int:
        return int(self.runs[1].sum())

    @property
    def regions(self) -> np.ndarray:
        """(h, w) int32: 0 where good, 1 to n_regions where defect."""
        first, length, region = self.runs
        # Good and defective stretches in turn: what lies between the runs, and what they hold.
        ends = np.stack([first, first + length], axis=1).reshape(-1)
        stretches = np.diff(ends, prepend=0, append=self.n_pixels)
        flat = np.zeros(len(stretches), dtype=np.int32)
        flat[1::2] = region
        return np.repeat(flat, stretches).reshape(self.shape)
