"""Maps drawn over images, for the command line and the dashboard alike: values in, PIL images out.

All images of one analysis share one `ScoreScale`, so that a clean part looks clean: a low value leaves the image as
it is, the colour of a value is the same on every image, and a line surrounds what is above the threshold.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lake_core.backbones.patch_grid import PatchGrid, Placement
from lake_core.data.images import InputImage
from lake_core.visualization.colours import ByteArray, ScoreScale, ValueScale, score_colours, value_colours
from lake_core.visualization.contours import FINENESS, outlines
from lake_core.visualization.interpolation import map_to_image, positions

FloatArray: TypeAlias = NDArray[np.float32]

_FADE_FROM, _FADE_TO = 0.5, 1.25  # in thresholds: colour begins to cover the image, and covers it fully
_BESIDE = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=np.bool_)


@dataclass(frozen=True)
class Style:
    """How a map is drawn over its image.

    Attributes:
        opacity: Of the colour where a value is high, in [0, 1].
        smooth: Interpolate between patches; otherwise each patch has one colour.
        max_side: Longest side of the result in pixels; smaller images are not enlarged.
        contour: Surround what is above the threshold of a score map with a white line, cased in black. Every patch
            above it is within a line, and where none is, there is no line.
    """

    opacity: float = 0.6
    smooth: bool = True
    max_side: int = 512
    contour: bool = True


def overlay(
    image: InputImage,
    values: np.ndarray,
    grid: PatchGrid,
    placement: Placement,
    scale: ScoreScale,
    style: Style = Style(),
) -> Image.Image:
    """Scores over an image.

    Values below half of the threshold leave the image as it is; above, the image turns grey and the colour covers
    it more and more, to the full opacity a little above the threshold.

    Args:
        image: The image.
        values: (rows, cols) or (n_patches,) scores, NaN where there is none: there the image stays as it is.
        grid: Their patches.
        placement: Where the image lies in the model's input.
        scale: The scale shared by all images.
        style: How it is drawn.
    Returns:
        RGB.
    """
    base = thumbnail(image, style.max_side)
    spread = _spread(values, grid, placement, base.size, style.smooth)
    fades_at = scale.threshold if scale.fades_at is None else scale.fades_at
    reference = fades_at if fades_at > 0 else scale.vmax / 2
    cover = _smoothstep(spread / reference, _FADE_FROM, _FADE_TO)
    drawn = _blend(base, score_colours(spread / scale.vmax), cover, style.opacity)
    if style.contour:
        region = _region_above(values, grid, placement, base.size, style.smooth, scale.threshold)
        line, casing = outlines(region, (1.0, 2.0))
        drawn = _paint(_paint(drawn, casing * 0.75, (0, 0, 0)), line, (255, 255, 255))
    return drawn


def neuron_overlay(
    image: InputImage,
    values: np.ndarray,
    grid: PatchGrid,
    placement: Placement,
    scale: ValueScale,
    style: Style = Style(opacity=0.7),
) -> Image.Image:
    """Values other than scores over an image, such as a neuron's activations; values near zero leave it as it is.

    Args:
        image, grid, placement, style: As for `overlay`; there is no contour.
        values: (rows, cols) or (n_patches,), NaN where there is none.
        scale: Shared by all images: `activation_scale` finds one.
    Returns:
        RGB.
    """
    base = thumbnail(image, style.max_side)
    spread = _spread(values, grid, placement, base.size, style.smooth)
    cover = _smoothstep(np.abs(spread) / scale.limit, 0.05, 0.7)
    return _blend(base, value_colours(spread, scale), cover, style.opacity)


def thumbnail(image: InputImage, max_side: int = 512) -> Image.Image:
    """The image with its longest side at most max_side, RGB; never enlarged."""
    small = Image.fromarray(image.rgb)
    small.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return small


def _spread(
    values: np.ndarray, grid: PatchGrid, placement: Placement, size: tuple[int, int], smooth: bool
) -> FloatArray:
    """The values at each pixel, (height, width) float32, NaN where there is none.

    A patch on the image that has no value stays empty; interpolation fills only the rim of patches whose centre is off
    the image.
    """
    flat = np.asarray(values, dtype=np.float32).reshape(-1)
    spread = map_to_image(flat, grid, placement, size, smooth)
    empty = grid.inside(placement) & ~np.isfinite(flat)
    if smooth and empty.any():
        spread[map_to_image(empty.astype(np.float32), grid, placement, size, False) > 0] = np.nan
    return spread


def _smoothstep(x: np.ndarray, start: float, end: float) -> FloatArray:
    """From 0 at start to 1 at end, 0 for NaN."""
    t: np.ndarray = np.clip((np.nan_to_num(x, nan=start) - start) / (end - start), 0, 1)
    eased: np.ndarray = t * t * (3 - 2 * t)
    return eased.astype(np.float32)


def _blend(base: Image.Image, colours: ByteArray, cover: FloatArray, opacity: float) -> Image.Image:
    """Colours over the image; the image turns grey as far as it is covered, so that its hues and ours don't mix."""
    under = Image.composite(base.convert("L").convert("RGB"), base, _mask(cover))
    return Image.composite(Image.fromarray(colours), under, _mask(cover * opacity))


def _mask(shares: FloatArray) -> Image.Image:
    """Shares in [0, 1] as a mask of 256 steps."""
    return Image.fromarray(np.rint(shares * 255).astype(np.uint8))


def _region_above(
    values: np.ndarray, grid: PatchGrid, placement: Placement, size: tuple[int, int], smooth: bool, threshold: float
) -> NDArray[np.bool_]:
    """Where values are above the threshold, on FINENESS subpixels along each axis of an image of that size."""
    flat = np.asarray(values, dtype=np.float32).reshape(-1)
    fine = size[0] * FINENESS, size[1] * FINENESS
    peaks = grid.inside(placement) & (np.nan_to_num(flat, nan=-np.inf) > threshold)
    if not peaks.any():
        return np.zeros((fine[1], fine[0]), dtype=np.bool_)
    above = _spread(flat, grid, placement, fine, smooth) > threshold
    if smooth:  # interpolation makes the region around a single patch vanish: give it a disc that can be seen
        from scipy import ndimage  # takes long to import, and the first page draws no contour

        from_centre = _squared_from_centre(grid, placement, fine)
        rows_cols = peaks.reshape(grid.rows, grid.cols)
        has_neighbour = ndimage.binary_dilation(rows_cols, _BESIDE) & rows_cols
        for patches, radius in ((rows_cols & ~has_neighbour, 0.3), (has_neighbour, 0.12)):
            if not patches.any():
                continue
            in_patch = map_to_image(patches.astype(np.float32).reshape(-1), grid, placement, fine, False) > 0
            above |= in_patch & (from_centre < radius**2)
    return above


def _squared_from_centre(grid: PatchGrid, placement: Placement, size: tuple[int, int]) -> FloatArray:
    """(height, width) float32: squared distance of each pixel from the centre of its patch, in patches."""
    y, x = positions(grid, placement, size)
    down, right = (((along % 1 - 0.5) ** 2).astype(np.float32) for along in (y, x))
    return np.asarray(down[:, None] + right[None, :])


def _paint(image: Image.Image, coverage: FloatArray, colour: tuple[int, int, int]) -> Image.Image:
    return Image.composite(Image.new("RGB", image.size, colour), image, _mask(coverage))
