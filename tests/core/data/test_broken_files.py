"""Files that are broken, of many pages, or no files: the first page or one sentence, and never a word on stderr."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lake_core.data.datasets import read_folder, read_members, read_side
from lake_core.data.decoding import FORMATS
from lake_core.data.folders import files_below, index_folder
from lake_core.data.images import read_image
from lake_core.data.inspection import inspect
from lake_core.data.masks import read_mask
from lake_core.errors import DatasetError, ImageError
from tests.core.data.files import encoded
from tests.core.data.folders import MVTEC, png, write, zipped

pytestmark = pytest.mark.filterwarnings("ignore")
"""Pytest shows all warnings again; a test below looks at what a user sees of them."""

RNG = np.random.default_rng(5)
SIZE = (40, 32)


def plain_image(size: tuple[int, int] = SIZE, mode: str = "RGB") -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)


FIRST, OTHERS = plain_image(), [plain_image() for _ in range(3)]
UNLIKE = [plain_image((64, 20)), plain_image((20, 64), "L"), plain_image(mode="RGBA"), plain_image((17, 17), "1")]
ONE_PAGE: dict[str, bytes] = {
    "TIFF": encoded(FIRST.copy(), "TIFF"),
    "TIFF, LZW": encoded(FIRST.copy(), "TIFF", compression="tiff_lzw"),
    "TIFF, JPEG": encoded(FIRST.copy(), "TIFF", compression="jpeg"),
    "GIF": encoded(FIRST.convert("P"), "GIF"),
    "WebP": encoded(FIRST.copy(), "WEBP", lossless=True),
    "APNG": encoded(FIRST.copy()),
    "MPO": encoded(FIRST.copy(), "JPEG"),
}


OPTIONS: dict[str, dict[str, object]] = {
    "TIFF, LZW": {"compression": "tiff_lzw"},
    "TIFF, JPEG": {"compression": "jpeg"},
    "WebP": {"lossless": True},
}


def pages(name: str, others: list[Image.Image]) -> bytes:
    """The same first page with others behind it."""
    format = {"APNG": "PNG", "WebP": "WEBP"}.get(name, name.partition(",")[0])
    options = OPTIONS.get(name, {})
    first = FIRST.convert("P" if name == "GIF" else "RGB")
    if name == "TIFF, JPEG":
        others = [other.convert("RGB") for other in others]
    return encoded(first, format, save_all=True, append_images=[one.copy() for one in others], **options)


def damaged(data: bytes, start: int, rng: np.random.Generator) -> bytes:
    """The data with something behind `start` cut off, changed, left out or put in."""
    at, n = int(rng.integers(start, len(data))), int(rng.integers(1, 40))
    kinds: list[Callable[[], bytes]] = [
        lambda: data[:at],
        lambda: data[:at] + bytes(rng.integers(0, 256, n, dtype=np.uint8)) + data[at + n :],
        lambda: data[:at] + data[at + n :],
        lambda: data[:at] + bytes(rng.integers(0, 256, n, dtype=np.uint8)) + data[at:],
        lambda: data[:at] + b"\xff" * n + data[at + n :],
    ]
    return kinds[int(rng.integers(len(kinds)))]()


def or_refused(read: Callable[[bytes], np.ndarray], data: bytes) -> np.ndarray | None:
    """What is read of the data; None where they are refused."""
    try:
        return read(data)
    except ImageError:
        return None


@pytest.mark.parametrize("name", ONE_PAGE)
def test_of_several_pages_the_first_is_taken_whatever_the_others_are(name: str) -> None:
    expected, expected_mask = read_image(ONE_PAGE[name]).rgb, read_mask(ONE_PAGE[name])
    kinds = [OTHERS] if name in ("WebP", "APNG", "MPO", "GIF") else [OTHERS, UNLIKE]
    rng = np.random.default_rng(0)
    n_read = 0
    for others in kinds:
        data = pages(name, others)
        whole = read_image(data, "several")
        assert np.array_equal(whole.rgb, expected)
        # MPO keeps a JPEG's main image; what follows is a preview or a depth image
        assert (
            name == "MPO" or whole.notes == ("several has several frames; the first one is used.",) or others is UNLIKE
        )
        for _ in range(120):
            broken = damaged(data, int(len(ONE_PAGE[name]) * 1.02) + 300, rng)
            found = or_refused(lambda data: read_image(data).rgb, broken)
            mask = or_refused(read_mask, broken)
            assert found is None or np.array_equal(found, expected)
            assert mask is None or np.array_equal(mask, expected_mask)
            n_read += found is not None
    assert n_read > 20


QUIET = """
import sys
from pathlib import Path
from lake_core.data.images import read_image
from lake_core.data.masks import read_mask
from lake_core.errors import ImageError
for path in sorted(Path(sys.argv[1]).iterdir()):
    for read in (read_image, read_mask):
        try:
            read(path)
        except ImageError as error:
            assert "\\n" not in str(error)
"""


def test_a_thousand_broken_files_are_read_or_refused_in_silence(tmp_path: Path) -> None:
    """Neither Python's warnings nor libtiff's words reach stderr, and no other error leaves."""
    exif = Image.Exif()
    exif[274], exif[270], exif[34665] = 6, "x" * 50, {37500: b"abc"}
    wide = Image.fromarray(RNG.integers(0, 65536, (32, 40), dtype=np.uint16))
    floats = Image.fromarray(RNG.random((32, 40)).astype(np.float32) * np.float32(3e38))
    whole = [*ONE_PAGE.values(), *(pages(name, OTHERS) for name in ONE_PAGE)]
    whole += [encoded(FIRST.copy(), format, exif=exif) for format in ("JPEG", "PNG", "WEBP")]
    whole += [encoded(FIRST.convert(mode)) for mode in ("L", "P", "1", "RGBA", "LA")] + [encoded(FIRST.copy(), "BMP")]
    whole += [encoded(wide, "TIFF"), encoded(floats, "TIFF"), encoded(FIRST.convert("CMYK"), "TIFF")]
    for compression in ("tiff_deflate", "packbits", "zstd", "lzma"):
        whole += [encoded(image.copy(), "TIFF", compression=compression) for image in (FIRST, wide)]
    whole.append(encoded(FIRST.convert("1"), "TIFF", compression="group4"))
    rng = np.random.default_rng(1)
    for number in range(1000):
        (tmp_path / f"{number:04}.png").write_bytes(damaged(whole[number % len(whole)], 4, rng))
    extremes = np.full((32, 40), -3e38, np.float32)
    extremes[0] = 3e38
    (tmp_path / "extremes.tif").write_bytes(encoded(Image.fromarray(extremes), "TIFF"))
    done = subprocess.run([sys.executable, "-c", QUIET, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_32_bit_values_of_any_range_become_grey() -> None:
    values = np.linspace(-3.4e38, 3.4e38, 32 * 40, dtype=np.float64).astype(np.float32).reshape(32, 40)
    found = read_image(encoded(Image.fromarray(values), "TIFF")).rgb[..., 0]
    expected = np.rint((values.astype(np.float64) + 3.4e38) / 6.8e38 * 255)
    assert np.abs(found - expected).max() <= 1


def test_a_mask_of_any_kind_is_read_or_refused() -> None:
    for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"):
        image = FIRST.convert("L").convert(mode) if mode in ("I;16", "I", "F") else None
        image = image or (Image.new("LAB", SIZE) if mode == "LAB" else FIRST.convert(mode))
        for format in FORMATS:
            try:
                data = encoded(image, format)
            except (OSError, ValueError):  # this format has no such mode
                continue
            mask = or_refused(lambda data: read_mask(data, SIZE), data)
            assert mask is None or mask.shape == (32, 40)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A data set with what is no file, names that are no names, and a mask whose second page is broken."""
    root = write(tmp_path / "odd", MVTEC)
    os.mkfifo(root / "test/good/pipe.png")
    os.mkfifo(root / "pipe.png")
    (root / "test/good/loop.png").symlink_to("loop.png")
    (root / "test/good/zero.png").symlink_to("/dev/zero")
    (root / "train/good/nowhere.png").symlink_to("/no/such/file.png")
    (root / "test/loop").symlink_to(root / "test")
    (root / "test/crack" / ("1" * 200 + ".png")).write_bytes(png(77))
    broken = pages("TIFF, LZW", OTHERS)
    mask = bytearray(
        encoded(Image.new("L", (32, 24)), "TIFF", save_all=True, append_images=[plain_image((32, 24), "L")])
    )
    mask[-200:] = broken[-200:]
    (root / "ground_truth/crack/000_mask.png").unlink()
    (root / "ground_truth/crack/000_mask.tif").write_bytes(bytes(mask))
    return root


def test_what_is_no_file_is_named_and_skipped(odd: Path) -> None:
    for problems in (read_folder(odd).problems, tuple(inspect(odd)[0][0].problems)):
        said = " ".join(problems)
        assert "test/good/pipe.png is a pipe or a device" in said
        assert "test/good/zero.png is a pipe or a device" in said
        assert "test/good/loop.png cannot be read from disk" in said
        assert "nowhere.png does not exist" in said
        assert "test/loop is a link to a folder, which is not entered" in said
    assert len(read_folder(odd).normals) == 2
    assert len(index_folder(odd)) > 5
    assert read_side(odd / "test", "test").tests


def test_folders_that_may_not_be_read_are_named(tmp_path: Path) -> None:
    if not hasattr(os, "geteuid"):
        pytest.skip("no such permissions here")
    root = write(tmp_path / "set", MVTEC)
    (root / "test/crack").chmod(0)
    is_root = os.geteuid() == 0
    for folder in (root, *root.parents):
        if is_root and folder.stat().st_mode & 0o011 != 0o011:
            folder.chmod(folder.stat().st_mode | 0o055)
    if is_root:
        os.seteuid(65534)  # nobody
    try:
        said = " ".join(read_folder(root).problems)
        assert "The folder test/crack cannot be read: check its permissions." in said
        assert "The folder test/crack cannot be read" in " ".join(inspect(root)[0][0].problems)
        with pytest.raises(DatasetError, match="cannot be read"):
            files_below(root / "test/crack")
    finally:
        if is_root:
            os.seteuid(0)
        (root / "test/crack").chmod(0o755)


def test_a_name_of_very_many_digits_is_a_name() -> None:
    digits = "7" * 5000
    files = [("10.png", png(1)), (f"{digits}.png", png(2)), ("9.png", png(3)), ("010.png", png(4))]
    found = read_members([(f"normal/{name}", data) for name, data in files])
    order = [example.image.name.removeprefix("normal/") for example in found.normals]
    assert order == ["9.png", "010.png", "10.png", f"{digits}.png"]


def test_nothing_is_dropped_in_silence() -> None:
    doubled = zipped({"good/a.png": png(1), "good/./a.png": png(2), "good/b.png": png(3)})
    found = read_members([("x.zip", doubled), ("empty.zip", zipped({})), ("hidden.zip", zipped({".x/a.png": png(9)}))])
    said = " ".join(found.problems)
    assert "good/a.png in x.zip: several files have that path, and the last is used" in said
    assert "empty.zip holds no files" in said
    assert "hidden.zip holds no files" in said
    assert np.array_equal(found.normals[0].image.rgb, read_image(png(2)).rgb)


def test_an_image_whose_name_does_not_say_so_is_named(tmp_path: Path) -> None:
    files = {"normal/a.png": png(1), "normal/camera_0001": png(2), "normal/README": b"text", "test/b.png": png(3)}
    uploaded = read_members(files.items())
    packed = read_members([("x.zip", zipped(files))])
    for problems in (uploaded.problems, packed.problems, read_folder(write(tmp_path, files)).problems):
        (said,) = [one for one in problems if "its name does not say so" in one]
        assert "normal/camera_0001 seems to be an image" in said
        assert "README" not in " ".join(problems)
