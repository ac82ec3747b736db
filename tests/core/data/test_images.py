"""Whatever a user hands over becomes the right pixels, or one sentence that names the file and says what to do."""

import hashlib
import io
import struct
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lake_core.data.decoding import MAX_SIDE
from lake_core.data.images import duplicates, read_image, read_images
from lake_core.data.masks import read_mask
from lake_core.errors import ImageError

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def raw_png(width: int, height: int, bits: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG chunk by chunk: 16-bit colour, which Pillow cannot write, and sizes that nobody should decode."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tag(code: int, value: int) -> bytes:
    return struct.pack("<HHII", code, 4, 1, value)


def raw_tiff(values: np.ndarray, sample_format: int) -> bytes:
    """An uncompressed little-endian TIFF of one channel; sample_format 1 unsigned, 2 signed, 3 float."""
    height, width = values.shape
    bits = values.dtype.itemsize * 8
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags += [(279, values.nbytes), (339, sample_format)]
    directory = b"".join(tag(code, value) for code, value in tags)
    offset = 8 + values.nbytes
    return (
        b"II*\0"
        + struct.pack("<I", offset)
        + values.tobytes()
        + struct.pack("<H", len(tags))
        + directory
        + struct.pack("<I", 0)
    )


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_keep_every_pixel(format: str) -> None:
    data = encoded(Image.fromarray(NOISE), format, **({"lossless": True} if format == "WEBP" else {}))
    image = read_image(data, "a")
    assert np.array_equal(image.rgb, NOISE)
    assert image.sha256 == hashlib.sha256(data).hexdigest()
    assert (image.original_size, image.size, image.notes) == ((60, 40), (60, 40), ())


def test_all_kinds_of_sources_give_the_same_pixels(tmp_path: Path) -> None:
    path = tmp_path / "part 7.png"
    path.write_bytes(encoded(Image.fromarray(NOISE)))
    from_path, from_text = read_image(path), read_image(str(path))
    from_pil, from_array = read_image(Image.fromarray(NOISE)), read_image(NOISE)
    assert from_path.name == from_text.name == "part 7.png"
    for image in (from_path, from_text, from_pil, from_array):
        assert np.array_equal(image.rgb, NOISE)
    assert from_pil.sha256 == from_array.sha256 != from_path.sha256
    assert read_image(from_path) is from_path
    assert read_image(Image.open(path)).name == "part 7.png"


def test_pixels_cannot_be_written_and_do_not_follow_the_source() -> None:
    array = NOISE.copy()
    image = read_image(array)
    array[:] = 0
    assert np.array_equal(image.rgb, NOISE)
    with pytest.raises(ValueError, match="read-only"):
        image.rgb[0, 0, 0] = 1


def test_images_are_keys_by_name_and_content() -> None:
    assert read_image(NOISE, "a") == read_image(NOISE, "a") != read_image(NOISE, "b")
    assert len({read_image(NOISE, "a"), read_image(NOISE, "a"), read_image(NOISE[::-1], "a")}) == 2
    changed = NOISE.copy()
    changed[0, 0, 0] ^= 1
    assert read_image(NOISE).sha256 != read_image(changed).sha256
    assert read_image(NOISE).sha256 != read_image(NOISE.reshape(60, 40, 3)).sha256


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


@pytest.mark.parametrize(("colour_type", "n_channels"), [(0, 1), (2, 3)])
def test_16_bit_png_is_scaled_by_its_full_range(colour_type: int, n_channels: int) -> None:
    ramp = np.linspace(0, 65535, 256).astype(">u2")
    rows = b"".join(b"\0" + np.repeat(ramp, n_channels).tobytes() for _ in range(16))
    image = read_image(raw_png(256, 16, 16, colour_type, rows))
    assert np.array_equal(image.rgb[7, :, 0], np.arange(256))
    assert np.array_equal(image.rgb[..., 0], image.rgb[..., 2])


@pytest.mark.parametrize("byte_order", ["<u2", ">u2"])
def test_16_bit_grey_is_scaled_in_either_byte_order(byte_order: str) -> None:
    ramp = np.tile(np.arange(0, 65536, 257).astype(byte_order), (16, 1))
    image = Image.frombytes("I;16" if byte_order == "<u2" else "I;16B", (256, 16), ramp.tobytes())
    assert np.array_equal(read_image(image).rgb[3, :, 1], np.arange(256))


def test_16_bit_tiff_with_12_bits_of_light_says_that_it_is_dark() -> None:
    ramp = np.tile(np.linspace(0, 4095, 64).astype("<u2"), (16, 1))
    image = read_image(raw_tiff(ramp, 1), "camera.tif")
    assert image.rgb.max() == 15
    assert "4095" in image.notes[0]


def test_12_bit_tiff_is_scaled_by_its_own_range() -> None:
    ramp = np.tile(np.arange(0, 4096, 16), (16, 1))
    bits = (ramp[..., None] >> np.arange(11, -1, -1)) & 1
    packed = np.packbits(bits.astype(np.uint8).reshape(16, -1), axis=1)
    data = raw_tiff(packed, 1).replace(tag(256, packed.shape[1]), tag(256, 256)).replace(tag(258, 8), tag(258, 12))
    image = read_image(data)
    assert np.array_equal(image.rgb[5, :, 0], np.arange(256))
    assert image.notes == ()


@pytest.mark.parametrize(
    ("values", "sample_format", "white"),
    [
        (np.linspace(0, 1, 256, dtype="<f4"), 3, "1"),
        (np.linspace(0, 255, 256, dtype="<f4"), 3, "255"),
        (np.linspace(-3, 9, 256, dtype="<f4"), 3, "9"),
        (np.linspace(0, 65535, 256).astype("<i4"), 2, "65535"),
    ],
)
def test_32_bit_values_take_the_range_that_holds_them(values: np.ndarray, sample_format: int, white: str) -> None:
    image = read_image(raw_tiff(np.tile(values, (16, 1)), sample_format), "depth.tif")
    assert np.array_equal(image.rgb[0, :, 0], np.arange(256))
    assert image.notes[0].endswith(f"as black and {white} as white.")


def test_32_bit_unsigned_values_do_not_wrap() -> None:
    values = np.tile(np.linspace(0, 2**32 - 1, 256).astype("<u4"), (16, 1))
    shown = read_image(raw_tiff(values, 1)).rgb[0, :, 0].astype(int)
    assert (shown[0], shown[-1]) == (0, 255)
    assert (np.diff(shown) >= 0).all()


def test_not_a_number_is_refused() -> None:
    values = np.zeros((16, 16), "<f4")
    values[3, 3] = np.nan
    with pytest.raises(ImageError, match=r"depth.tif .*finite"):
        read_image(raw_tiff(values, 3), "depth.tif")


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
    assert image.notes == ("clip has 3 frames; the first one is used.",)


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


def test_content_decides_not_the_name() -> None:
    jpeg = encoded(Image.fromarray(NOISE), "JPEG", quality=95)
    assert read_image(jpeg, "really_a.png").size == (60, 40)


def test_large_images_get_a_working_copy() -> None:
    columns = np.zeros((1000, 4000), np.uint8)
    columns[:, ::2] = 255  # the finest stripes: an antialiased copy is grey, a subsampled one black or white
    image = read_image(columns, "wide.png")
    assert image.size == (MAX_SIDE, 512)
    assert image.original_size == (4000, 1000)
    assert image.rgb[:, 100:-100].std() < 25
    assert image.notes == ("wide.png was reduced from 4000 x 1000 to 2048 x 512 pixels.",)


def test_a_hundred_megapixels_are_refused_before_they_are_decoded() -> None:
    data = raw_png(10_000, 10_000, 1, 0, b"\0" * (1251 * 10_000))
    assert len(data) < 100_000
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(ImageError, match=r"^big.png has 10000 x 10000 pixels, more than the 50,000,000 allowed"):
            read_image(data, "big.png")
        assert time.process_time() - started < 0.2
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with pytest.raises(ImageError, match="more than 50,000,000 pixels"):
            read_image(data, "big.png")
    with pytest.raises(ImageError, match="more than 50,000,000 pixels"):
        read_image(raw_png(60_000, 60_000, 1, 0, b""), "bigger.png")


@pytest.mark.parametrize(("size", "words"), [((15, 200), "too small"), ((4000, 17), "too long and narrow")])
def test_slivers_are_refused(size: tuple[int, int], words: str) -> None:
    for source in (Image.new("RGB", size), encoded(Image.new("RGB", size)), np.zeros(size[::-1], np.uint8)):
        with pytest.raises(ImageError, match=f"a.png is {size[0]} x {size[1]} pixels, {words}"):
            read_image(source, "a.png")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_truncated_files_are_refused(format: str, share: float) -> None:
    data = encoded(Image.fromarray(NOISE.repeat(4, axis=0)), format)
    with pytest.raises(ImageError, match=r"^cut\.x [^\n]*: [^\n]*\.$"):
        read_image(data[: int(len(data) * share)], "cut.x")


def test_flipped_bytes_never_escape_as_another_error() -> None:
    for format in ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP"):
        data = np.frombuffer(encoded(Image.fromarray(NOISE[:20, :20]), format), np.uint8)
        for seed in range(60):
            rng = np.random.default_rng(seed)
            broken = data.copy()
            broken[rng.integers(0, min(len(data), 400), 6)] = rng.integers(0, 256, 6)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                images, errors = read_images([("a.x", broken.tobytes())])
            assert len(images) + len(errors) == 1
            assert all(str(error).startswith("a.x ") for error in errors)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"just a note\n", "text file"),
        ("Größe: 7 mm, läuft".encode() * 100, "text file"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG drawing: export it as PNG"),
        (b"  <svg width='5'/>", "SVG drawing"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b"%PDF-1.7\n\xff\xfe", "PDF"),
        (b"PK\x03\x04\x14\0\0\0", "ZIP archive"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC photograph: convert it to JPEG"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "video"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (bytes(range(256)), "not an image"),
    ],
)
def test_what_is_no_image_is_called_by_its_name(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        read_image(data, "x.png")
    assert str(caught.value).startswith("x.png ")
    assert str(caught.value).endswith(".")


def test_formats_off_the_list_are_refused_though_pillow_reads_them() -> None:
    for format in ("ICO", "PPM", "TGA", "AVIF"):
        with pytest.raises(ImageError, match=r"^x\.png is"):
            read_image(encoded(Image.fromarray(NOISE), format), "x.png")


def test_missing_files_and_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none.png does not exist"):
        read_image(tmp_path / "none.png")
    (tmp_path / "set.png").mkdir()
    with pytest.raises(ImageError, match=r"set.png is a folder"):
        read_image(tmp_path / "set.png")
    with pytest.raises(ImageError, match="x cannot be read"):
        read_image("a\0b.png", "x")


def test_files_over_the_size_limit_are_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(300_000_000)  # sparse: no disk, and no time unless someone reads it
    with pytest.raises(ImageError, match=r"huge.png has 300 MB, more than the 200 MB allowed"):
        read_image(path)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((20, 20, 3), np.float32), "float32: scale it to 0..255"),
        (np.zeros((20, 20), np.uint16), "uint16"),
        (np.zeros((3, 20, 20), np.uint8), r"shape \(3, 20, 20\)"),
        (np.zeros((20, 20, 2), np.uint8), "shape"),
        (np.zeros(20, np.uint8), "shape"),
        (np.zeros((0, 0, 3), np.uint8), "too small"),
    ],
)
def test_unsuitable_arrays_are_refused(array: np.ndarray, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        read_image(array)


def test_other_objects_are_refused() -> None:
    with pytest.raises(ImageError, match="type int"):
        read_image(7)  # type: ignore[arg-type]


def test_broken_images_are_named_and_skipped() -> None:
    images, errors = read_images([("a", NOISE), ("b", b""), NOISE[:, ::-1], b"text"])
    assert [p.name for p in images] == ["a", "image"]
    assert [str(e).split(" is ")[0] for e in errors] == ["b", "image"]


def test_duplicates_are_grouped() -> None:
    arrays = {"a": NOISE, "b": NOISE[::-1], "c": NOISE, "d": NOISE[:, ::-1]}
    images = [read_image(array, name) for name, array in arrays.items()]
    assert [[p.name for p in group] for group in duplicates(images)] == [["a", "c"]]


def test_masks_of_any_code_mean_the_same() -> None:
    truth = np.zeros((32, 48), bool)
    truth[8:16, 16:32] = True
    classes = np.where(truth, np.arange(48) % 3 + 1, 0).astype(np.uint8)
    transparent = np.zeros((32, 48, 4), np.uint8)
    transparent[..., 0] = 255
    transparent[..., 3] = truth * 255
    blue = Image.fromarray(truth.astype(np.uint8), "P")
    blue.putpalette([0, 0, 0, 0, 0, 9])
    sources: list[Any] = [truth, truth * np.uint8(1), truth * np.uint8(255), classes, encoded(Image.fromarray(truth))]
    sources += [encoded(Image.fromarray(transparent)), encoded(blue), Image.fromarray(truth.astype(np.uint16))]
    sources += [encoded(Image.fromarray(truth * np.uint8(255)), "JPEG", quality=60)]
    for source in sources:
        mask = read_mask(source)
        assert mask.dtype == bool
        assert np.array_equal(mask, truth)
    assert not read_mask(np.zeros((20, 20), np.uint8)).any()


def test_masks_are_brought_to_the_images_size() -> None:
    truth = np.zeros((40, 60), np.uint8)
    truth[10:20, 30:45] = 255
    assert np.array_equal(read_mask(truth, (120, 80)), truth.repeat(2, 0).repeat(2, 1) > 0)
    assert np.array_equal(read_mask(truth, (30, 20))[5:10, 15:22], np.ones((5, 7), bool))
    assert read_mask(truth, (12, 8)).sum() == 2 * 3
    with pytest.raises(ImageError, match=r"mask is 60 x 40 pixels, another aspect than its image of 40 x 60"):
        read_mask(truth, (40, 60))
    with pytest.raises(ImageError, match=r"crack_mask.png is empty"):
        read_mask(b"", name="crack_mask.png")


def test_a_mask_fits_the_working_copy_of_its_large_image() -> None:
    image = read_image(np.zeros((1001, 2999), np.uint8))
    assert read_mask(np.zeros((1001, 2999), np.uint8), image.size).shape == image.rgb.shape[:2]
