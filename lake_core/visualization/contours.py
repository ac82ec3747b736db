"""Smooth lines around regions of an image, drawn on finer pixels and averaged."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
    beside = np.zeros_like(padded)  # pixels with one of the other kind above, below, left or right of them
    for axis in (0, 1):
        differs = np.diff(padded, axis=axis)
        beside |= np.pad(differs, [(1, 0) if axis == other else (0, 0) for other in (0, 1)])
        beside |= np.pad(differs, [(0, 1) if axis == other else (0, 0) for other in (0, 1)])
    outer, inner = np.flatnonzero(beside & ~padded), np.flatnonzero(beside & padded)
    drawn = []
    for half in half_widths:
        # The border lies half a pixel from the middle of the pixels beside it, and the nearest pixel of the other
        # kind is always one of those: with the few of them this is much faster than distances over the whole image.
        reach = half * FINENESS + 0.5
        on_line = np.where(padded, _near(outer, reach, padded.shape), _near(inner, reach, padded.shape))
        drawn.append(_averaged(on_line[margin:-margin, margin:-margin], size))
    return drawn


def _near(pixels: NDArray[np.intp], reach: float, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(height, width) bool: which pixels have one of those, given as flat indices, within a reach."""
    found = np.zeros(shape[0] * shape[1], dtype=np.bool_)
    side = np.arange(-int(reach), int(reach) + 1)
    for down, right in np.argwhere(side[:, None] ** 2 + side**2 <= reach**2) - int(reach):
        found[pixels + (down * shape[1] + right)] = True
    return found.reshape(shape)


def _averaged(drawn: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.float32]:
    image = Image.fromarray(drawn.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32) / np.float32(255)
