"""Smooth lines around regions of an image, drawn on finer pixels and averaged."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

FINENESS = 3
"""Regions are given on so many subpixels along each axis."""


def outlines(region: NDArray[np.bool_], half_widths: Sequence[float]) -> list[NDArray[np.float32]]:
    """How much of each pixel lies on lines of several widths around a region.

    A region that touches the image's border is closed along it, so that one that is everything has a line too.

    Args:
        region: (height * FINENESS, width * FINENESS) bool.
        half_widths: Of the lines, in pixels.
    Returns:
        One (height, width) float32 in [0, 1] for each width; all 0 where the region is empty.
    """
    size = region.shape[1] // FINENESS, region.shape[0] // FINENESS
    if not region.any():
        return [np.zeros(size[::-1], dtype=np.float32) for _ in half_widths]
    margin = int(np.ceil(max(half_widths) * FINENESS)) + 1
    padded = np.pad(region, margin)
    rows, cols = (np.flatnonzero(padded.any(axis=axis)) for axis in (1, 0))
    part = slice(rows[0] - margin, rows[-1] + margin + 1), slice(cols[0] - margin, cols[-1] + margin + 1)
    from_border = np.full(padded.shape, np.inf, dtype=np.float32)
    inside = np.asarray(ndimage.distance_transform_edt(padded[part]))
    outside = np.asarray(ndimage.distance_transform_edt(~padded[part]))
    from_border[part] = np.where(padded[part], inside, outside) - 0.5
    from_border = from_border[margin:-margin, margin:-margin]
    return [_averaged(from_border <= half * FINENESS, size) for half in half_widths]


def _averaged(drawn: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.float32]:
    image = Image.fromarray(drawn.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32) / np.float32(255)
