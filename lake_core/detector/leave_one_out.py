"""Each normal patch against the patches of the other normal images, in blocks (docs/method.md, section 2, calibration).

All pairs of patches are compared, but a table of all is never held. Tables are as small as the processor's cache; each
gives, for its rows and for its columns, the least distance and nothing else. Every pair is computed once.
"""

import torch
from torch import Tensor

from lake_core.detector.search import FloatBank, most_compared

_SIDE = 768
"""Rows and columns of a table on the CPU: 2 MB. On a GPU a table is as large as its memory allows."""


def distance_to_others(patches: Tensor, image: Tensor, bank: FloatBank, bank_image: Tensor) -> Tensor:
    """Squared distance of each patch to the nearest row of a bank that is of another image.

    Args:
        patches: (n, k) float32 from `subspace`. Where they are the bank's own rows (`patches is bank.rows`), each
            distance serves both ends of its pair.
        image: (n,) int64 in ascending order, which image each is of.
        bank: Any rows.
        bank_image: (m,) int64 in ascending order, which image each row is of; each patch has a row of another image.
    Returns:
        (n,) float32, sums of squares.
    """
    search = _Search(patches, image, bank, bank_image)
    row = torch.zeros_like(image)
    block = search.nearest_blocks()
    for start in search.columns:
        nearest_here = (block == start).nonzero()[:, 0]
        for first in range(0, len(nearest_here), search.side):
            some = nearest_here[first : first + search.side]
            row[some] = search.table(some, start).argmin(1) + start
    return bank.distance(bank.as_vectors(patches), row)


class _Search:
    """Tables of squared distances between some patches and a block of rows."""

    def __init__(self, patches: Tensor, image: Tensor, bank: FloatBank, bank_image: Tensor) -> None:
        self.side = int(most_compared(patches) ** 0.5) if patches.is_cuda else _SIDE
        self.columns = range(0, len(bank.rows), self.side)
        self._is_mutual = patches is bank.rows
        centred = bank.centred if self._is_mutual else patches - bank.rows.mean(0)
        # |p|^2 + |g|^2 - 2 p.g as one product: each square meets a 1.
        ones, squared = torch.ones_like(bank.squared)[:, None], centred.square().sum(1, keepdim=True)
        self._left = torch.cat([centred, squared, torch.ones_like(squared)], dim=1)
        self._right = torch.cat([-2 * bank.centred, ones, bank.squared[:, None]], dim=1)
        self._image, self._bank_image = image, bank_image
        self._held = patches.new_empty(self.side**2)

    def table(self, rows: Tensor | slice, start: int) -> Tensor:
        """(n_rows, n_columns) float32: some patches against the block that starts there; inf within one image.

        It holds until the next one is asked for.
        """
        left, right = self._left[rows], self._right[start : start + self.side]
        table = self._held[: len(left) * len(right)].view(len(left), len(right))
        torch.mm(left, right.T, out=table)
        image, other = self._image[rows], self._bank_image[start : start + self.side]
        if int(image[0]) <= int(other[-1]) and int(other[0]) <= int(image[-1]):
            table.masked_fill_(image[:, None] == other, torch.inf)
        return table

    def nearest_blocks(self) -> Tensor:
        """(n,) int64: for each patch the start of the block in which its nearest row lies."""
        least = torch.full_like(self._left[:, 0], torch.inf)
        block = torch.zeros_like(self._image)
        for first in range(0, len(least), self.side):
            rows = slice(first, first + self.side)
            for start in self.columns[first // self.side if self._is_mutual else 0 :]:
                table = self.table(rows, start)
                _take(least[rows], block[rows], table.amin(1), start)
                if self._is_mutual and start > first:
                    columns = slice(start, start + self.side)
                    _take(least[columns], block[columns], table.amin(0), first)
        return block


def _take(least: Tensor, block: Tensor, found: Tensor, start: int) -> None:
    """Writes what was found in a block where it is less than the least so far."""
    block.masked_fill_(found < least, start)
    torch.minimum(least, found, out=least)
