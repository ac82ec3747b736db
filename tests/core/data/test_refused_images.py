"""What is no image, is damaged, too large or too small is refused in a sentence that says what to do."""

import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lake_core.data.images import read_image, read_images
from lake_core.errors import ImageError
from tests.core.data.files import NOISE, encoded, raw_png


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
    n_read = n_refused = 0
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
            n_read, n_refused = n_read + len(images), n_refused + len(errors)
    assert n_read + n_refused == 6 * 60
    assert min(n_read, n_refused) > 36  # either outcome happens often


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
