"""Every format gives the right colours: palettes, inks, transparency, several frames, turned photographs."""

import hashlib
import struct
import time

import numpy as np
import pytest
from PIL import Image

from lake_core.data.images import read_image
from tests.core.data.files import NOISE, encoded


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_keep_every_pixel(format: str) -> None:
    data = encoded(Image.fromarray(NOISE), format, **({"lossless": True} if format == "WEBP" else {}))
    image = read_image(data, "a")
    assert np.array_equal(image.rgb, NOISE)
    assert image.sha256 == hashlib.sha256(data).hexdigest()
    assert (image.original_size, image.size, image.notes) == ((60, 40), (60, 40), ())


def test_grey_and_bilevel_images_become_three_equal_channels() -> None:
    grey = NOISE[:, :, 0]
    for source in (grey, Image.fromarray(grey), encoded(Image.fromarray(grey))):
        assert np.array_equal(read_image(source).rgb, np.repeat(grey[:, :, None], 3, axis=2))
    bilevel = Image.fromarray(grey > 127)
    assert bilevel.mode == "1"
    assert np.array_equal(read_image(encoded(bilevel)).rgb[:, :, 2], np.where(grey > 127, 255, 0))


def test_transparency_is_laid_on_white() -> None:
    rgba = np.zeros((20, 20, 4), np.uint8)
    rgba[:, :10] = (200, 0, 0, 255)
    rgba[:, 10:] = (0, 0, 0, 51)  # a fifth of black on white: 204
    for source in (rgba, Image.fromarray(rgba), encoded(Image.fromarray(rgba))):
        image = read_image(source, "a.png")
        assert image.rgb[5, 5].tolist() == [200, 0, 0]
        assert image.rgb[5, 15].tolist() == [204, 204, 204]
        assert image.notes == ("a.png has transparent parts; they are laid on white.",)
    rgba[:, :, 3] = 255
    assert read_image(rgba).notes == ()
    grey_alpha = Image.fromarray(np.dstack([np.zeros((20, 20), np.uint8), np.full((20, 20), 51, np.uint8)]), "LA")
    assert read_image(encoded(grey_alpha)).rgb[0, 0].tolist() == [204, 204, 204]


def test_palette_images_keep_their_colours_and_their_transparency() -> None:
    image = Image.new("P", (20, 20))
    image.putpalette([255, 0, 0, 10, 20, 30])
    image.paste(1, (10, 0, 20, 20))
    assert read_image(encoded(image)).rgb[0, [0, 15]].tolist() == [[255, 0, 0], [10, 20, 30]]
    assert read_image(encoded(image, transparency=0)).rgb[0, [0, 15]].tolist() == [[255, 255, 255], [10, 20, 30]]


def test_a_colour_declared_transparent_is_white() -> None:
    image = Image.new("RGB", (20, 20), (1, 2, 3))
    assert read_image(encoded(image, transparency=(1, 2, 3))).rgb[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_inks_get_their_colours(format: str) -> None:
    inks = {(255, 0, 0, 0): (0, 255, 255), (0, 255, 0, 0): (255, 0, 255), (0, 0, 0, 255): (0, 0, 0)}
    for ink, colour in inks.items():
        image = read_image(encoded(Image.new("CMYK", (32, 32), ink), format))
        assert np.abs(image.rgb[16, 16].astype(int) - colour).max() <= 3


@pytest.mark.parametrize(
    ("orientation", "corner"), [(1, (0, 0)), (2, (0, -1)), (3, (-1, -1)), (4, (-1, 0)), (6, (0, -1)), (8, (-1, 0))]
)
@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF"])
def test_exif_orientation_moves_the_marked_corner(format: str, orientation: int, corner: tuple[int, int]) -> None:
    saved = Image.new("RGB", (64, 32))
    saved.paste((255, 255, 255), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_image(encoded(saved, format, exif=exif))
    size = (32, 64) if orientation in (6, 8) else (64, 32)
    assert image.size == image.original_size == size
    assert image.rgb[corner].min() > 240
    assert (image.rgb[..., 0] > 128).sum() == 256


def test_broken_exif_does_not_cost_the_image() -> None:
    image = read_image(encoded(Image.fromarray(NOISE), "PNG", exif=b"Exif\0\0this is no TIFF header"))
    assert np.array_equal(image.rgb, NOISE)


@pytest.mark.parametrize("format", ["GIF", "TIFF", "WEBP", "PNG"])
def test_the_first_of_several_frames_is_used_and_noted(format: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    image = read_image(data, "clip")
    assert image.rgb[0, 0].tolist() == [255, 0, 0]
    assert image.notes == ("clip has several frames; the first one is used.",)


def directories(tiff: bytes) -> list[int]:
    """Offsets of the directories of a little-endian TIFF, one for each page."""
    found, place = [], 4
    while offset := struct.unpack_from("<I", tiff, place)[0]:
        found.append(offset)
        place = offset + 2 + 12 * struct.unpack_from("<H", tiff, offset)[0]
    return found


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("broken", ["width", "directory"])
@pytest.mark.parametrize("n_pages", [2, 3])
def test_the_first_page_is_read_although_the_last_one_is_broken(n_pages: int, broken: str) -> None:
    pages = [Image.fromarray(np.roll(NOISE, 7 * i, axis=1)) for i in range(n_pages)]
    data = bytearray(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    last = directories(bytes(data))[-1]
    if broken == "width":  # the entry's tag becomes one that nobody knows
        n_entries = struct.unpack_from("<H", data, last)[0]
        entries = [last + 2 + 12 * i for i in range(n_entries)]
        struct.pack_into("<H", data, next(e for e in entries if struct.unpack_from("<H", data, e)[0] == 256), 60000)
    else:  # cut off within the directory
        del data[last + 30 :]
    image = read_image(bytes(data), "pages.tif")
    assert np.array_equal(image.rgb, NOISE)


def test_phone_jpeg_with_a_second_image_is_read_as_one() -> None:
    data = encoded(Image.new("RGB", (32, 32), "red"), "MPO", save_all=True, append_images=[Image.new("RGB", (32, 32))])
    image = read_image(data)
    assert image.rgb[0, 0, 0] > 250
    assert image.notes == ()


def test_the_frames_of_a_long_animation_are_not_counted() -> None:
    head = encoded(Image.new("L", (20, 20)), "GIF")[:-1]  # without its trailer
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    data = head + frame * 200_000 + b"\x3b"
    started = time.process_time()
    assert read_image(data, "clip").notes == ("clip has several frames; the first one is used.",)
    assert time.process_time() - started < 0.5
