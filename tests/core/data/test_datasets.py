"""Uploaded files become a data set: roles, copies, and what fits into memory."""

from pathlib import Path

import numpy as np
import pytest

from lake_core.data import datasets
from lake_core.data.datasets import Example, read_folder, read_members
from lake_core.data.images import InputImage
from tests.core.data.folders import MVTEC, names, png, write


def test_uploads_take_their_role_from_paths_or_from_the_caller() -> None:
    files = list(MVTEC.items())
    dataset = read_members(files)
    assert [len(side) for side in names(dataset)] == [2, 4]
    assert dataset.tests[0].mask is not None
    loose = [("2.png", png(2)), ("10.png", png(10)), ("dent/1.png", png(1)), ("bad/1.png", png(3))]
    as_test = read_members(loose, "test")
    assert names(as_test) == ([], ["2.png", "10.png", "bad/1.png", "dent/1.png"])
    assert [e.label for e in as_test.tests] == [None, None, "defective", None]
    as_normal = read_members(loose, "normal", name="mine")
    assert as_normal.name == "mine"
    assert len(as_normal.normals) == 4
    assert as_normal.problems == ("1 image was given as normal, but in folders named for defects: check them.",)
    everything = read_members(files, "test")
    assert len(everything.tests) == 6
    assert sum(e.label == "good" for e in everything.tests) == 3
    assert sum(e.mask is not None for e in everything.tests) == 3


def test_files_of_one_name_are_both_kept() -> None:
    dataset = read_members([("1.png", png(1)), ("1.png", png(2))], "normal")
    assert names(dataset)[0] == ["1 (2).png", "1.png"]


def test_copies_are_kept_once_per_side_and_told() -> None:
    files = [("good/a.png", png(1)), ("good/b.png", png(1)), ("good/c.png", png(2)), ("test/d.png", png(2))]
    dataset = read_members([*files, ("test/e.png", png(3)), ("test/f.png", png(3))])
    assert names(dataset) == (["good/a.png", "good/c.png"], ["test/d.png", "test/e.png"])
    assert dataset.problems == (
        "good/a.png was given 2 times, byte for byte (also as good/b.png); it is kept once.",
        "test/e.png was given 2 times, byte for byte (also as test/f.png); it is kept once.",
        "test/d.png is also among the normal images (good/c.png): its score says nothing about new images.",
    )


def test_decoded_images_stay_within_memory_and_normal_ones_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MAX_DATASET_BYTES", 2 * 32 * 24 * 3 + len(png(2) + png(3)) + 1)
    dataset = read_members(
        [("a/test/1.png", png(1)), ("b/good/1.png", png(2)), ("c/good/1.png", png(3)), ("d.png", png(4))]
    )
    assert names(dataset) == (["b/good/1.png", "c/good/1.png"], ["a/test/1.png"])
    assert dataset.problems[0].startswith("1 image was left out, because the others fill")


def test_a_label_is_one_of_two_words_or_none() -> None:
    image = InputImage("a.png", np.zeros((4, 4, 3), np.uint8), "0" * 64, (4, 4))
    assert Example(image).label is None
    with pytest.raises(ValueError, match="label is True; it must be 'good', 'defective' or None"):
        Example(image, label=True)  # type: ignore[arg-type]


def test_a_folder_may_be_named_by_a_string(tmp_path: Path) -> None:
    write(tmp_path, MVTEC)
    assert names(read_folder(str(tmp_path))) == names(read_folder(tmp_path))
