"""Masks of defects kept small: a data set's masks stay in memory while all detectors are compared with them.

Needs no PyTorch, so that processes that only read begin at once.
"""

import zlib
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

_EIGHT_CONNECTED = np.ones((3, 3), dtype=int)


@dataclass(frozen=True)
class DefectMask:
    """The defect regions of one picture, compressed: some hundred bytes instead of one per pixel.

    Attributes:
        shape: (h, w).
        n_defect: Defect pixels.
        n_regions: Regions, connected over edges and corners.
        packed: The numbers of the regions, compressed; empty without any.
    """

    shape: tuple[int, int]
    n_defect: int = 0
    n_regions: int = 0
    packed: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, mask: np.ndarray) -> "DefectMask":
        """A mask (h, w) bool, True where defect."""
        shape = (mask.shape[0], mask.shape[1])
        regions, n_regions = ndimage.label(mask, _EIGHT_CONNECTED)
        if not n_regions:
            return cls(shape)
        numbers = regions.astype(_smallest_type(n_regions))
        return cls(shape, int(np.count_nonzero(regions)), n_regions, zlib.compress(numbers.tobytes(), level=1))

    @property
    def n_pixels(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def regions(self) -> np.ndarray:
        """(h, w) unsigned whole numbers: 0 where good, 1 to n_regions where defect."""
        if not self.n_regions:
            return np.zeros(self.shape, dtype=np.uint8)
        numbers = np.frombuffer(zlib.decompress(self.packed), dtype=_smallest_type(self.n_regions))
        return numbers.reshape(self.shape)

    @property
    def defect(self) -> np.ndarray:
        """(h, w) bool."""
        return self.regions > 0


def _smallest_type(number: int) -> np.dtype:
    return np.min_scalar_type(number)
