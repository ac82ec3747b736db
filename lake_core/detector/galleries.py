"""Normal patches on a device, ready for the patches of many images to be compared with.

There are two ways to look for the nearest one: `FloatBank` computes as `nearest_normal` does. `HalfPrecisionBank` is
for GPUs where the network computes with 16-bit numbers itself, and uses what they do fastest: products of 16-bit
numbers that are summed up in float32. Sums over neighbouring patches lose nothing by it, as products with 0 and 1 are
exact. The patch that is found is the nearest one to about 1 part in 10 000; its distance is then computed from all
bits.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid
from lake_core.config import Normalise
from lake_core.detector.memory_bank import scaled, smoothed

_COLUMNS = 8
"""Products are fast where the number of columns is a multiple of this."""
_SHORTEST = 1e-12
"""As in `torch.nn.functional.normalize`: shorter vectors are not scaled up to length 1."""


class Vectors(NamedTuple):
    """Patches as distances see them: numbers (n, k), to be multiplied by a factor (n, 1) each; float32."""

    numbers: Tensor
    factor: Tensor

    def split(self, n: int) -> Iterator["Vectors"]:
        """So many patches at a time."""
        for start in range(0, len(self.numbers), n):
            rows = slice(start, start + n)
            yield Vectors(self.numbers[rows], self.factor[rows])


class SearchBank(ABC):
    """Normal patches of one subspace.

    Args:
        rows: (m, k) float32 patch vectors from `subspace`, on the device that computes.
        grid: Of the patches of a image.
        smooth: Side of the square of patches to average over.
        normalise: How vectors are scaled.
    """

    def __init__(self, rows: Tensor, grid: PatchGrid, smooth: int, normalise: Normalise) -> None:
        self._grid, self._smooth, self._normalise = grid, smooth, normalise
        # As in `nearest_normal`: distances do not depend on the origin, but their rounding does.
        self._origin = rows.mean(0)

    @abstractmethod
    def vectors(self, acts_ipk: Tensor) -> Vectors:
        """The patches of images, from the activations (n_images, n_patches, k) of the same neurons."""

    @abstractmethod
    def without_own_square(self, patches: Vectors) -> Tensor:
        """(n, m) float32: squared distances, less a number for each patch, and times one number for all."""

    @abstractmethod
    def distance(self, patches: Vectors, nearest: Tensor) -> Tensor:
        """(n,) float32: squared distance of each patch to one row; a sum of squares, as the contributions has it."""


class FloatBank(SearchBank):
    """A memory bank that is searched in float32."""

    def __init__(self, rows: Tensor, grid: PatchGrid, smooth: int, normalise: Normalise) -> None:
        super().__init__(rows, grid, smooth, normalise)
        self._rows = rows
        self._centred = rows - self._origin
        self._squared = self._centred.square().sum(1)

    def vectors(self, acts_ipk: Tensor) -> Vectors:
        acts_ipk = acts_ipk.float()
        acts_ipk = smoothed(acts_ipk, self._grid, self._smooth) if self._smooth > 1 else acts_ipk
        numbers = scaled(acts_ipk, self._normalise).flatten(0, 1)
        return Vectors(numbers, numbers.new_ones(()).expand(len(numbers), 1))

    def without_own_square(self, patches: Vectors) -> Tensor:
        return torch.addmm(self._squared, patches.numbers - self._origin, self._centred.T, alpha=-2.0)

    def distance(self, patches: Vectors, nearest: Tensor) -> Tensor:
        return (patches.numbers - self._rows[nearest]).square().sum(1)


class HalfPrecisionBank(SearchBank):
    """A memory bank that is searched by 16-bit products, for 16-bit activations; k >= 1."""

    def __init__(self, rows: Tensor, grid: PatchGrid, smooth: int, normalise: Normalise) -> None:
        super().__init__(rows, grid, smooth, normalise)
        self._minus_rows, self._k = -rows, rows.shape[1]
        self._near = _neighbours(grid, smooth, rows.device)
        centred = rows - self._origin
        # So that nothing is near 65 504, where these numbers end.
        self._scale = 1 / max(float(centred.abs().max()), torch.finfo(torch.float32).tiny)
        self._start = -self._scale * self._origin
        centred *= self._scale
        squared = centred.square().sum(1)
        # |g|^2 as a sum of two numbers that meet a 1: one product gives |g|^2 - 2 p.g, and nothing is left to add.
        self._table = self._columns(len(rows))
        self._table[:, : self._k] = -2 * centred
        self._table[:, self._k] = squared
        self._table[:, self._k + 1] = squared - squared.half()
        self._table[:, self._k + 2 :] = 0

    def vectors(self, acts_ipk: Tensor) -> Vectors:
        sums = _product(self._near.to(acts_ipk.dtype).expand(len(acts_ipk), -1, -1), acts_ipk)
        if self._normalise == "unit":
            length = torch.linalg.vector_norm(sums, dim=2, keepdim=True).clamp(min=_SHORTEST)
        else:
            length = self._near.sum(1)[:, None].expand(len(sums), -1, -1)
        return Vectors(sums.flatten(0, 1), (1 / length).flatten(0, 1))

    def without_own_square(self, patches: Vectors) -> Tensor:
        numbers, factor = patches
        rows = self._columns(len(numbers))
        torch.addcmul(self._start, numbers, factor * self._scale, out=rows[:, : self._k])
        rows[:, self._k :] = 1
        return _product(rows[None], self._table.T[None])[0]

    def distance(self, patches: Vectors, nearest: Tensor) -> Tensor:
        difference = self._minus_rows[nearest].addcmul_(patches.numbers, patches.factor)
        return torch.linalg.vector_norm(difference, dim=1).square()

    def _columns(self, n: int) -> Tensor:
        """(n, k and two more, filled up) float16, not written yet."""
        width = -(-(self._k + 2) // _COLUMNS) * _COLUMNS
        return torch.empty(n, width, dtype=torch.float16, device=self._start.device)


def _neighbours(grid: PatchGrid, side: int, device: torch.device) -> Tensor:
    """(n_patches, n_patches) float32, 1 where a patch lies in the square of patches around another one, else 0."""
    patch = torch.arange(grid.n_patches, device=device)
    rows = (patch // grid.cols)[:, None] - patch // grid.cols
    cols = (patch % grid.cols)[:, None] - patch % grid.cols
    return (torch.maximum(rows.abs(), cols.abs()) <= side // 2).float()


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Products of matrices (n, ...) of 16-bit numbers, float32; the slow way on the CPU, and where some are float32."""
    is_fast = a.is_cuda and a.dtype == b.dtype != torch.float32
    return torch.bmm(a, b, out_dtype=torch.float32) if is_fast else a.float() @ b.float()
