"""What was learned from the normal images: each layer's memory bank and its calibration (docs/method.md, section 2)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid
from lake_core.config import FitConfig
from lake_core.detector.coreset import coreset
from lake_core.detector.leave_one_out import distance_to_others
from lake_core.detector.search import FloatBank, Geometry, most_compared, subspace
from lake_core.detector.selection import Selection
from lake_core.detector.text import TextCalibration
from lake_core.findings.fits import FitWarning

_ROUNDING = 1e-5
"""Relative differences up to here are float32 rounding: the same image in another batch differs by as much. They count
as none, or a calibration by them would blow them up to scores."""
_PARTS = 19
"""Of a bank; every 19th patch, row by row, is spread evenly over grids of any usual width, as 19 divides none."""
_ROUNDS = ((0, 1), (1, 4), (4, 10), (10, _PARTS))
"""Which parts are compared at once, one round after the other."""
_SPARSE = 16
"""One row of so many makes upper bounds that leave about a tenth of an image's patches to be compared in full."""
_MARGIN = 1e-5
"""Of a bank's mean squared length: more than float32 rounding makes of a distance from a matrix product."""
_FEW_PATCHES = 3000
"""With fewer normal patches a whole search is as fast as one for the greatest distances only."""


@dataclass(frozen=True, eq=False)
class LearnedLayer:
    """What was learned of one layer from the normal images: enough to measure others by it.

    Attributes:
        selection: Its selected neurons.
        geometry: How its patch vectors are made.
        bank: (m, k) float32, normal patches as distances see them: all, or a coreset of them.
        bank_image: (m,) int64, which normal image each came from.
        bank_patch: (m,) int64, which patch of it.
        tau: Calibration: a high quantile of the normal patches' own distances; 0 where nothing but rounding differs,
            which the caller must check.
    """

    selection: Selection
    geometry: Geometry
    bank: Tensor = field(repr=False)
    bank_image: Tensor = field(repr=False)
    bank_patch: Tensor = field(repr=False)
    tau: float

    @property
    def grid(self) -> PatchGrid:
        """Of the layer's patches."""
        return self.geometry.grid

    @cached_property
    def search(self) -> FloatBank:
        """The bank ready to be searched, made once for all images."""
        return FloatBank(self.bank, self.geometry)

    @cached_property
    def sparse_search(self) -> FloatBank:
        """A few rows of the bank: the distance to the nearest of them is an upper bound of the distance to the bank."""
        return FloatBank(self.bank[::_SPARSE], self.geometry)


@dataclass(frozen=True, eq=False)
class LayerMemoryBank(LearnedLayer):
    """The same with what the normal images' own scores, and so the threshold, are made of.

    Attributes:
        own_distance: (n_normals, n_patches) float32, each normal image against the others (leave one out).
    """

    own_distance: Tensor = field(repr=False)


def fit_layer(
    acts_ipn: Tensor, inside_ip: Tensor, selection: Selection, geometry: Geometry, config: FitConfig
) -> LayerMemoryBank:
    """Learns one layer's memory bank and calibration.

    Each normal image is measured against the memory bank without itself; a single one against its own patches at least
    `smooth + 1` grid steps away (in rows or in columns): nearer ones share cells with it after smoothing.

    Args:
        acts_ipn: (n_images, n_patches, n_neurons) float32 of the normal images, on the device that computes. What
            is learned lies on the CPU.
        inside_ip: (n_images, n_patches) bool on that device, patches that lie on the image; the others are no
            normal patches.
        selection: The neurons to keep.
        geometry: How patch vectors are made of their activations.
        config: Of its parameters the quantile of the distances that becomes tau, and the coreset's size and seed.
    """
    patches_ipk = subspace(acts_ipn, selection.neurons, geometry)
    bank_image, bank_patch = inside_ip.nonzero(as_tuple=True)
    rows = patches_ipk[inside_ip]
    if config.memory_bank_size is not None:
        kept = coreset(rows, bank_image, config.memory_bank_size, config.seed)
        rows, bank_image, bank_patch = rows[kept], bank_image[kept], bank_patch[kept]
    bank = FloatBank(rows, geometry)
    own = _own_distances(bank, patches_ipk, inside_ip, bank_image, bank_patch)
    tau = _tau(own[inside_ip], bank.rows, config.calibration_quantile)
    return LayerMemoryBank(selection, geometry, rows.cpu(), bank_image.cpu(), bank_patch.cpu(), tau, own.cpu())


def learn_layer(
    acts_ipn: Tensor, inside_ip: Tensor, selection: Selection, geometry: Geometry, config: FitConfig
) -> LearnedLayer:
    """The same memory bank and tau as of `fit_layer`, several times faster with many patches.

    For a quantile only the greatest of the normal patches' own distances need to be known.
    """
    is_small = len(acts_ipn) == 1 or int(inside_ip.sum()) < _FEW_PATCHES
    if is_small or config.memory_bank_size is not None:
        return fit_layer(acts_ipn, inside_ip, selection, geometry, config)
    bank_image, bank_patch = inside_ip.nonzero(as_tuple=True)
    bank = FloatBank(subspace(acts_ipn, selection.neurons, geometry)[inside_ip], geometry)
    m, quantile = len(bank.rows), config.calibration_quantile
    own = _greatest_own(bank, inside_ip.sum(1).tolist(), m - int(quantile * (m - 1)))
    tau = _tau(own, bank.rows, quantile)
    return LearnedLayer(selection, geometry, bank.rows.cpu(), bank_image.cpu(), bank_patch.cpu(), tau)


def _tau(own: Tensor, rows: Tensor, quantile: float) -> float:
    """The quantile of the normal patches' own distances; 0 where they are no more than rounding."""
    tau = float(np.quantile(own.cpu().numpy(), quantile))
    return 0.0 if tau <= _ROUNDING**2 * float(rows.square().sum(1).mean()) else tau


def _own_distances(
    bank: FloatBank, patches_ipk: Tensor, inside_ip: Tensor, bank_image: Tensor, bank_patch: Tensor
) -> Tensor:
    """(n_images, n_patches) float32: squared distance of each normal image's patches to the bank without the image."""
    if len(patches_ipk) == 1:
        close = _close_by(bank.geometry, bank_patch)
        return bank.nearest(bank.as_vectors(patches_ipk[0]), close).distance[None]
    own = torch.empty(inside_ip.shape, device=inside_ip.device)
    # Patches off the image too: a coarse one may lie under a fine one that is on it.
    for some in (inside_ip, ~inside_ip):
        image = some.nonzero()[:, 0]
        are_the_bank = some is inside_ip and len(image) == len(bank.rows)
        own[some] = distance_to_others(bank.rows if are_the_bank else patches_ipk[some], image, bank, bank_image)
    return own


def _greatest_own(bank: FloatBank, lengths: Sequence[int], n: int) -> Tensor:
    """Squared distance of each row to its nearest row of another image, for a quantile of all of them.

    A row is compared with one part of the bank after the other, and only as long as it may be among the n greatest: the
    nearest row so far is an upper bound that soon is too small for most. With a high quantile in mind that takes a
    fraction of a whole search.

    Args:
        lengths: How many rows each normal image has, one image after the other; at least two images.
        n: 1 to the number of rows.
    Returns:
        (m,) float32. The n-th greatest and the one before are sums of squares; the others are those of a matrix
        product, and after the n greatest upper bounds that are no greater than these.
    """
    own, m = _OwnSearch(bank, lengths), len(bank.rows)
    everyone = rows = torch.arange(m, device=bank.rows.device)
    first, *others = (rows[(rows % _PARTS >= low) & (rows % _PARTS < high)] for low, high in _ROUNDS)
    own.compare(rows, first)
    candidates = own.squared(rows).topk(min(m, 2 * n)).indices.sort().values
    own.compare(candidates, torch.cat(others).sort().values)
    margin = _MARGIN * bank.squared.mean()
    for part in others:
        rows = rows[own.squared(rows) >= own.squared(candidates).topk(n).values[-1] - margin]
        own.compare(rows, part)
    found = own.squared(everyone)
    above, least = found[rows].topk(n).values[[-min(2, n), -1]]
    decisive = rows[(found[rows] >= least - margin) & (found[rows] <= above + margin)]
    found[decisive] = bank.distance(bank.as_vectors(bank.rows[decisive]), own.nearest(decisive))
    return found


class _OwnSearch:
    """The least squared distance so far of each row of a bank to the rows of other images."""

    def __init__(self, bank: FloatBank, lengths: Sequence[int]) -> None:
        self._centred, self._squares = bank.centred, bank.squared
        self._ends = torch.tensor(np.cumsum(lengths), device=bank.rows.device)
        self._least = torch.full_like(bank.squared, torch.inf)

    def squared(self, rows: Tensor) -> Tensor:
        """(n,) float32, of some rows."""
        return self._least[rows] + self._squares[rows]

    def compare(self, rows: Tensor, others: Tensor) -> None:
        """Compares some rows with some others; both in ascending order."""
        for part, table in self._tables(rows, others):
            self._least[part] = torch.minimum(self._least[part], table.amin(1))

    def nearest(self, rows: Tensor) -> Tensor:
        """(n,) int64: the nearest row of another image, of some rows in ascending order."""
        everyone = torch.arange(len(self._squares), device=rows.device)
        return torch.cat([table.argmin(1) for _, table in self._tables(rows, everyone)])

    def _tables(self, rows: Tensor, others: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Some of the rows at a time, with their squared distances to the others, less the rows' own squares.

        The others of a row's own image are infinitely far.
        """
        cuts, ends = (torch.searchsorted(some, self._ends).tolist() for some in (rows, others))
        squares, centred = self._squares[others], self._centred[others].T
        at_once = max(1, most_compared(rows) // max(1, len(others)))
        for cut, end, last_cut, start in zip(cuts, ends, [0, *cuts], [0, *ends], strict=False):
            for part in rows[last_cut:cut].split(at_once):
                table = torch.addmm(squares, self._centred[part], centred, alpha=-2.0)
                table[:, start:end] = torch.inf
                yield part, table


def _close_by(geometry: Geometry, bank_patch: Tensor) -> Tensor:
    """(n_patches, m) bool: whether a patch and a normal patch are less than `smooth + 1` grid steps apart.

    Along both axes. Where that would leave some patch without any (a small grid, a narrow letterbox), the greatest
    number of steps that leaves one to each.
    """
    grid = geometry.grid
    patch = torch.arange(grid.n_patches, device=bank_patch.device)
    rows = (patch // grid.cols)[:, None] - bank_patch // grid.cols
    cols = (patch % grid.cols)[:, None] - bank_patch % grid.cols
    steps = torch.maximum(rows.abs(), cols.abs())
    leaving_one = int(steps.amax(1).min())
    return steps < max(1, min(geometry.smooth + 1, leaving_one))


@dataclass(frozen=True, eq=False)
class MemoryBank:
    """Everything learned from the normal images.

    Attributes:
        layers: The layers that take part.
        text: The text part, or None where it is left out.
        grid: The finest grid of the layers, on which maps are fused.
        warnings: What was left out and why.
    """

    layers: tuple[LayerMemoryBank, ...]
    text: TextCalibration | None
    grid: PatchGrid
    warnings: tuple[FitWarning, ...] = ()


def finest(grids: Sequence[PatchGrid]) -> PatchGrid:
    """The grid with most patches; the first of several."""
    return max(grids, key=lambda grid: grid.n_patches)
