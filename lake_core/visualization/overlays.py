"""Maps drawn on images, shared by the command line and the dashboard: values in, PIL images out.

All images of one analysis share one `ScoreScale`, so that a clean part looks clean: a low value leaves the image as
it is, the colour of a value is the same on every image, and a line surrounds what is above the threshold.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from lake_core.backbones.patch_grid import PatchGrid, Placement
from lake_core.data.images import InputImage
from lake_core.visualization.contours import FINENESS, outlines
from lake_core.visualization.interpolation import map_to_image

FloatArray: TypeAlias = NDArray[np.float32]
ByteArray: TypeAlias = NDArray[np.uint8]
Box: TypeAlias = tuple[float, float, float, float]
"""(left, top, right, bottom)."""

SCORE_COLOURS = "inferno"
"""Sequential, perceptually uniform, and read alike with every kind of colour vision."""
SIGNED_COLOURS = "RdBu_r"
"""Diverging: blue below zero, red above."""

MAX_THRESHOLDS = 5.0

_NICE = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_LOW, _HIGH = 0.15, 0.97  # of the colour map: neither black nor white, which could be the image's own
_FADE_FROM, _FADE_TO = 0.5, 1.25  # in thresholds: colour begins to cover the image, and covers it fully
_BESIDE = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=np.bool_)


@dataclass(frozen=True)
class ScoreScale:
    """The colours of scores, shared by all images: from 0 to vmax, with the decision threshold marked.

    Attributes:
        vmax: Value of the last colour.
        threshold: The decision threshold.
        is_open: Whether some values are greater than vmax; they take the last colour.
        fades_at: Value around which the colour begins to cover the image; None means the threshold. Maps of several
            detectors, each with its own threshold, share one.
    """

    vmax: float
    threshold: float
    is_open: bool = False
    fades_at: float | None = None


def score_scale(maps: Iterable[Any], threshold: float) -> ScoreScale:
    """One scale for all images, from 0 to a round number that covers every map and twice the threshold.

    Where a map reaches beyond MAX_THRESHOLDS thresholds the scale ends there, so that one glaring defect does not
    make all the others look alike.

    Args:
        maps: Maps or scores: arrays or numbers, NaN where there is no value.
        threshold: The decision threshold.
    """
    greatest = max([0.0, *(float(values.max()) for values in map(_finite, maps) if values.size)])
    covered = min(greatest, MAX_THRESHOLDS * threshold) if threshold > 0 else greatest
    vmax = nice_ceiling(max(2 * threshold, covered))
    return ScoreScale(vmax, threshold, greatest > vmax)


def nice_ceiling(value: float) -> float:
    """The least round number (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8 by powers of ten) not below a value; else 1."""
    if not np.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return next(float(f"{nice * power:.6g}") for nice in _NICE if value <= nice * power * (1 + 1e-6))


def overlay(
    image: InputImage,
    values: np.ndarray,
    grid: PatchGrid,
    placement: Placement,
    scale: ScoreScale,
    opacity: float = 0.6,
    smooth: bool = True,
    max_side: int = 512,
    contour: bool = True,
) -> Image.Image:
    """Scores over a image.

    Values below half of the threshold leave the image as it is; above, the image turns grey and the colour covers
    it more and more, to the full opacity a little above the threshold.

    Args:
        image: The image.
        values: (rows, cols) or (n_patches,) scores, NaN where there is none: there the image stays as it is.
        grid: Their patches.
        placement: Where the image lies in the model's input.
        scale: The scale shared by all images.
        opacity: Of the colour where a value is high, in [0, 1].
        smooth: Interpolate between patches; otherwise each patch has one colour.
        max_side: Longest side of the result; smaller images are not enlarged.
        contour: Surround what is above the threshold with a white line, cased in black. Every patch above it is
            within a line, and where none is, there is no line.
    Returns:
        RGB.
    """
    base = thumbnail(image, max_side)
    spread = _spread(values, grid, placement, base.size, smooth)
    fades_at = scale.threshold if scale.fades_at is None else scale.fades_at
    reference = fades_at if fades_at > 0 else scale.vmax / 2
    cover = _smoothstep(spread / reference, _FADE_FROM, _FADE_TO)
    drawn = _blend(base, _score_colours(spread / scale.vmax), cover, opacity)
    if contour:
        region = _region_above(values, grid, placement, base.size, smooth, scale.threshold)
        line, casing = outlines(region, (1.0, 2.0))
        drawn = _paint(_paint(drawn, casing * 0.75, (0, 0, 0)), line, (255, 255, 255))
    return drawn


def neuron_overlay(
    image: InputImage,
    values: np.ndarray,
    grid: PatchGrid,
    placement: Placement,
    limit: float,
    opacity: float = 0.7,
    smooth: bool = True,
    max_side: int = 512,
) -> Image.Image:
    """Signed values over a image, such as a neuron's activations less its normal mean: blue below zero, red above.

    Args:
        image, grid, placement, opacity, smooth, max_side: As for `overlay`.
        values: (rows, cols) or (n_patches,), NaN where there is none.
        limit: The value of the full colour, > 0, shared by all images: `symmetric_limit` finds one.
    Returns:
        RGB.
    """
    if not limit > 0:
        raise ValueError(f"limit is {limit}; it must be greater than 0")
    base = thumbnail(image, max_side)
    signed = _spread(values, grid, placement, base.size, smooth) / limit
    return _blend(base, _signed_colours(signed), _smoothstep(np.abs(signed), 0.05, 0.7), opacity)


def symmetric_limit(maps: Iterable[Any], quantile: float = 1.0) -> float:
    """A round limit that covers the given quantile of all absolute values of all maps; 1 where all are 0."""
    absolute = [np.abs(_finite(values)) for values in maps]
    everything = np.concatenate([np.zeros(1), *absolute])
    return nice_ceiling(float(np.quantile(everything, quantile)))


def thumbnail(image: InputImage, max_side: int = 512) -> Image.Image:
    """The image with its longest side at most max_side, RGB; never enlarged."""
    small = Image.fromarray(image.rgb)
    small.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return small


def colour_bar(
    scale: ScoreScale, width: int = 360, height: int = 56, dark: bool = False, mark: str = "threshold"
) -> Image.Image:
    """The legend of `overlay`: 0, the threshold (a white line cased in black, as in the images), and vmax.

    Args:
        scale: The scale.
        width, height: Of the legend in pixels.
        dark: Light writing for a dark page.
        mark: What the threshold is called.
    Returns:
        RGBA on a transparent ground.
    """
    share = scale.threshold / scale.vmax
    middle = [(share, f"{mark} {_number(scale.threshold)}")] if 0 < share <= 1 else []
    ticks = [(0.0, "0"), *middle, (1.0, f"{_number(scale.vmax)}{'+' if scale.is_open else ''}")]
    colours = _score_colours(np.linspace(0, 1, width, dtype=np.float32)[None])
    return _bar(colours, ticks, [at for at, _ in middle], height, dark)


def signed_colour_bar(limit: float, width: int = 360, height: int = 56, dark: bool = False) -> Image.Image:
    """The legend of `neuron_overlay`, from -limit to limit; RGBA."""
    colours = _signed_colours(np.linspace(-1, 1, width, dtype=np.float32)[None])
    return _bar(colours, [(0.0, f"-{_number(limit)}"), (0.5, "0"), (1.0, f"+{_number(limit)}")], [], height, dark)


def mark_box(image: Image.Image, box: Box, line_width: int = 2) -> Image.Image:
    """A copy of an image with a box drawn around: a white line with a dark casing on both of its sides.

    Args:
        image: Any.
        box: In the image's pixels; the line lies around it, so that what is in the box stays visible, and moves
            inwards only at the image's border.
        line_width: Of the white line in pixels.
    """
    image = image.convert("RGB")
    draw = ImageDraw.Draw(image)
    casing = max(1, line_width // 2)
    outside = line_width + 2 * casing
    left, top = (max(0, round(edge) - outside) for edge in box[:2])
    right = min(image.width, round(box[2]) + outside) - 1
    bottom = min(image.height, round(box[3]) + outside) - 1
    right, bottom = max(right, left + 2 * outside), max(bottom, top + 2 * outside)
    draw.rectangle((left, top, right, bottom), outline="black", width=outside)
    inner = (left + casing, top + casing, right - casing, bottom - casing)
    draw.rectangle(inner, outline="white", width=line_width)
    return image


def crop_with_box(image: InputImage, box: Box, context: float = 3.0, side: int = 160) -> Image.Image:
    """A square crop around a patch, with the patch's box marked.

    Args:
        image: The image.
        box: The patch, in image pixels, as from `PatchGrid.box`.
        context: Side of the crop in sides of the patch, >= 1. The crop moves inwards at the image's border; a
            image smaller than the crop is laid in its middle, on grey.
        side: Of the result, in pixels.
    Returns:
        RGB, (side, side).
    """
    left, top, right, bottom = box
    reach = max(right - left, bottom - top) * max(context, 1.0)
    x, width = _window((left + right) / 2, reach, image.width)
    y, height = _window((top + bottom) / 2, reach, image.height)
    zoom = side / reach
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    part = Image.fromarray(image.rgb).resize(size, Image.Resampling.BICUBIC, box=(x, y, x + width, y + height))
    crop = Image.new("RGB", (side, side), (128, 128, 128))
    at = (side - size[0]) // 2, (side - size[1]) // 2
    crop.paste(part, at)
    shifted = (
        at[0] + (left - x) * zoom,
        at[1] + (top - y) * zoom,
        at[0] + (right - x) * zoom,
        at[1] + (bottom - y) * zoom,
    )
    return mark_box(crop, shifted)


def _window(centre: float, reach: float, size: int) -> tuple[float, float]:
    """Start and length of a window of that reach, moved and cut to lie within [0, size]."""
    length = min(reach, float(size))
    return min(max(centre - length / 2, 0.0), size - length), length


def _finite(values: Any) -> np.ndarray:
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    return flat[np.isfinite(flat)]


def _spread(
    values: np.ndarray, grid: PatchGrid, placement: Placement, size: tuple[int, int], smooth: bool
) -> FloatArray:
    """(height, width) float32, NaN where the image has no value. A patch on the image that has no value stays
    empty; interpolation fills only the rim of patches whose centre is off the image."""
    flat = np.asarray(values, dtype=np.float32).reshape(-1)
    spread = map_to_image(flat, grid, placement, size, smooth)
    empty = grid.inside(placement) & ~np.isfinite(flat)
    if smooth and empty.any():
        spread[map_to_image(empty.astype(np.float32), grid, placement, size, False) > 0] = np.nan
    return spread


def _smoothstep(x: np.ndarray, start: float, end: float) -> FloatArray:
    """From 0 at start to 1 at end, 0 for NaN."""
    t = np.clip((np.nan_to_num(x, nan=start) - start) / (end - start), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _score_colours(shares: np.ndarray) -> ByteArray:
    """(..., 3) uint8 for shares of vmax."""
    return _colours(SCORE_COLOURS, _LOW + (_HIGH - _LOW) * np.clip(np.nan_to_num(shares), 0, 1))


def _signed_colours(shares: np.ndarray) -> ByteArray:
    """(..., 3) uint8 for shares of the limit, -1 to 1."""
    return _colours(SIGNED_COLOURS, 0.5 + 0.46 * np.clip(np.nan_to_num(shares), -1, 1))


def _colours(name: str, shares: np.ndarray) -> ByteArray:
    table = _colour_table(name)
    return np.take(table, np.minimum((shares * len(table)).astype(np.intp), len(table) - 1), axis=0)


@cache
def _colour_table(name: str) -> ByteArray:
    """(n_colours, 3) uint8 of a colour map, which Matplotlib looks up far more slowly."""
    colours = matplotlib.colormaps[name]
    return np.rint(colours(np.arange(colours.N))[:, :3] * 255).astype(np.uint8)


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
    """Where values are above the threshold, on FINENESS subpixels along each axis of a image of that size."""
    flat = np.asarray(values, dtype=np.float32).reshape(-1)
    fine = size[0] * FINENESS, size[1] * FINENESS
    peaks = grid.inside(placement) & (np.nan_to_num(flat, nan=-np.inf) > threshold)
    if not peaks.any():
        return np.zeros((fine[1], fine[0]), dtype=np.bool_)
    above = _spread(flat, grid, placement, fine, smooth) > threshold
    if smooth:  # interpolation makes the region around a single patch vanish: give it a disc that can be seen
        from_centre = _squared_from_centre(grid, placement, fine)
        rows_cols = peaks.reshape(grid.rows, grid.cols)
        has_neighbour = ndimage.binary_dilation(rows_cols, _BESIDE) & rows_cols
        for patches, radius in ((rows_cols & ~has_neighbour, 0.3), (has_neighbour, 0.12)):
            in_patch = map_to_image(patches.astype(np.float32).reshape(-1), grid, placement, fine, False) > 0
            above |= in_patch & (from_centre < radius**2)
    return above


def _squared_from_centre(grid: PatchGrid, placement: Placement, size: tuple[int, int]) -> FloatArray:
    """(height, width) float32: squared distance of each pixel from the centre of its patch, in patches."""
    y = (placement.top + (np.arange(size[1]) + 0.5) * placement.height / size[1]) * grid.rows / grid.covered_height
    x = (placement.left + (np.arange(size[0]) + 0.5) * placement.width / size[0]) * grid.cols / grid.covered_width
    down, right = (((along % 1 - 0.5) ** 2).astype(np.float32) for along in (y, x))
    return down[:, None] + right[None, :]


def _paint(image: Image.Image, coverage: FloatArray, colour: tuple[int, int, int]) -> Image.Image:
    return Image.composite(Image.new("RGB", image.size, colour), image, _mask(coverage))


def _bar(
    colours: ByteArray, ticks: list[tuple[float, str]], marks: list[float], height: int, dark: bool
) -> Image.Image:
    """A bar of colours (1, width, 3) with writing at shares of its width; where two would touch, the ends give way."""
    width = colours.shape[1]
    text_size = max(9, min(15, round(height * 0.3)))
    bar_height = max(4, height - text_size - 8)
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    strip = Image.fromarray(np.repeat(colours, bar_height, axis=0))
    image.paste(strip, (0, 0))
    draw = ImageDraw.Draw(image)
    for share in marks:
        x = min(max(round(share * (width - 1)), 2), width - 4)
        draw.rectangle((x - 2, 0, x + 3, bar_height - 1), fill="black")
        draw.rectangle((x, 0, x + 1, bar_height - 1), fill="white")
    font = ImageFont.load_default(size=text_size)
    ink = "#f2f2f2" if dark else "#1a1a1a"
    taken: list[tuple[float, float]] = []
    for share, text in sorted(ticks, key=lambda tick: tick[0] in (0.0, 1.0)):
        length = draw.textlength(text, font=font)
        x = min(max(share * (width - 1) - length / 2, 0), width - length)
        if all(x > end + 6 or x + length < start - 6 for start, end in taken):
            draw.text((x, bar_height + 4), text, fill=ink, font=font)
            taken.append((x, x + length))
    return image


def _number(value: float) -> str:
    return f"{value:.3g}"
