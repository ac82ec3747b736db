"""The nearest normal patch: one search for every detector, in batches, on any device (docs/method.md, section 2).

Patches are compared with a bank of normal patches by a matrix product; the distance to the one that is found is then
computed anew as a sum of squared differences, so that it equals the sum of the contributions. There are two banks:
`FloatBank` compares in float32. `HalfPrecisionBank` is for GPUs where the network computes with 16-bit numbers itself,
and uses what they do fastest: products of 16-bit numbers that are summed up in float32. Sums over neighbouring patches
lose nothing by it, as products with 0 and 1 are exact. The patch that is found is the nearest one to about 1 part in
10 000.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid
from lake_core.config import Normalise

_COLUMNS = 8
"""Products are fast where the number of columns is a multiple of this."""
_SHORTEST = 1e-12
"""As in `torch.nn.functional.normalize`: shorter vectors are not scaled up to length 1."""
_BLOCK = 128
"""Columns of a table whose least is found at once."""
_MAX_COMPARED = 2**22
"""Distances that are held at once on the CPU; on a GPU 32 times as many."""


class Geometry(NamedTuple):
    """How patch vectors are made from activations: averaged over a square of that side on the grid, then scaled."""

    grid: PatchGrid
    smooth: int
    normalise: Normalise


class Neighbours(NamedTuple):
    """Nearest normal patch of each patch: squared distance (n,) float32 >= 0 and row of the bank (n,) int64."""

    distance: Tensor
    row: Tensor


class Vectors(NamedTuple):
    """Patches as distances see them: numbers (n, k), to be multiplied by a factor (n, 1) each; float32."""

    numbers: Tensor
    factor: Tensor

    def split(self, n: int) -> Iterator["Vectors"]:
        """So many patches at a time."""
        for start in range(0, len(self.numbers), n):
            rows = slice(start, start + n)
            yield Vectors(self.numbers[rows], self.factor[rows])


def subspace(acts_ipn: Tensor, neurons: np.ndarray, geometry: Geometry) -> Tensor:
    """Patch vectors as distances see them: selected neurons, averaged over neighbouring patches, scaled.

    Args:
        acts_ipn: (n_images, n_patches, n_neurons) float32.
        neurons: (k,) int64, the selected neurons. Without any, vectors have length 0 and all distances are 0.
        geometry: "unit" scales each vector to length 1 (a zero vector stays zero), "none" leaves it.
    Returns:
        (n_images, n_patches, k) float32.
    """
    return prepared(acts_ipn[:, :, torch.from_numpy(neurons).to(acts_ipn.device)], geometry)


def prepared(acts_ipk: Tensor, geometry: Geometry) -> Tensor:
    """Activations of the selected neurons, averaged over neighbouring patches and scaled; of the same shape."""
    smooth = smoothed(acts_ipk, geometry.grid, geometry.smooth) if geometry.smooth > 1 else acts_ipk
    return F.normalize(smooth, dim=2) if geometry.normalise == "unit" else smooth.contiguous()


def smoothed(acts_ipk: Tensor, grid: PatchGrid, side: int) -> Tensor:
    """Means over squares of patches of that side, at the border over the patches that exist."""
    if not acts_ipk.shape[2]:
        return acts_ipk
    maps = acts_ipk.transpose(1, 2).unflatten(2, (grid.rows, grid.cols))
    maps = F.avg_pool2d(maps, side, stride=1, padding=side // 2, count_include_pad=False)
    return maps.flatten(2).transpose(1, 2)


class SearchBank(ABC):
    """Normal patches of one subspace, to be searched.

    Args:
        rows: (m, k) float32 patch vectors from `subspace`, m >= 1, on the device that computes.
        geometry: How they were made.
    """

    def __init__(self, rows: Tensor, geometry: Geometry) -> None:
        if not len(rows):
            raise ValueError("a bank needs at least one normal patch")
        self.geometry = geometry
        # Distances do not depend on the origin, but their rounding does: neurons with a large constant part (residual
        # streams have some) would drown the differences in |g|^2 - 2 p.g.
        self._origin = rows.mean(0)
        self._shape = rows.shape

    @abstractmethod
    def vectors(self, acts_ipk: Tensor) -> Vectors:
        """The patches of images, from the activations (n_images, n_patches, k) of the same neurons."""

    @abstractmethod
    def without_own_square(self, patches: Vectors) -> Tensor:
        """(n, m) float32: squared distances, less a number for each patch, and times one number for all."""

    @abstractmethod
    def distance(self, patches: Vectors, nearest: Tensor) -> Tensor:
        """(n,) float32: squared distance of each patch to one row; a sum of squares, as the contributions are."""

    def nearest(self, patches: Vectors, excluded: Tensor | None = None) -> Neighbours:
        """The nearest row of each patch.

        Args:
            patches: From `vectors`.
            excluded: (n, m) bool, rows that must not be taken; at least one must remain for each patch.
        Raises:
            ValueError: if the patches have another number of columns.
        """
        if patches.numbers.shape[1] != self._shape[1]:
            raise ValueError(f"patches {tuple(patches.numbers.shape)} cannot be compared with {tuple(self._shape)}")
        found, start = [], 0
        for part in patches.split(self._at_once(patches)):
            table = self.without_own_square(part)
            if excluded is not None:
                table.masked_fill_(excluded[start : start + len(table)], torch.inf)
            row = _least(table)
            found.append(Neighbours(self.distance(part, row), row))
            start += len(table)
        return Neighbours(*(torch.cat(values) for values in zip(*found, strict=True)))

    def nearest_among(self, patches: Vectors, lengths: Sequence[int], groups: Sequence[Tensor]) -> list[Tensor]:
        """Squared distance (n,) float32 of each patch to its nearest row, for several groups of normal images.

        Each patch is compared once with all rows; each group then takes the least over its own images.

        Args:
            patches: From `vectors`.
            lengths: How many rows each normal image has, one image after the other.
            groups: For each group the indices of its images, int64.
        """
        parts = [self._of_groups(part, lengths, groups) for part in patches.split(self._at_once(patches))]
        return [torch.cat([part[i] for part in parts]) for i in range(len(groups))]

    def _of_groups(self, patches: Vectors, lengths: Sequence[int], groups: Sequence[Tensor]) -> list[Tensor]:
        table = self.without_own_square(patches)
        if len(set(lengths)) == 1:
            least, row = table.unflatten(1, (len(lengths), -1)).min(2)
            row += torch.arange(0, sum(lengths), lengths[0], device=row.device)
        else:
            of_image = [part.min(1) for part in table.split(list(lengths), dim=1)]
            firsts = np.cumsum([0, *lengths[:-1]]).tolist()
            least = torch.stack([part.values for part in of_image], dim=1)
            row = torch.stack([part.indices + first for part, first in zip(of_image, firsts, strict=True)], dim=1)
        found = []
        for own in groups:
            image = least[:, own].argmin(1, keepdim=True)
            found.append(self.distance(patches, row[:, own].gather(1, image)[:, 0]))
        return found

    def _at_once(self, patches: Vectors) -> int:
        return max(1, most_compared(patches.numbers) // self._shape[0])


class FloatBank(SearchBank):
    """A bank that is searched in float32.

    Attributes:
        rows: (m, k) float32, as they were given.
        centred: (m, k) float32, less the mean row.
        squared: (m,) float32, squared length of each centred row.
    """

    def __init__(self, rows: Tensor, geometry: Geometry) -> None:
        super().__init__(rows, geometry)
        self.rows = rows
        self.centred = rows - self._origin
        self.squared = self.centred.square().sum(1)

    def vectors(self, acts_ipk: Tensor) -> Vectors:
        return self.as_vectors(prepared(acts_ipk.float(), self.geometry).flatten(0, 1))

    @staticmethod
    def as_vectors(patches: Tensor) -> Vectors:
        """Patch vectors (n, k) float32 from `subspace`, as the bank compares them."""
        return Vectors(patches, patches.new_ones(()).expand(len(patches), 1))

    def without_own_square(self, patches: Vectors) -> Tensor:
        return torch.addmm(self.squared, patches.numbers - self._origin, self.centred.T, alpha=-2.0)

    def distance(self, patches: Vectors, nearest: Tensor) -> Tensor:
        return (patches.numbers - self.rows[nearest]).square().sum(1)


class HalfPrecisionBank(SearchBank):
    """A bank that is searched by 16-bit products, for 16-bit activations; k >= 1."""

    def __init__(self, rows: Tensor, geometry: Geometry) -> None:
        super().__init__(rows, geometry)
        self._minus_rows, self._k = -rows, rows.shape[1]
        self._near = _neighbours(geometry.grid, geometry.smooth, rows.device)
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
        if self.geometry.normalise == "unit":
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
        length: Tensor = torch.linalg.vector_norm(difference, dim=1)
        return length.square()

    def _columns(self, n: int) -> Tensor:
        """(n, k and two more, filled up) float16, not written yet."""
        width = -(-(self._k + 2) // _COLUMNS) * _COLUMNS
        return torch.empty(n, width, dtype=torch.float16, device=self._start.device)


def _least(table: Tensor) -> Tensor:
    """(n,) int64: the first of the least of each row, as `argmin`, which takes three times as long for long rows."""
    n, n_blocks = len(table), table.shape[1] // _BLOCK
    if n_blocks < 2:
        return table.argmin(1)
    blocks = table[:, : n_blocks * _BLOCK].unflatten(1, (n_blocks, _BLOCK))
    block = blocks.amin(2).argmin(1)
    column: Tensor = blocks[torch.arange(n, device=table.device), block].argmin(1) + block * _BLOCK
    tail = table[:, n_blocks * _BLOCK :]
    if not tail.shape[1]:
        return column
    is_in_tail = tail.amin(1) < table.gather(1, column[:, None])[:, 0]
    return torch.where(is_in_tail, tail.argmin(1) + n_blocks * _BLOCK, column)


def most_compared(on_device: Tensor) -> int:
    """Distances that are held at once where that tensor lies."""
    return _MAX_COMPARED * (32 if on_device.is_cuda else 1)


def _neighbours(grid: PatchGrid, side: int, device: torch.device) -> Tensor:
    """(n_patches, n_patches) float32, 1 where a patch lies in the square of patches around another one, else 0."""
    patch = torch.arange(grid.n_patches, device=device)
    rows = (patch // grid.cols)[:, None] - patch // grid.cols
    cols = (patch % grid.cols)[:, None] - patch % grid.cols
    return (torch.maximum(rows.abs(), cols.abs()) <= side // 2).float()


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Products of matrices (n, ...) of 16-bit numbers, float32; the slow way on the CPU, and where some are float32."""
    is_fast = a.is_cuda and a.dtype == b.dtype != torch.float32
    product: Tensor = torch.bmm(a, b, out_dtype=torch.float32) if is_fast else a.float() @ b.float()
    return product
