"""Any source becomes the same pixels under one name: arrays, files and bytes, of workable size."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lake_core.data.decoding import MAX_SIDE
from lake_core.data.images import duplicates, quarter_turns, read_image, read_images
from tests.core.data.files import NOISE, encoded


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


def test_broken_images_are_named_and_skipped() -> None:
    images, errors = read_images([("a", NOISE), ("b", b""), NOISE[:, ::-1], b"text"])
    assert [p.name for p in images] == ["a", "image"]
    assert [str(e).split(" is ")[0] for e in errors] == ["b", "image"]


def test_duplicates_are_grouped() -> None:
    arrays = {"a": NOISE, "b": NOISE[::-1], "c": NOISE, "d": NOISE[:, ::-1]}
    images = [read_image(array, name) for name, array in arrays.items()]
    assert [[p.name for p in group] for group in duplicates(images)] == [["a", "c"]]


def test_quarter_turns_are_the_image_turned() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (18, 20, 3), dtype=np.uint8)
    image = read_image(rgb, "a.png")
    turned = quarter_turns(image)
    assert [one.name for one in turned] == [f"a.png, turned by {degrees}°" for degrees in (90, 180, 270)]
    np.testing.assert_array_equal(turned[0].rgb[0], rgb[:, -1])
    np.testing.assert_array_equal(turned[1].rgb, rgb[::-1, ::-1])
    np.testing.assert_array_equal(turned[2].rgb[0], rgb[::-1, 0])
    assert len({one.sha256 for one in (image, *turned)}) == 4
