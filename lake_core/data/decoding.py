"""Bytes, arrays and PIL images to 8-bit RGB; what cannot be decoded is refused in one sentence."""

import ctypes
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, _imaging

from lake_core.errors import ImageError

# What Pillow thinks of metadata is for its own developers; what matters of an image becomes a note or an error.
warnings.filterwarnings("ignore", module=r"PIL\.")
# What libtiff says on stderr, Pillow raises. Its libtiff is reached through Pillow, once for the process; where it is
# no library of its own, it goes on talking.
with suppress(OSError, AttributeError):
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""What is decoded. A file is recognised by its content; its name does not matter."""
_SIGNATURES = (b"\x89PNG", b"\xff\xd8", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_N_SIGNATURE = 12
MAX_PIXELS = 50_000_000
MAX_BYTES = 200_000_000
MIN_SIDE = 16
MAX_SIDE = 2048
"""Longest side of the working copy, so that memory stays bounded whatever camera took the image."""


def working_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) of the working copy: the longest side at most MAX_SIDE, the aspect kept."""
    scale = min(1.0, MAX_SIDE / max(width, height))
    return round(width * scale), round(height * scale)


def read_bytes(source: Path | str | bytes, name: str) -> bytes:
    """The file's bytes, once its size is known to be allowed."""
    if isinstance(source, bytes):
        n_bytes, data = len(source), source
    elif isinstance(source, str | Path):
        path = Path(source)
        try:
            found = path.stat()
            if stat.S_ISDIR(found.st_mode):
                raise ImageError(f"{name} is a folder, not an image: give the images in it.")
            if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for who writes into it
                raise ImageError(f"{name} is a pipe or a device, not a file: give an image file.")
            n_bytes = found.st_size
            data = path.read_bytes() if n_bytes <= MAX_BYTES else b""
        except FileNotFoundError as error:
            raise ImageError(f"{path} does not exist: check the path.") from error
        except (OSError, ValueError) as error:
            raise ImageError(f"{name} cannot be read from disk ({_reason(error)}): check its permissions.") from error
    else:
        raise ImageError(
            f"{name} is of type {type(source).__name__}, which is not an image: "
            f"give a path, bytes, a PIL image or a uint8 array."
        )
    if n_bytes == 0:
        raise ImageError(f"{name} is empty (0 bytes): copy or upload it again.")
    if n_bytes > MAX_BYTES:
        raise ImageError(
            f"{name} has {n_bytes / 1e6:.0f} MB, more than the {MAX_BYTES / 1e6:.0f} MB allowed: "
            f"save a smaller or compressed copy."
        )
    return data


def decode(data: bytes, name: str, notes: list[str]) -> Image.Image:
    """The decoded first frame; size is checked before any pixel is decoded."""
    with undamaged(name):
        try:
            image = Image.open(BytesIO(data), formats=FORMATS)
        except UnidentifiedImageError as error:
            raise ImageError(f"{name} {_what_else(data)}.") from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ImageError(f"{name} has more than {MAX_PIXELS:,} pixels: reduce or crop it.") from error
    checked_load(image, name)
    if _has_several_frames(data, image.format):
        notes.append(f"{name} has several frames; the first one is used.")
    return image


@contextmanager
def undamaged(name: str) -> Iterator[None]:
    """Turns whatever Pillow raises on broken data, which is nearly anything, into one sentence.

    Raises:
        ImageError: if the data are damaged, or need more memory than there is.
    """
    try:
        yield
    except ImageError:
        raise
    except MemoryError:
        raise _no_memory(name) from None
    except Exception as error:  # OSError, SyntaxError, struct.error, zlib.error ...
        reason = _reason(error)
        raise ImageError(f"{name} is damaged or incomplete ({reason}): copy or export it again.") from error


def _no_memory(name: str) -> ImageError:
    return ImageError(f"{name} needs more memory than there is: reduce it.")


def checked_load(image: Image.Image, name: str) -> Image.Image:
    """The image with its pixels decoded, or an ImageError."""
    _check_size(*image.size, name)
    with undamaged(name):
        image.load()
    return image


def _has_several_frames(data: bytes, format: str | None) -> bool:
    """Whether a file has more than one frame, seen on a second handle: looking moves an image to another frame.

    If that frame cannot be read, the image would stay there. How many there are is not asked: they are counted by
    reading them, and a file of 200 MB may have ten million.
    """
    if format == "MPO":  # a phone's JPEG with a preview or depth image behind it
        return False
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as looked_at:
            return bool(getattr(looked_at, "is_animated", False))
    except Exception:  # frames behind the first are broken; only the first is used
        return False


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} has {width} x {height} pixels, more than the {MAX_PIXELS:,} allowed: reduce or crop it."
        )
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{name} is {width} x {height} pixels, too small: each side needs at least {MIN_SIDE} pixels.")
    if min(working_size(width, height)) < MIN_SIDE:
        raise ImageError(f"{name} is {width} x {height} pixels, too long and narrow: cut it into pieces.")


def from_array(array: np.ndarray, name: str) -> Image.Image:
    layout_ok = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not layout_ok:
        raise ImageError(f"{name} is an array of shape {array.shape}: give (h, w), (h, w, 3) or (h, w, 4).")
    if array.dtype != np.uint8:
        raise ImageError(f"{name} is an array of {array.dtype}: scale it to 0..255 and convert it to uint8.")
    _check_size(array.shape[1], array.shape[0], name)
    return Image.fromarray(np.ascontiguousarray(array))


def upright(image: Image.Image, name: str, notes: list[str]) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block is no reason to refuse sound pixels
        notes.append(f"{name} has unreadable EXIF data, so it is shown as stored, not turned.")
        return image


def to_rgb(image: Image.Image, name: str, notes: list[str]) -> Image.Image:
    """Any mode of Pillow's to RGB, upright."""
    try:
        tags = getattr(image, "tag_v2", {})  # a TIFF's; turning the image drops them
        image = upright(image, name, notes)
        if image.mode[0] in "IF":
            n_bits, is_signed = int(tags.get(258, [0])[0]), tags.get(339, [1])[0] != 1
            return _wide_to_8_bit(image, n_bits, is_signed, name, notes).convert("RGB")
        if not image.has_transparency_data:
            return image.convert("RGB")
        rgba = image.convert("RGBA")
        if np.asarray(rgba.getchannel("A")).min() < 255:
            notes.append(f"{name} has transparent parts; they are laid on white.")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    except ImageError:
        raise
    except MemoryError:
        raise _no_memory(name) from None
    except Exception as error:
        raise ImageError(
            f"{name} has a colour mode that cannot be converted ({image.mode}): save it as an RGB PNG."
        ) from error


def _wide_to_8_bit(image: Image.Image, n_bits: int, is_signed: bool, name: str, notes: list[str]) -> Image.Image:
    """Grey values of more than 8 bits to 8 bits, linearly.

    16 bits keep their high byte, which is what Pillow does with 16-bit colour, so that grey and colour agree. The
    range of 32-bit values is written nowhere: the smallest customary one that holds them is taken, or their own.

    Args:
        n_bits: Bits per value as a TIFF declares them, 0 otherwise.
        is_signed: Whether a TIFF declares anything but unsigned values.
    """
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        n_bits = 12 if n_bits == 12 else 16
        if n_bits == 16 and 0 < values.max() < 4096:
            notes.append(f"{name} is a 16-bit image with values to {values.max()} only; scaled by 65535 it is dark.")
        return Image.fromarray((values >> (n_bits - 8)).astype(np.uint8))
    if image.mode == "I" and n_bits == 32 and not is_signed:
        values = values.view(np.uint32)  # Pillow lets them wrap
    if not np.isfinite(values).all():
        raise ImageError(f"{name} has values that are not finite numbers: save it as an 8- or 16-bit image.")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 65535:
        scale_from, scale_to = low, high
    else:
        limits = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        scale_from, scale_to = 0.0, next(limit for limit in limits if high <= limit)
    notes.append(f"{name} has 32-bit values; {scale_from:g} is shown as black and {scale_to:g} as white.")
    halved = values.astype(np.float32) * np.float32(0.5)  # a difference of two halves is never too great for float32
    scaled = (halved - 0.5 * scale_from) * (510.0 / max(scale_to - scale_from, 1e-12))
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _reason(error: Exception) -> str:
    text = (getattr(error, "strerror", None) or str(error)).split("\n")[0].rstrip(". ")
    return text or type(error).__name__


def _what_else(data: bytes) -> str:
    """What bytes that are no image seem to be, and the remedy: the rest of a sentence that begins with the name."""
    head = data[:1024]
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if text.startswith(b"<svg") or (text.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in text):
        return "is an SVG drawing: export it as PNG"
    if text.startswith((b"<!doctype html", b"<html")):
        return "is a web page, not an image: download the image itself"
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the image: run 'git lfs pull'"
    if head.startswith(b"%PDF"):
        return "is a PDF: export its page as PNG"
    if head.startswith(b"PK\x03\x04"):
        return "is a ZIP archive: give it as an archive (named .zip), or unpack it"
    if brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        return "is a HEIC photograph: convert it to JPEG"
    if brand in (b"avif", b"avis"):
        return "is an AVIF image: convert it to PNG or JPEG"
    if brand:
        return "is a video: export a frame of it as PNG"
    if begins_as_image(head):
        return "is damaged, or of a format that cannot be decoded here: save it again as an 8- or 16-bit PNG"
    if _is_text(head):
        return "is a text file, not an image: give a PNG, JPEG, WebP, BMP, TIFF or GIF file"
    return "is not an image this program can read: give a PNG, JPEG, WebP, BMP, TIFF or GIF file"


def begins_as_image(source: Path | bytes) -> bool:
    """Whether a file, or its first bytes, begin like an image that is decoded here."""
    head = b""
    if isinstance(source, bytes):
        head = source
    elif os.path.isfile(source):
        with suppress(OSError), source.open("rb") as file:
            head = file.read(_N_SIGNATURE)
    return head.startswith(_SIGNATURES) or head[8:12] == b"WEBP"


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < 1024 else "ignore")
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c in "\t\r\n" for c in text)
