"""Lines around regions of a picture, smooth to the eye: drawn on finer pixels and averaged."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

FINENESS = 3
"""Regions are given on so many subpixels along each axis."""


def outline(region: NDArray[np.bool_], half_width: float) -> NDArray[np.float32]:
    """How much of each pixel lies on the line around a region.

    Args:
        region: (height * FINENESS, width * FINENESS) bool.
        half_width: Of the line, in pixels.
    Returns:
        (height, width) float32 in [0, 1]; all 0 where the region is empty or everything, for then it has no border.
    """
    height, width = region.shape[0] // FINENESS, region.shape[1] // FINENESS
    if region.all() or not region.any():
        return np.zeros((height, width), dtype=np.float32)
    inside = np.asarray(ndimage.distance_transform_edt(region))
    outside = np.asarray(ndimage.distance_transform_edt(~region))
    from_border = np.where(region, inside, outside) - 0.5
    drawn = Image.fromarray((from_border <= half_width * FINENESS).astype(np.uint8) * 255)
    coverage = np.asarray(drawn.resize((width, height), Image.Resampling.BOX), dtype=np.float32)
    return coverage / np.float32(255)
