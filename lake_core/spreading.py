"""Patch values spread over a picture's pixels, for display and for comparison with masks."""

import numpy as np
import torch
from torch import Tensor

from lake_core.geometry import PatchGrid, Placement


def map_to_picture(
    values: np.ndarray, grid: PatchGrid, placement: Placement, size: tuple[int, int], smooth: bool
) -> np.ndarray:
    """A map over the picture's pixels.

    Args:
        values: (..., n_patches).
        size: (width, height) of the picture.
        smooth: Interpolate between the centres of the patches that lie on the picture; otherwise each pixel has the
            value of its patch.
    Returns:
        (..., height, width) float32, NaN where the grid does not cover the picture.
    """
    numbers = np.array(values, dtype=np.float32)
    if smooth:
        return interpolated(torch.from_numpy(numbers), grid, placement, size).numpy()
    y, x = _positions(grid, placement, size)
    rows, cols = np.minimum(y.astype(np.int64), grid.rows - 1), np.minimum(x.astype(np.int64), grid.cols - 1)
    spread = numbers.reshape(*numbers.shape[:-1], grid.rows, grid.cols)[..., rows[:, None], cols[None, :]]
    spread[..., y >= grid.rows, :] = np.nan
    spread[..., x >= grid.cols] = np.nan
    return spread


def interpolated(values: Tensor, grid: PatchGrid, placement: Placement, size: tuple[int, int]) -> Tensor:
    """`map_to_picture` with `smooth`, on the device of the values: float32 (..., n_patches) to (..., height, width)."""
    y, x = _positions(grid, placement, size)
    row_weights = _linear_weights(y - 0.5, grid.rows, values)
    col_weights = _linear_weights(x - 0.5, grid.cols, values).T
    values_rc = values.unflatten(-1, (grid.rows, grid.cols))
    inside_rc = torch.from_numpy(grid.inside(placement)).to(values.device).view(grid.rows, grid.cols)
    known_rc = values_rc.isfinite() & inside_rc
    spread = row_weights @ values_rc.where(known_rc, 0) @ col_weights
    if not bool(known_rc.all()):
        weight = row_weights @ known_rc.to(values.dtype) @ col_weights
        spread = (spread / weight).where(weight > 1e-6, torch.nan)
    if y[-1] >= grid.rows:
        spread[..., torch.from_numpy(y >= grid.rows).to(values.device), :] = torch.nan
    if x[-1] >= grid.cols:
        spread[..., torch.from_numpy(x >= grid.cols).to(values.device)] = torch.nan
    return spread


def _positions(grid: PatchGrid, placement: Placement, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where the middles of the picture's rows (height,) and columns (width,) of pixels lie, counted in patches."""
    width, height = size
    y = (placement.top + (np.arange(height) + 0.5) * placement.height / height) * grid.rows / grid.covered_height
    x = (placement.left + (np.arange(width) + 0.5) * placement.width / width) * grid.cols / grid.covered_width
    return y, x


def _linear_weights(position: np.ndarray, n_cells: int, like: Tensor) -> Tensor:
    """(n_positions, n_cells) weights of linear interpolation between cells, clamped at the ends; type and device of
    another tensor."""
    distance = np.abs(np.clip(position, 0, n_cells - 1)[:, None] - np.arange(n_cells))
    return torch.from_numpy(np.clip(1 - distance, 0, None)).to(like)
