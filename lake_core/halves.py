"""What a GPU does fastest: products of 16-bit numbers, summed up in float32.

Used where the network computes with 16-bit numbers itself. Sums over neighbouring patches lose nothing, as products
with 0 and 1 are exact. A search for nearest patches may take another one that is as near to 1 part in 10 000; its
distance is then computed anew from all bits.
"""

import torch
from torch import Tensor

from lake_core.geometry import PatchGrid

_COLUMNS = 8
"""Products are fast where the number of columns is a multiple of this."""


def neighbours(grid: PatchGrid, side: int, like: Tensor) -> Tensor:
    """(n_patches, n_patches), 1 where a patch lies in the square of patches around another one, else 0."""
    patch = torch.arange(grid.n_patches, device=like.device)
    rows = (patch // grid.cols)[:, None] - patch // grid.cols
    cols = (patch % grid.cols)[:, None] - patch % grid.cols
    return (torch.maximum(rows.abs(), cols.abs()) <= side // 2).to(like.dtype)


def smoothed(acts_ipk: Tensor, near: Tensor) -> Tensor:
    """Means over neighbouring patches, float32, of 16-bit activations (n_pictures, n_patches, k)."""
    sums = _product(near.expand(len(acts_ipk), -1, -1), acts_ipk)
    return sums.div_(near.sum(1, dtype=torch.float32)[:, None])


class HalfGallery:
    """Gallery patches among which the nearest ones are looked for by 16-bit products.

    Args:
        gallery: (m, k) float32, k >= 1.
        origin: (k,) float32, from where vectors are counted; amid the gallery the least is lost by rounding.
    """

    def __init__(self, gallery: Tensor, origin: Tensor) -> None:
        self._k = gallery.shape[1]
        centred = gallery - origin
        # So that nothing is near 65 504, where these numbers end.
        self._scale = 1 / max(float(centred.abs().max()), torch.finfo(torch.float32).tiny)
        self._start = -self._scale * origin
        centred *= self._scale
        squared = centred.square().sum(1)
        # |g|^2 as a sum of two numbers that meet a 1: one product gives |g|^2 - 2 p.g, and nothing is left to add.
        self._rows = self._empty(len(gallery))
        self._rows[:, : self._k] = -2 * centred
        self._rows[:, self._k] = squared
        self._rows[:, self._k + 1] = squared - squared.half()
        self._rows[:, self._k + 2 :] = 0

    def without_own_square(self, patches: Tensor) -> Tensor:
        """(n, m) float32: squared distances of patches (n, k), less a number for each patch and times one for all."""
        rows = self._empty(len(patches))
        torch.add(self._start, patches, alpha=self._scale, out=rows[:, : self._k])
        rows[:, self._k :] = 1
        return _product(rows[None], self._rows.T[None])[0]

    def _empty(self, n: int) -> Tensor:
        width = -(-(self._k + 2) // _COLUMNS) * _COLUMNS
        return torch.empty(n, width, dtype=torch.float16, device=self._start.device)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Products of matrices (n, ...) of 16-bit numbers, float32; on the CPU the same numbers by the slow way."""
    return torch.bmm(a, b, out_dtype=torch.float32) if a.is_cuda else a.float() @ b.float()
