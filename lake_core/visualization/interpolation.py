"""Patch values at an image's pixels, for display and for comparison with masks."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid, Placement


def map_to_image(
    values: np.ndarray, grid: PatchGrid, placement: Placement, size: tuple[int, int], smooth: bool
) -> np.ndarray:
    """A map over the image's pixels.

    Args:
        values: (..., n_patches).
        size: (width, height) of the image.
        smooth: Interpolate between the centres of the patches that lie on the image; otherwise each pixel has the
            value of its patch.
    Returns:
        (..., height, width) float32, NaN where the grid does not cover the image.
    """
    numbers = np.array(values, dtype=np.float32)
    if smooth:
        return interpolated(torch.from_numpy(numbers), grid, placement, size).numpy()
    y, x = positions(grid, placement, size)
    rows, cols = np.minimum(y.astype(np.int64), grid.rows - 1), np.minimum(x.astype(np.int64), grid.cols - 1)
    spread = numbers.reshape(*numbers.shape[:-1], grid.rows, grid.cols)[..., rows[:, None], cols[None, :]]
    spread[..., y >= grid.rows, :] = np.nan
    spread[..., x >= grid.cols] = np.nan
    return spread


def interpolated(values: Tensor, grid: PatchGrid, placement: Placement, size: tuple[int, int]) -> Tensor:
    """`map_to_image` with `smooth`, on the device of the values: float32 (..., n_patches) to (..., height, width)."""
    weights = _weights(grid, placement, size, values.device)
    values_rc = values.reshape(*values.shape[:-1], grid.rows, grid.cols)
    known_rc = values_rc.isfinite() & weights.inside_rc
    spread: Tensor = weights.rows @ values_rc.where(known_rc, 0) @ weights.cols
    if not bool(known_rc.all()):
        weight = weights.rows @ known_rc.to(values.dtype) @ weights.cols
        spread = (spread / weight).where(weight > 1e-6, torch.nan)
    if weights.beyond is not None:
        spread[..., weights.beyond] = torch.nan
    return spread


class _Weights(NamedTuple):
    """Linear interpolation between patches.

    Attributes:
        rows: (height, grid rows) float32 weights of each row of pixels.
        cols: (grid cols, width) float32, of each column.
        inside_rc: (grid rows, grid cols) bool, patches on the image.
        beyond: (height, width) bool, pixels that the grid does not cover; None where it covers all.
    """

    rows: Tensor
    cols: Tensor
    inside_rc: Tensor
    beyond: Tensor | None


@lru_cache(maxsize=16)  # most images of a data set have one size
def _weights(grid: PatchGrid, placement: Placement, size: tuple[int, int], device: torch.device) -> _Weights:
    y, x = positions(grid, placement, size)
    beyond = (y >= grid.rows)[:, None] | (x >= grid.cols)
    return _Weights(
        torch.from_numpy(_linear(y - 0.5, grid.rows)).to(device),
        torch.from_numpy(_linear(x - 0.5, grid.cols)).to(device).T,
        torch.from_numpy(grid.inside(placement).reshape(grid.rows, grid.cols)).to(device),
        torch.from_numpy(beyond).to(device) if beyond.any() else None,
    )


def _linear(position: np.ndarray, n_cells: int) -> np.ndarray:
    """(n_positions, n_cells) float32 weights of linear interpolation between cells, clamped at the ends."""
    distance: np.ndarray = np.abs(np.clip(position, 0, n_cells - 1)[:, None] - np.arange(n_cells))
    return (1 - distance).clip(min=0).astype(np.float32)


def positions(grid: PatchGrid, placement: Placement, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where the middles of the image's rows (height,) and columns (width,) of pixels lie, counted in patches."""
    width, height = size
    y = (placement.top + (np.arange(height) + 0.5) * placement.height / height) * grid.rows / grid.covered_height
    x = (placement.left + (np.arange(width) + 0.5) * placement.width / width) * grid.cols / grid.covered_width
    return y, x
