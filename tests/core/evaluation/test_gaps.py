"""What cannot be evaluated is refused, or left out and told: unreadable images, unusable masks, one class."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lake_core.backbones.backbone import Backbone
from lake_core.errors import ConfigError, DatasetError
from lake_core.evaluation.protocol import METRICS
from tests.core.evaluation.documents import evaluated, without_time
from tests.core.stains import N_BAD, N_GOOD, N_NORMAL, SIDE, surface, write_category


def test_images_that_cannot_be_read_are_left_out_and_told(tmp_path: Path, small_cnn: Backbone) -> None:
    folder = write_category(tmp_path / "set", 0, True)
    (folder / "test/stain/000.png").write_bytes(b"no image")
    for name in ("000", "001"):
        (folder / f"train/good/{name}.png").write_bytes(b"no image")
    found = evaluated([folder], small_cnn, shots=(3,), seeds=(0, 1), methods=("lake",))
    assert {row["n_test"] for row in found["results"]} == {N_GOOD + N_BAD - 1}
    assert sum("000.png" in problem for problem in found["problems"]) == 2
    assert all(len(row["names"]) == 3 for row in found["normals"])
    with pytest.raises(DatasetError, match="only 3 different"):
        evaluated([folder], small_cnn, shots=(4,), seeds=(0,), methods=("lake",))


def test_a_mask_of_another_size_is_fitted_and_one_of_another_shape_told(tmp_path: Path, small_cnn: Backbone) -> None:
    folder = write_category(tmp_path / "set", 0, True)
    options: dict[str, Any] = {"shots": (2,), "seeds": (0,), "methods": ("lake",)}
    before = evaluated([folder], small_cnn, **options)["results"][0]
    masks = folder / "ground_truth/stain"
    for path in sorted(masks.iterdir()):
        with Image.open(path) as drawn:
            drawn.resize((2 * SIDE, 2 * SIDE), Image.Resampling.NEAREST).save(path)
    assert without_time(evaluated([folder], small_cnn, **options)["results"][0]) == without_time(before)
    Image.fromarray(np.zeros((SIDE, 2 * SIDE), np.uint8)).save(masks / "000_mask.png")
    found = evaluated([folder], small_cnn, **options)
    assert found["problems"] == [
        "set: test/stain/000.png is compared without its mask: ground_truth/stain/000_mask.png is "
        "192 x 96 pixels, another aspect than its image of 96 x 96: use the mask that was drawn on this image.",
        "set: 1 of 5 defective images have no usable mask: what needs masks leaves them out.",
    ]
    Image.new("L", (SIDE, SIDE)).save(masks / "001_mask.png")
    problems = evaluated([folder], small_cnn, **options)["problems"]
    assert problems[2:] == ["set: 1 of 5 defective images have an empty mask: all their pixels count as good."]
    row = found["results"][0]
    assert (row["n_test"], row["image_auroc"]) == (N_GOOD + N_BAD, before["image_auroc"])
    assert row["pixel_auroc"] != before["pixel_auroc"]


def test_an_empty_folder_and_unreadable_tests_are_told(tmp_path: Path, small_cnn: Backbone) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no images"):
        evaluated([tmp_path / "empty"], small_cnn)
    folder = write_category(tmp_path / "set", 0, False)
    for path in (folder / "test").rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DatasetError, match="None of the 9 test images of set can be read"):
        evaluated([folder], small_cnn, shots=(1,), seeds=(0,), methods=("text",))


def test_one_class_gives_null_metrics(tmp_path: Path, small_cnn: Backbone) -> None:
    folder = write_category(tmp_path / "set", 0, True)
    for path in (folder / "test/good").iterdir():
        path.unlink()
    found = evaluated([folder], small_cnn, shots=(1,), seeds=(0,), methods=("lake",))
    row = found["results"][0]
    assert [row[metric] for metric in METRICS[:3]] == [None] * 3
    assert row["pixel_auroc"] > 0.5
    summary = found["summary"][0]
    assert summary["image_auroc_low"] is None
    assert summary["pixel_auroc_low"] <= summary["pixel_auroc_mean"] <= summary["pixel_auroc_high"]
    assert found["problems"] == ["set: all 5 test images are defective: AUROC, AP and F1 need both labels."]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"shots": ()}, ConfigError, "shots"),
        ({"shots": (0,)}, ConfigError, "at least 1"),
        ({"seeds": ()}, ConfigError, "seeds"),
        ({"methods": ("magic",)}, ConfigError, "magic"),
        ({"shots": (N_NORMAL + 1,)}, DatasetError, "red_stain has 5 normal images and 6 shots"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_network_runs(
    stained: list[Path],
    small_cnn: Backbone,
    options: dict[str, Any],
    error: type[Exception],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n_forwards = 0
    forward = small_cnn.forward

    def counted(*args: Any, **others: Any) -> Any:
        nonlocal n_forwards
        n_forwards += 1
        return forward(*args, **others)

    monkeypatch.setattr(small_cnn, "forward", counted)
    with pytest.raises(error, match=words):
        evaluated(stained, small_cnn, **options)
    assert n_forwards == 0
    evaluated(stained, small_cnn, shots=(1,), seeds=(0,), methods=("visual",), pixel=False)
    assert n_forwards > 0


def test_a_folder_without_labelled_tests_is_refused(tmp_path: Path, small_cnn: Backbone) -> None:
    (tmp_path / "set/train/good").mkdir(parents=True)
    Image.fromarray(surface(0)).save(tmp_path / "set/train/good/a.png")
    with pytest.raises(DatasetError, match="no labelled test image"):
        evaluated([tmp_path / "set"], small_cnn, shots=(1,))
    with pytest.raises(DatasetError, match="no data set"):
        evaluated([], small_cnn)
