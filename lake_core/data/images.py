"""Images: what a user hands over becomes a checked array with its sha256, or one sentence why not."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from lake_core.data.decoding import (
    FORMATS,
    MAX_SIDE,
    checked_load,
    decode,
    from_array,
    read_bytes,
    to_rgb,
    working_size,
)
from lake_core.errors import ImageError


@dataclass(frozen=True)
class InputImage:
    """A checked image. Two images are equal when name and sha256 are, so that an image can be a cache key.

    Attributes:
        name: File name or relative path, as shown.
        rgb: (height, width, 3) uint8, read-only; orientation applied, transparency laid on white, longest side at
            most MAX_SIDE.
        sha256: Of the encoded bytes; for arrays and PIL images, of the shape and the RGB pixels.
        original_size: (width, height) before the working copy was reduced.
        notes: What was done to the image that people should know, one sentence each.
        encoded: The file's bytes, where they were to be kept; else None.
    """

    name: str
    rgb: np.ndarray = field(compare=False, repr=False)
    sha256: str
    original_size: tuple[int, int] = field(compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    encoded: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the working copy."""
        return self.width, self.height


ImageSource: TypeAlias = InputImage | Path | str | bytes | Image.Image | np.ndarray


def read_image(source: ImageSource, name: str | None = None, *, keep_encoded: bool = False) -> InputImage:
    """Decode and check one image.

    16-bit values are scaled by their full range, never clipped. Transparent parts are laid on white, and an image of
    more than MAX_SIDE pixels along a side is reduced to a working copy (Lanczos); both leave a note.

    Args:
        source: A path, the bytes of a file, a PIL image, a uint8 array (h, w), (h, w, 3) or (h, w, 4), or an
            InputImage, which is returned as it is.
        name: What to call it in messages; by default the file name, or "image".
        keep_encoded: Whether a file's bytes stay with the image, as a saved project needs them.
    Raises:
        ImageError: if it cannot be used; one sentence with the name, the reason and the remedy.
    """
    if isinstance(source, InputImage):
        return source
    name = name or default_name(source)
    notes: list[str] = []
    encoded = None
    if isinstance(source, np.ndarray):
        decoded = from_array(source, name)
    elif isinstance(source, Image.Image):
        decoded = checked_load(source, name)
    else:
        encoded = read_bytes(source, name)
        decoded = decode(encoded, name, notes)
    image = to_rgb(decoded, name, notes)
    identity = repr(image.size).encode() + image.tobytes() if encoded is None else encoded
    sha256 = hashlib.sha256(identity).hexdigest()
    original_size = image.size
    if max(image.size) > MAX_SIDE:
        image = image.resize(working_size(*image.size), Image.Resampling.LANCZOS)
        notes.append(
            f"{name} was reduced from {original_size[0]} x {original_size[1]} to {image.width} x {image.height} pixels."
        )
    rgb = np.array(image)
    rgb.setflags(write=False)
    return InputImage(name, rgb, sha256, original_size, tuple(notes), encoded if keep_encoded else None)


def bytes_decoded(data: bytes) -> int:
    """Bytes that the pixels of an image take once it is read, by its header; 0 where that cannot be read."""
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            width, height = working_size(*image.size)
    except Exception:  # as in `decode`, which says so
        return 0
    return 3 * width * height


def read_images(sources: Iterable[ImageSource | tuple[str, ImageSource]]) -> tuple[list[InputImage], list[ImageError]]:
    """Read many images; those that cannot be used are skipped, each with its error.

    Args:
        sources: What read_image takes, or pairs (name, source).
    Returns:
        The images and the errors, each in the order given.
    """
    images: list[InputImage] = []
    errors: list[ImageError] = []
    for item in sources:
        name, source = item if isinstance(item, tuple) else (None, item)
        try:
            images.append(read_image(source, name))
        except ImageError as error:
            errors.append(error)
    return images, errors


def quarter_turns(image: InputImage) -> list[InputImage]:
    """The image turned by 90, 180 and 270 degrees counterclockwise."""
    return [
        read_image(np.ascontiguousarray(np.rot90(image.rgb, n)), f"{image.name}, turned by {90 * n}°")
        for n in (1, 2, 3)
    ]


def duplicates(images: Iterable[InputImage]) -> list[list[InputImage]]:
    """Groups of two and more images with the same bytes, in the order of their first member."""
    groups: dict[str, list[InputImage]] = {}
    for image in images:
        groups.setdefault(image.sha256, []).append(image)
    return [group for group in groups.values() if len(group) > 1]


def default_name(source: object, otherwise: str = "image") -> str:
    if isinstance(source, str | Path):
        return Path(source).name or str(source)
    filename = getattr(source, "filename", None)
    return Path(filename).name if isinstance(filename, str) and filename else otherwise
