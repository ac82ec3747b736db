"""Patches on images: boxes around them, and crops of their surroundings."""

from typing import TypeAlias

from PIL import Image, ImageDraw

from lake_core.data.images import InputImage

Box: TypeAlias = tuple[float, float, float, float]
"""(left, top, right, bottom)."""


def mark_box(image: Image.Image, box: Box, line_width: int = 2) -> Image.Image:
    """A copy of an image with a box: a white line, cased in black on both sides.

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
        context: Side of the crop in sides of the patch, >= 1. The crop moves inwards at the image's border; an
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
