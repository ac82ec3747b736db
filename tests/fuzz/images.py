"""Images of all formats, spoiled: cut, bits turned over, sizes lied about, pages that differ or break."""

import io
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageSequence

from lake_core.data.images import read_image
from lake_core.data.masks import read_mask
from lake_core.errors import ImageError
from tests.fuzz.mutations import pick, spoiled

NAME = "part 7.png"
SIZE = (48, 40)
MASK_PIXELS = 10_000_000
"""Up to which an image is read as a mask, too: two large ones are not one input."""
SIDES = (0, 1, 15, 16, 17, 2048, 7071, 7072, 30_000, 65_535, 2**31 - 1, 2**32 - 1)


def valid() -> bytes:
    return sources()["png RGB"]


def make(rng: Generator) -> bytes:
    name = pick(rng, list(sources()))
    data = sources()[name]
    form = name.split()[0]
    if rng.random() < 0.25 and form in LIES:
        data = LIES[form](bytearray(data), rng)
    if rng.random() < 0.05:
        return data + sources()[pick(rng, list(sources()))]
    return data if rng.random() < 0.05 else spoiled(data, rng)


def run(data: bytes) -> None:
    image = read_image(data, NAME, keep_encoded=True)
    assert image.rgb.dtype == np.uint8
    assert image.rgb.shape[2] == 3
    assert max(image.size) <= 2048
    for note in image.notes:
        assert "\n" not in note
    if image.original_size[0] * image.original_size[1] > MASK_PIXELS:
        return
    try:
        mask = read_mask(data, image.size, NAME)
    except ImageError:
        return
    assert mask.shape == image.rgb.shape[:2]


@cache
def sources() -> dict[str, bytes]:
    """Valid files: every format in every mode that it has, and those of several pages."""
    rng = np.random.default_rng(7)
    rgb = Image.fromarray(rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8))
    wide = Image.fromarray(rng.integers(0, 65536, (SIZE[1], SIZE[0]), dtype=np.uint16))
    real = Image.fromarray(rng.random((SIZE[1], SIZE[0]), dtype=np.float32))
    whole = Image.fromarray(rng.integers(0, 2**20, (SIZE[1], SIZE[0]), dtype=np.int32))
    modes = {mode: rgb.convert(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")}
    modes |= {"I;16": wide, "F": real, "I": whole}
    found = {f"{form} {mode}": _encoded(modes[mode], form) for form, taken in MODES.items() for mode in taken.split()}
    found |= {
        f"tiff RGB {way}": _encoded(rgb, "tiff", compression=way)
        for way in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    }
    found["jpeg RGB progressive"] = _encoded(rgb, "jpeg", progressive=True)
    exif = Image.Exif()
    exif[274] = 6
    found["jpeg RGB turned"] = _encoded(rgb, "jpeg", exif=exif)
    found["png RGB text"] = _encoded(rgb, "png", exif=exif)
    found["webp RGB lossless"] = _encoded(rgb, "webp", lossless=True)
    pages = [rgb, modes["L"].resize((31, 17)), modes["1"], rgb.rotate(90, expand=True)]
    for form in ("tiff", "gif", "webp", "png"):
        later = pages[1:] if form in ("tiff", "gif") else [rgb.rotate(90), rgb]
        found[f"{form} several"] = _encoded(rgb, form, save_all=True, append_images=later)
    return found


MODES = {
    "png": "1 L LA P RGB RGBA I;16",
    "jpeg": "L RGB CMYK",
    "webp": "RGB RGBA",
    "bmp": "1 L P RGB RGBA",
    "tiff": "1 L LA P RGB RGBA CMYK I;16 F I",
    "gif": "L P RGB RGBA",
}


def frames(data: bytes) -> int:
    """How many pages a valid file has."""
    with Image.open(io.BytesIO(data)) as image:
        return sum(1 for _ in ImageSequence.Iterator(image))


def _encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _sides(rng: Generator) -> tuple[int, int]:
    return pick(rng, SIDES), pick(rng, SIDES)


def _png(data: bytearray, rng: Generator) -> bytes:
    """Another size, sometimes another depth or colour type, under a correct checksum."""
    data[16:24] = struct.pack(">II", *_sides(rng))
    if rng.random() < 0.3:
        data[24 + int(rng.integers(5))] = int(rng.integers(20))
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def _bmp(data: bytearray, rng: Generator) -> bytes:
    width, height = _sides(rng)
    data[18:26] = struct.pack("<II", width, height)
    return bytes(data)


def _gif(data: bytearray, rng: Generator) -> bytes:
    data[6:10] = struct.pack("<HH", *(side % 65536 for side in _sides(rng)))
    return bytes(data)


def _jpeg(data: bytearray, rng: Generator) -> bytes:
    for marker in (b"\xff\xc0", b"\xff\xc2"):
        at = data.find(marker)
        if at >= 0:
            data[at + 5 : at + 9] = struct.pack(">HH", *(side % 65536 for side in _sides(rng)))
    return bytes(data)


def _tiff(data: bytearray, rng: Generator) -> bytes:
    """Other values in some entries of the first directory: sizes, depths, compression, offsets, counts."""
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (n_entries,) = struct.unpack_from(f"{order}H", data, at)
    for _ in range(int(rng.integers(1, 4))):
        entry = at + 2 + 12 * int(rng.integers(n_entries))
        if entry + 12 > len(data):
            break
        field = int(rng.integers(3))
        value = pick(rng, (*SIDES, 3, 5, 12, 32773, 34712))
        if field == 0:
            struct.pack_into(f"{order}H", data, entry + 2, int(rng.integers(20)))
        else:
            struct.pack_into(f"{order}I", data, entry + 4 * field, value)
    return bytes(data)


def _webp(data: bytearray, rng: Generator) -> bytes:
    data[20:32] = rng.bytes(12)
    return bytes(data)


LIES = {"png": _png, "bmp": _bmp, "gif": _gif, "jpeg": _jpeg, "tiff": _tiff, "webp": _webp}
"""For each format what says another size than the file has."""
