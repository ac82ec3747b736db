"""Ground-truth masks: from files, which may be drawn in many ways, to one boolean array of the image's size."""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import numpy as np
from PIL import Image

from lake_core.data.decoding import checked_load, decode, from_array, read_bytes, undamaged, upright
from lake_core.data.images import default_name
from lake_core.errors import ImageError


def read_mask(
    source: Path | str | bytes | Image.Image | np.ndarray, size: tuple[int, int] | None = None, name: str | None = None
) -> np.ndarray:
    """Read a ground-truth mask.

    In a lossless file, an array or a PIL image each value above zero means defect; in a JPEG or WebP, whose zeros are
    noisy, each value above half of the greatest one. Transparent parts mean no defect.

    Args:
        source: A path, bytes, a PIL image, or a bool or uint8 array.
        size: (width, height) of the image it belongs to. The mask is brought to that size; a pixel is defect when
            at least half of its area is.
        name: What to call it in messages; by default the file name, or "mask".
    Returns:
        (h, w) bool, True where defect.
    Raises:
        ImageError: if it cannot be read, or its aspect differs from that of `size`.
    """
    name = name or default_name(source, "mask")
    if isinstance(source, np.ndarray):
        image = from_array(source.astype(np.uint8) if source.dtype == np.bool_ else source, name)
    elif isinstance(source, Image.Image):
        image = checked_load(source, name)
    else:
        image = decode(read_bytes(source, name), name, [])
    with undamaged(name):
        mask = _marked(image, name)
    if size is None or size == (mask.shape[1], mask.shape[0]):
        return mask
    height, width = mask.shape
    scale = max(size) / max(width, height)
    if any(abs(own * scale - asked) > max(1.0, 0.01 * asked) for own, asked in zip((width, height), size, strict=True)):
        raise ImageError(
            f"{name} is {width} x {height} pixels, another aspect than its image of {size[0]} x {size[1]}: "
            f"use the mask that was drawn on this image."
        )
    resized = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    return np.asarray(resized) >= 128


def _marked(image: Image.Image, name: str) -> np.ndarray:
    """(h, w) bool, True where a decoded mask means defect."""
    lossy = image.format in ("JPEG", "MPO", "WEBP")
    image = upright(image, name, [])
    if image.mode[0] in "IF":  # I, I;16, F: one channel of wide range
        values = np.asarray(image)
    elif image.mode in ("1", "L") and "transparency" not in image.info:  # as most masks are, and many times as fast
        values = np.asarray(image.convert("L"))
    else:
        rgba = image.convert("RGBA")
        rgba = Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba)
        values = np.asarray(rgba)[:, :, :3].max(axis=2)
    return np.asarray(values > (values.max() / 2 if lossy else 0))


def united_mask(
    sources: Sequence[Path | bytes], size: tuple[int, int], names: Sequence[str | None] | None = None
) -> np.ndarray | None:
    """The masks of one image as one, (h, w) bool, or None if there are none; see `read_mask`."""
    drawn = [
        read_mask(source, size, name) for source, name in zip(sources, names or [None] * len(sources), strict=True)
    ]
    return reduce(np.logical_or, drawn) if drawn else None
