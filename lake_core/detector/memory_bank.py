"""What normal looks like: memory banks, nearest neighbours, and calibration on the normal images (sections 2, 3)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid
from lake_core.config import Normalise
from lake_core.detector.selection import Selection
from lake_core.findings import FitWarning
from lake_core.prompts import TextDirections

_ROUNDING = 1e-5
"""Relative differences up to here are float32 rounding: the same image in another batch differs by as much. They
count as none, or a calibration by them would blow them up to scores."""


class Neighbours(NamedTuple):
    """Nearest memory bank patch of each patch: squared distance (n,) float32 >= 0 and row of the memory bank (n,)
    int64."""

    distance: Tensor
    row: Tensor


def subspace(acts_ipn: Tensor, neurons: np.ndarray, grid: PatchGrid, smooth: int, normalise: Normalise) -> Tensor:
    """Patch vectors as distances see them: selected neurons, averaged over neighbouring patches, scaled.

    Args:
        acts_ipn: (n_images, n_patches, n_neurons) float32.
        neurons: (k,) int64, the selected neurons. Without any, vectors have length 0 and all distances are 0.
        grid: Of the patches.
        smooth: Side of the square of patches to average over; at the border over the patches that exist.
        normalise: "unit" scales each vector to length 1 (a zero vector stays zero), "none" leaves it.
    Returns:
        (n_images, n_patches, k) float32.
    """
    acts_ipk = acts_ipn[:, :, torch.from_numpy(neurons).to(acts_ipn.device)]
    return scaled(smoothed(acts_ipk, grid, smooth) if smooth > 1 else acts_ipk, normalise)


def smoothed(acts_ipk: Tensor, grid: PatchGrid, side: int) -> Tensor:
    """Means over squares of patches of that side, at the border over the patches that exist."""
    if not acts_ipk.shape[2]:
        return acts_ipk
    maps = acts_ipk.transpose(1, 2).unflatten(2, (grid.rows, grid.cols))
    maps = F.avg_pool2d(maps, side, stride=1, padding=side // 2, count_include_pad=False)
    return maps.flatten(2).transpose(1, 2)


def scaled(acts_ipk: Tensor, normalise: Normalise) -> Tensor:
    """Patch vectors scaled to length 1, or left as they are."""
    return F.normalize(acts_ipk, dim=2) if normalise == "unit" else acts_ipk.contiguous()


def nearest_normal(patches: Tensor, bank: Tensor, excluded: Tensor | None = None, chunk: int = 1024) -> Neighbours:
    """Squared Euclidean distance from each patch to its nearest memory bank patch.

    The neighbour is found with a matrix product; its distance is then computed anew as a sum of squared differences,
    so that it equals the sum of the contributions's entries.

    Args:
        patches: (n, k) float32.
        memory bank: (m, k) float32, m >= 1.
        excluded: (n, m) bool, memory bank patches that must not be taken; at least one must remain for each patch.
        chunk: Rows compared at once; bounds the temporary to chunk * m floats.
    Raises:
        ValueError: if k differs or the memory bank is empty.
    """
    if len(bank) == 0 or patches.shape[1] != bank.shape[1]:
        raise ValueError(f"patches {tuple(patches.shape)} cannot be compared with memory bank {tuple(bank.shape)}")
    # Distances do not depend on the origin, but their rounding does: neurons with a large constant part (residual
    # streams have some) would drown the differences in |g|^2 - 2 p.g.
    origin = bank.mean(0)
    centred = bank - origin
    centred_squared = centred.square().sum(1)
    row = torch.empty(len(patches), dtype=torch.int64, device=patches.device)
    for start in range(0, len(patches), chunk):
        rows = slice(start, start + chunk)
        without_own_square = torch.addmm(centred_squared, patches[rows] - origin, centred.T, alpha=-2.0)
        if excluded is not None:
            without_own_square.masked_fill_(excluded[rows], torch.inf)
        row[rows] = without_own_square.argmin(1)
    return Neighbours((patches - bank[row]).square().sum(1), row)


@dataclass(frozen=True, eq=False)
class LayerMemoryBank:
    """What was learned of one layer from the normal images.

    Attributes:
        selection: Its selected neurons.
        grid: Its patches.
        memory bank: (m, k) float32, normal patches as distances see them.
        bank_image: (m,) int64, which normal image each came from.
        bank_patch: (m,) int64, which patch of it.
        tau: Calibration: the normal patches' own high quantile of distance; 0 where nothing but rounding differs,
            which the caller must check.
        own_distance: (n_normals, n_patches) float32, each normal image against the others (leave one out).
    """

    selection: Selection
    grid: PatchGrid
    bank: Tensor = field(repr=False)
    bank_image: Tensor = field(repr=False)
    bank_patch: Tensor = field(repr=False)
    tau: float
    own_distance: Tensor = field(repr=False)


def fit_layer(
    acts_ipn: Tensor,
    inside_ip: Tensor,
    selection: Selection,
    grid: PatchGrid,
    normalise: Normalise,
    smooth: int,
    calibration_quantile: float,
) -> LayerMemoryBank:
    """Learns one layer's memory bank and calibration.

    Each normal image is measured against the memory bank without itself; a single one against its own patches at least
    2 grid steps away (in rows or in columns).

    Args:
        acts_ipn: (n_images, n_patches, n_neurons) float32 of the normal images, on the device that computes. What
            is learned lies on the CPU.
        inside_ip: (n_images, n_patches) bool on that device, patches that lie on the image; the others are no
            normal patches.
        selection: The neurons to keep.
        grid: Of the patches.
        normalise: Scaling of the patch vectors.
        smooth: Side of the square of patches to average over.
        calibration_quantile: Quantile of the distances that becomes tau.
    """
    patches_ipk = subspace(acts_ipn, selection.neurons, grid, smooth, normalise)
    n_images = len(patches_ipk)
    bank = patches_ipk[inside_ip]
    bank_image, bank_patch = inside_ip.nonzero(as_tuple=True)
    own = torch.zeros(inside_ip.shape, device=acts_ipn.device)
    for image in range(n_images):
        if n_images > 1:
            others = bank[bank_image != image]
            own[image] = nearest_normal(patches_ipk[image], others).distance
        else:
            own[image] = nearest_normal(patches_ipk[0], bank, _close_by(grid, bank_patch)).distance
    tau = float(np.quantile(own[inside_ip].cpu().numpy(), calibration_quantile))
    if tau <= _ROUNDING**2 * float(bank.square().sum(1).mean()):
        tau = 0.0
    return LayerMemoryBank(selection, grid, bank.cpu(), bank_image.cpu(), bank_patch.cpu(), tau, own.cpu())


def _close_by(grid: PatchGrid, bank_patch: Tensor) -> Tensor:
    """(n_patches, m) bool: whether a patch and a memory bank patch are less than 2 grid steps apart along both axes.

    Where that would leave some patch without any (a small grid, a narrow letterbox), only a patch itself is close.
    """
    patch = torch.arange(grid.n_patches, device=bank_patch.device)
    rows = (patch // grid.cols)[:, None] - bank_patch // grid.cols
    cols = (patch % grid.cols)[:, None] - bank_patch % grid.cols
    steps = torch.maximum(rows.abs(), cols.abs())
    close = steps < 2
    return steps < 1 if bool(close.all(1).any()) else close


@dataclass(frozen=True, eq=False)
class TextCalibration:
    """What was learned of the text witness from the normal images.

    Attributes:
        directions: The two text directions.
        grid: Grid of the patch directions.
        m50, m99: Median and calibration quantile of the margin over normal patches; m99 > m50.
        own_margin: (n_normals, n_patches) float32.
    """

    directions: TextDirections
    grid: PatchGrid
    m50: float
    m99: float
    own_margin: Tensor = field(repr=False)

    def calibrated(self, margin: Tensor) -> Tensor:
        """Margins on the scale of the text map: 0 at or below the median of normal patches, 1 at m99."""
        return ((margin - self.m50) / (self.m99 - self.m50)).clamp(min=0)


def margins(joint_ipe: Tensor, directions: TextDirections) -> Tensor:
    """cos(patch, anomalous) - cos(patch, normal).

    Args:
        joint_ipe: (..., joint) float32, vectors of length 1.
    Returns:
        (...) float32 in [-2, 2].
    """
    return joint_ipe @ (directions.anomalous - directions.normal)


def margin_range(margins: np.ndarray, calibration_quantile: float) -> tuple[np.ndarray, np.ndarray]:
    """Median and calibration quantile of margins (..., n), each (...); they are equal where only rounding differs."""
    m50, m99 = np.quantile(margins, [0.5, calibration_quantile], axis=-1)
    return m50, np.where(m99 - m50 <= _ROUNDING, m50, m99)


def fit_text(
    joint_ipe: Tensor, inside_ip: Tensor, directions: TextDirections, grid: PatchGrid, calibration_quantile: float
) -> TextCalibration:
    """Calibrates the text map on the normal images; m99 may equal m50, which the caller must check."""
    own = margins(joint_ipe, directions)
    m50, m99 = margin_range(own[inside_ip].numpy(), calibration_quantile)
    return TextCalibration(directions, grid, float(m50), float(m99), own)


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
