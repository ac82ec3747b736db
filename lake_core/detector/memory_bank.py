"""What was learned from the normal images: each layer's memory bank and its calibration (docs/method.md, section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid
from lake_core.detector.search import FloatBank, Geometry, subspace
from lake_core.detector.selection import Selection
from lake_core.detector.text import TextCalibration
from lake_core.findings import FitWarning

_ROUNDING = 1e-5
"""Relative differences up to here are float32 rounding: the same image in another batch differs by as much. They count
as none, or a calibration by them would blow them up to scores."""


@dataclass(frozen=True, eq=False)
class LayerMemoryBank:
    """What was learned of one layer from the normal images.

    Attributes:
        selection: Its selected neurons.
        geometry: How its patch vectors are made.
        bank: (m, k) float32, normal patches as distances see them.
        bank_image: (m,) int64, which normal image each came from.
        bank_patch: (m,) int64, which patch of it.
        tau: Calibration: a high quantile of the normal patches' own distances; 0 where nothing but rounding differs,
            which the caller must check.
        own_distance: (n_normals, n_patches) float32, each normal image against the others (leave one out).
    """

    selection: Selection
    geometry: Geometry
    bank: Tensor = field(repr=False)
    bank_image: Tensor = field(repr=False)
    bank_patch: Tensor = field(repr=False)
    tau: float
    own_distance: Tensor = field(repr=False)

    @property
    def grid(self) -> PatchGrid:
        """Of the layer's patches."""
        return self.geometry.grid

    @cached_property
    def search(self) -> FloatBank:
        """The bank ready to be searched, made once for all images."""
        return FloatBank(self.bank, self.geometry)


def fit_layer(
    acts_ipn: Tensor, inside_ip: Tensor, selection: Selection, geometry: Geometry, calibration_quantile: float
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
        geometry: How patch vectors are made of their activations.
        calibration_quantile: Quantile of the distances that becomes tau.
    """
    patches_ipk = subspace(acts_ipn, selection.neurons, geometry)
    rows = patches_ipk[inside_ip]
    bank_image, bank_patch = inside_ip.nonzero(as_tuple=True)
    own = _own_distances(FloatBank(rows, geometry), patches_ipk, inside_ip.sum(1).tolist(), bank_patch)
    tau = float(np.quantile(own[inside_ip].cpu().numpy(), calibration_quantile))
    if tau <= _ROUNDING**2 * float(rows.square().sum(1).mean()):
        tau = 0.0
    return LayerMemoryBank(selection, geometry, rows.cpu(), bank_image.cpu(), bank_patch.cpu(), tau, own.cpu())


def _own_distances(bank: FloatBank, patches_ipk: Tensor, lengths: Sequence[int], bank_patch: Tensor) -> Tensor:
    """(n_images, n_patches) float32: squared distance of each normal image's patches to the bank without the image."""
    n_images = len(patches_ipk)
    if n_images == 1:
        close = _close_by(bank.geometry.grid, bank_patch)
        return bank.nearest(bank.as_vectors(patches_ipk[0]), close).distance[None]
    everyone = torch.arange(n_images, device=patches_ipk.device)
    return torch.stack(
        [
            bank.nearest_among(bank.as_vectors(patches), lengths, [everyone[everyone != image]])[0]
            for image, patches in enumerate(patches_ipk)
        ]
    )


def _close_by(grid: PatchGrid, bank_patch: Tensor) -> Tensor:
    """(n_patches, m) bool: whether a patch and a normal patch are less than 2 grid steps apart along both axes.

    Where that would leave some patch without any (a small grid, a narrow letterbox), only a patch itself is close.
    """
    patch = torch.arange(grid.n_patches, device=bank_patch.device)
    rows = (patch // grid.cols)[:, None] - bank_patch // grid.cols
    cols = (patch % grid.cols)[:, None] - bank_patch % grid.cols
    steps = torch.maximum(rows.abs(), cols.abs())
    close = steps < 2
    return steps < 1 if bool(close.all(1).any()) else close


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
