"""Folders become normal and test images with the right labels, kinds and masks."""

import os
from pathlib import Path

import numpy as np
import pytest

from lake_core.data.datasets import read_example, read_folder, read_side
from lake_core.data.folders import categories, index_folder, list_images
from lake_core.errors import DatasetError, ImageError
from tests.core.data.folders import MVTEC, mask_png, names, png, write


def test_images_are_listed_in_natural_order(tmp_path: Path) -> None:
    files = ["10.png", "2.PNG", "1.jpg", "b/3.png", "a/20.webp", "a/3.tif", ".secret.png", ".git/x.png", "notes.txt"]
    write(tmp_path, dict.fromkeys(files, b""))
    listed = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert listed == ["1.jpg", "2.PNG", "10.png", "a/3.tif", "a/20.webp", "b/3.png"]


def test_a_mvtec_category_is_read_with_labels_kinds_and_masks(tmp_path: Path) -> None:
    dataset = read_folder(write(tmp_path / "bottle", MVTEC))
    assert dataset.name == "bottle"
    assert dataset.problems == ()
    assert names(dataset)[0] == ["train/good/000.png", "train/good/001.png"]
    found = {e.image.name: (e.label, e.kind, None if e.mask is None else int(e.mask.sum())) for e in dataset.tests}
    assert found == {
        "test/crack/000.png": ("defective", "crack", 5 * 32),
        "test/crack/001.png": ("defective", "crack", 6 * 32),
        "test/good/000.png": ("good", None, None),
        "test/hole/000.png": ("defective", "hole", 7 * 32),
    }


def test_plain_folders_are_read(tmp_path: Path) -> None:
    files = {"normal/1.png": png(1), "test/1.png": png(2), "defective/1.png": png(3), "masks/1.png": mask_png(3)}
    dataset = read_folder(write(tmp_path, files), "plates")
    assert dataset.name == "plates"
    assert names(dataset) == (["normal/1.png"], ["defective/1.png", "test/1.png"])
    assert [e.label for e in dataset.tests] == ["defective", None]


def test_the_index_opens_nothing_and_agrees_with_reading(tmp_path: Path) -> None:
    root = write(tmp_path / "a", dict.fromkeys(MVTEC, b"not an image"))
    entries = index_folder(root)
    assert [(e.name, e.role) for e in entries[-2:]] == [
        ("train/good/000.png", "normal"),
        ("train/good/001.png", "normal"),
    ]
    assert entries[0].masks == (root / "ground_truth/crack/000_mask.png",)
    with pytest.raises(ImageError, match=r"test/crack/000.png is a text file"):
        read_example(entries[0])
    write(root, MVTEC)
    by_name = {e.image.name: e for e in read_folder(root).tests}
    n_masks = 0
    for entry in (e for e in entries if e.role == "test"):
        lazily, eagerly = read_example(entry), by_name[entry.name]
        assert lazily.image == eagerly.image
        assert (lazily.label, lazily.kind) == (eagerly.label, eagerly.kind)
        assert (lazily.mask is None) == (eagerly.mask is None)
        if lazily.mask is not None and eagerly.mask is not None:
            n_masks += 1
            assert np.array_equal(lazily.mask, eagerly.mask)
    assert n_masks == 3


def test_several_categories_are_found_and_one_must_be_chosen(tmp_path: Path) -> None:
    for name in ("screw", "bottle", "pill10", "pill9"):
        write(tmp_path / name, MVTEC)
    write(tmp_path / "docs", {"a.png": png(0)})
    assert [f.name for f in categories(tmp_path)] == ["bottle", "pill9", "pill10", "screw"]
    assert categories(tmp_path / "screw") == [tmp_path / "screw"]
    with pytest.raises(DatasetError, match=r"holds 4 data sets \(bottle, pill9, pill10, screw\): choose one"):
        read_folder(tmp_path)


def test_broken_files_are_named_and_skipped(tmp_path: Path) -> None:
    files = MVTEC | {
        "train/good/001.png": b"",
        "test/crack/001.png": png(4)[:200],
        "ground_truth/hole/000.png": mask_png(3, (24, 32)),
        "test/good/photo.heic": b"x",
        "train/bent/1.png": png(9),
    }
    dataset = read_folder(write(tmp_path, files))
    assert names(dataset) == (
        ["train/good/000.png"],
        ["test/crack/000.png", "test/good/000.png", "test/hole/000.png"],
    )
    assert dataset.tests[2].mask is None
    problems = "\n".join(dataset.problems)
    assert len(dataset.problems) == 5
    assert "train/good/001.png is empty" in problems
    assert "test/crack/001.png is damaged" in problems
    assert "ground_truth/hole/000.png is 24 x 32 pixels, another aspect" in problems
    assert "test/good/photo.heic: '.heic' is not read as an image" in problems
    assert "1 image was left out, in folders of unknown meaning below 'train'" in problems


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no images"),
        ({"good/readme.txt": b""}, "holds no images"),
        (
            {"test/crack/1.png": png(1)},
            r"has no normal images: put normal ones into a folder 'train/good' or 'normal'",
        ),
        ({"good/1.png": b"text"}, r"None of the normal images .* good/1.png is a text file"),
    ],
)
def test_folders_without_normal_images_are_refused(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        read_folder(write(tmp_path, files))


def test_missing_folders_and_files_in_their_place_are_told(tmp_path: Path) -> None:
    for function in (read_folder, index_folder, categories, list_images):
        with pytest.raises(DatasetError, match="nowhere does not exist"):
            function(tmp_path / "nowhere")
        with pytest.raises(DatasetError, match=r"is a file, not a folder"):
            function(write(tmp_path, {"x.zip": b""}) / "x.zip")


def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(DatasetError, match=r"cannot be read \(Permission denied\): check its permissions"):
        categories(tmp_path)


def test_a_name_that_is_not_utf8_can_be_written_to_a_document(tmp_path: Path) -> None:
    write(tmp_path, {"train/good/a.png": png(1)})
    os.rename(tmp_path / "train/good/a.png", os.fsencode(tmp_path / "train/good") + b"/\xff.png")
    (entry,) = index_folder(tmp_path)
    assert entry.name.encode() == b"train/good/\\xff.png"
    assert entry.path.exists()


def test_one_side_of_a_data_set_has_labels_and_the_masks_that_lie_beside_it(tmp_path: Path) -> None:
    root = write(tmp_path / "bottle", MVTEC)
    normals, tests = read_side(root / "train" / "good", "normal"), read_side(root / "test", "test")
    assert names(normals) == (["good/000.png", "good/001.png"], [])
    assert [e.label for e in normals.normals] == ["good", "good"]
    found = {e.image.name: (e.label, e.kind, None if e.mask is None else int(e.mask.sum())) for e in tests.tests}
    assert found == {
        "test/crack/000.png": ("defective", "crack", 5 * 32),
        "test/crack/001.png": ("defective", "crack", 6 * 32),
        "test/good/000.png": ("good", None, None),
        "test/hole/000.png": ("defective", "hole", 7 * 32),
    }
    assert [e.image.encoded for e in normals.normals] == [MVTEC["train/good/000.png"], MVTEC["train/good/001.png"]]
    assert names(read_side(root / "test" / "hole" / "000.png", "test")) == ([], ["000.png"])
    for missing in (tmp_path / "nowhere", root / "license.txt"):
        with pytest.raises(DatasetError):
            read_side(missing, "test")
