"""The few-shot protocol: nested choices, one forward pass per image, honest gaps, figures that can be recomputed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig
from lake_core.data.datasets import read_folder
from lake_core.data.folders import index_folder
from lake_core.detector.lake import Lake
from lake_core.errors import ConfigError, DatasetError
from lake_core.evaluation import tasks
from lake_core.evaluation.protocol import METHODS, METRICS, choose_normals
from lake_core.evaluation.runner import evaluate
from lake_core.metrics.image_metrics import auroc
from tests.core.stains import N_BAD, N_GOOD, N_NORMAL, SIDE, surface, write_category


@pytest.fixture(scope="module")
def document(stained: list[Path], small_cnn: Backbone) -> dict[str, Any]:
    return evaluate(stained, small_cnn, LakeConfig(top_k=20), shots=(1, 3), seeds=(0, 1))


def one(rows: list[dict[str, Any]], **wanted: object) -> dict[str, Any]:
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    assert len(found) == 1
    return found[0]


def test_the_document_is_complete_and_plain(document: dict[str, Any]) -> None:
    assert json.loads(json.dumps(document, allow_nan=False)) == json.loads(json.dumps(document))
    assert document["schema"] == 1
    assert document["model"] == "lake-cnn"
    assert document["input_size"] == [128, 128]
    assert LakeConfig.from_dict(document["config"]).top_k == 20
    assert document["object_names"] == {"red_stain": "red stain", "unmasked": "unmasked"}
    assert document["problems"] == [
        "unmasked: 5 of 5 defective images have no usable mask: pixel metrics leave them out."
    ]
    assert "torch" in document["environment"]
    assert document["environment"]["device"] == "cpu"
    assert len(document["results"]) == 2 * 2 * 2 * len(METHODS)
    assert len(document["summary"]) == 3 * 2 * len(METHODS)
    assert {row["n_test"] for row in document["results"]} == {N_GOOD + N_BAD}
    assert {row["n_defective"] for row in document["results"]} == {N_BAD}
    assert all(row["n_normal"] == row["shots"] and row["seconds"] > 0 for row in document["results"])


def test_an_obvious_stain_is_found_and_located(document: dict[str, Any]) -> None:
    row = one(document["results"], category="red_stain", shots=3, seed=0, method="lake")
    assert row["image_auroc"] == 1.0
    assert row["pixel_auroc"] > 0.9
    assert row["pixel_aupro"] > 0.5


def test_figures_are_those_of_the_detector_itself(
    stained: list[Path], small_cnn: Backbone, document: dict[str, Any]
) -> None:
    entries = index_folder(stained[1])
    normals = [entry.path for entry in choose_normals(entries, seed=1)[:3]]
    tests = read_folder(stained[1]).tests
    labels = [example.label == "defective" for example in tests]
    store = FeatureStore(small_cnn)
    own = LakeConfig(top_k=20, object_name="unmasked")
    for method, config in (
        ("lake", own),
        ("all", replace(own, criterion="all")),
        ("visual", replace(own, fusion_weight=0.0)),
        ("text", replace(own, fusion_weight=1.0)),
    ):
        lake = Lake(small_cnn, config, store).fit(normals)
        expected = auroc(labels, [lake.explain(example.image).score for example in tests])
        row = one(document["results"], category="unmasked", shots=3, seed=1, method=method)
        assert row["image_auroc"] == pytest.approx(expected, abs=1e-6)


def test_the_scores_of_each_image_give_the_figures(
    stained: list[Path], small_cnn: Backbone, document: dict[str, Any]
) -> None:
    found = evaluate(stained[:1], small_cnn, LakeConfig(top_k=20), shots=(1, 3), seeds=(0, 1), with_scores=True)
    assert "scores" not in document
    assert found["results"][0].keys() == document["results"][0].keys()
    assert len(found["scores"]) == 2 * 2 * len(METHODS) * (N_GOOD + N_BAD)
    for row in found["results"]:
        keys = ("category", "shots", "seed", "method")
        own = [score for score in found["scores"] if all(score[key] == row[key] for key in keys)]
        assert all((stained[0] / score["path"]).is_file() for score in own)
        assert [score["label"] == "defective" for score in own] == ["stain" in score["path"] for score in own]
        if row["method"] != "random":  # whose figure is the mean of those of its draws
            expected = auroc([score["label"] == "defective" for score in own], [score["score"] for score in own])
            assert row["image_auroc"] == pytest.approx(expected, abs=1e-6)


def test_choices_of_normal_images_are_nested_seeded_and_told(document: dict[str, Any]) -> None:
    for seed in (0, 1):
        few = one(document["normals"], category="red_stain", shots=1, seed=seed)["names"]
        more = one(document["normals"], category="red_stain", shots=3, seed=seed)["names"]
        assert more[:1] == few
        assert len(set(more)) == 3
        assert all(name.startswith("train/good/") for name in more)
    assert (
        one(document["normals"], category="red_stain", shots=3, seed=0)["names"]
        != one(document["normals"], category="red_stain", shots=3, seed=1)["names"]
    )


def test_missing_masks_give_null(document: dict[str, Any]) -> None:
    for row in document["results"]:
        assert (row["pixel_auroc"] is None) == (row["category"] == "unmasked")
    mean = one(document["summary"], category="mean", shots=3, method="lake")
    assert mean["pixel_auroc_mean"] is None
    assert mean["image_auroc_mean"] is not None


def test_the_text_alone_depends_on_no_normal_image(document: dict[str, Any]) -> None:
    for category, has_masks in (("red_stain", True), ("unmasked", False)):
        rows = [row for row in document["results"] if (row["category"], row["method"]) == (category, "text")]
        assert len(rows) == 4
        assert len({tuple(row[metric] for metric in METRICS) for row in rows}) == 1
        assert (rows[0]["pixel_auroc"] is not None) == has_masks


def test_the_summary_is_the_mean_over_seeds_then_over_categories(document: dict[str, Any]) -> None:
    by_category = []
    for category in ("red_stain", "unmasked"):
        own = [
            row["image_auroc"]
            for row in document["results"]
            if (row["category"], row["shots"], row["method"]) == (category, 1, "text")
        ]
        summary = one(document["summary"], category=category, shots=1, method="text")
        assert summary["image_auroc_mean"] == pytest.approx(np.mean(own), abs=1e-6)
        assert summary["image_auroc_std"] == pytest.approx(np.std(own), abs=1e-6)
        for metric in METRICS[:3] if category == "unmasked" else METRICS:
            assert summary[f"{metric}_low"] <= summary[f"{metric}_mean"] <= summary[f"{metric}_high"]
        by_category.append(own)
    mean = one(document["summary"], category="mean", shots=1, method="text")
    assert (mean["pixel_aupro_low"], mean["pixel_aupro_high"]) == (None, None)
    assert mean["image_auroc_mean"] == pytest.approx(np.mean(by_category), abs=1e-6)
    assert mean["image_auroc_std"] == pytest.approx(np.std(np.mean(by_category, axis=0)), abs=1e-6)


def test_the_network_runs_once_per_image(
    stained: list[Path], small_cnn: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_forwards: list[int] = []
    forward = Backbone.forward

    def watched(self: Backbone, pixels: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        n_forwards.append(len(pixels))
        return forward(self, pixels, *args, **kwargs)

    monkeypatch.setattr(Backbone, "forward", watched)
    seen: list[tuple[str, int, int]] = []
    evaluate(
        stained[:1],
        small_cnn,
        shots=(1, 4),
        seeds=(0, 1, 2),
        pixel=False,
        on_progress=lambda *progress: seen.append(progress),
    )
    assert sum(n_forwards) == N_NORMAL + N_GOOD + N_BAD
    assert seen[-1] == ("red_stain", N_NORMAL + N_GOOD + N_BAD, N_NORMAL + N_GOOD + N_BAD)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_without_pixel_metrics_the_image_metrics_stay_the_same(
    stained: list[Path], small_cnn: Backbone, document: dict[str, Any]
) -> None:
    quick = evaluate(
        stained[:1],
        small_cnn,
        LakeConfig(top_k=20),
        shots=(3,),
        seeds=(1,),
        methods=("random", "visual"),
        pixel=False,
    )
    for row in quick["results"]:
        full = one(document["results"], category="red_stain", shots=3, seed=1, method=row["method"])
        assert {k: v for k, v in row.items() if k.startswith("image")} == {
            k: v for k, v in full.items() if k.startswith("image")
        }
        assert row["pixel_auroc"] is None


def test_a_category_that_is_a_number_gives_no_object_name(tmp_path: Path, small_cnn: Backbone) -> None:
    btad = write_category(tmp_path / "01", 0, False)
    asked: dict[str, Any] = {"shots": (1,), "seeds": (0,), "methods": ("text",), "pixel": False}
    assert evaluate([btad], small_cnn, **asked)["object_names"] == {"01": "object"}


def test_a_given_object_name_is_used(stained: list[Path], small_cnn: Backbone) -> None:
    options: dict[str, Any] = {"shots": (1,), "seeds": (0,), "methods": ("text",), "pixel": False}
    named = evaluate(stained, small_cnn, LakeConfig(object_name="tile"), object_names={"unmasked": "plate"}, **options)
    assert named["object_names"] == {"red_stain": "tile", "unmasked": "plate"}


def test_images_that_cannot_be_read_are_left_out_and_told(tmp_path: Path, small_cnn: Backbone) -> None:
    folder = write_category(tmp_path / "set", 0, True)
    (folder / "test/stain/000.png").write_bytes(b"no image")
    for name in ("000", "001"):
        (folder / f"train/good/{name}.png").write_bytes(b"no image")
    found = evaluate([folder], small_cnn, shots=(3,), seeds=(0, 1), methods=("lake",))
    assert {row["n_test"] for row in found["results"]} == {N_GOOD + N_BAD - 1}
    assert sum("000.png" in problem for problem in found["problems"]) == 2
    assert all(len(row["names"]) == 3 for row in found["normals"])
    with pytest.raises(DatasetError, match="only 3 different"):
        evaluate([folder], small_cnn, shots=(4,), seeds=(0,), methods=("lake",))


def test_a_mask_of_another_size_is_fitted_and_one_of_another_shape_told(tmp_path: Path, small_cnn: Backbone) -> None:
    folder = write_category(tmp_path / "set", 0, True)
    options: dict[str, Any] = {"shots": (2,), "seeds": (0,), "methods": ("lake",)}
    before = evaluate([folder], small_cnn, **options)["results"][0]
    masks = folder / "ground_truth/stain"
    for path in sorted(masks.iterdir()):
        with Image.open(path) as drawn:
            drawn.resize((2 * SIDE, 2 * SIDE), Image.Resampling.NEAREST).save(path)
    assert without_time(evaluate([folder], small_cnn, **options)["results"][0]) == without_time(before)
    Image.fromarray(np.zeros((SIDE, 2 * SIDE), np.uint8)).save(masks / "000_mask.png")
    found = evaluate([folder], small_cnn, **options)
    assert found["problems"] == [
        "set: test/stain/000.png is compared without its mask: ground_truth/stain/000_mask.png is "
        "192 x 96 pixels, another aspect than its image of 96 x 96: use the mask that was drawn on this image.",
        "set: 1 of 5 defective images have no usable mask: pixel metrics leave them out.",
    ]
    Image.new("L", (SIDE, SIDE)).save(masks / "001_mask.png")
    said = evaluate([folder], small_cnn, **options)["problems"]
    assert said[2:] == ["set: 1 of 5 defective images have an empty mask: all their pixels count as good."]
    row = found["results"][0]
    assert (row["n_test"], row["image_auroc"]) == (N_GOOD + N_BAD, before["image_auroc"])
    assert row["pixel_auroc"] != before["pixel_auroc"]


def without_time(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "seconds"}


def test_an_empty_folder_and_unreadable_tests_are_told(tmp_path: Path, small_cnn: Backbone) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no images"):
        evaluate([tmp_path / "empty"], small_cnn)
    folder = write_category(tmp_path / "set", 0, False)
    for path in (folder / "test").rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DatasetError, match="None of the 9 test images of set can be read"):
        evaluate([folder], small_cnn, shots=(1,), seeds=(0,), methods=("text",))


def test_a_test_image_that_was_learned_from_runs_once(
    tmp_path: Path, small_cnn: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_category(tmp_path / "set", 0, False)
    (folder / "test/good/copy.png").write_bytes((folder / "train/good/000.png").read_bytes())
    n_forwards: list[int] = []
    forward = Backbone.forward

    def watched(self: Backbone, pixels: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        n_forwards.append(len(pixels))
        return forward(self, pixels, *args, **kwargs)

    monkeypatch.setattr(Backbone, "forward", watched)
    found = evaluate([folder], small_cnn, shots=(N_NORMAL,), seeds=(0,), methods=("visual",), with_scores=True)
    assert sum(n_forwards) == N_NORMAL + N_GOOD + N_BAD
    assert one(found["scores"], path="test/good/copy.png")["score"] == pytest.approx(0, abs=1e-4)
    assert "set: test/good/copy.png is also among the normal images" in found["problems"][0]


def test_activations_of_test_images_are_let_go(
    stained: list[Path], small_cnn: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores: list[FeatureStore] = []

    class Watched(FeatureStore):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            stores.append(self)

    monkeypatch.setattr(tasks, "FeatureStore", Watched)
    evaluate(stained[:1], small_cnn, shots=(N_NORMAL,), seeds=(0,), methods=("lake",))
    hook_points = Lake(small_cnn, LakeConfig()).hook_points
    assert [store.n_bytes for store in stores] == [N_NORMAL * stores[0].bytes_per_image(hook_points)]


def test_the_size_of_batches_changes_nothing_but_rounding(
    stained: list[Path], small_cnn: Backbone, document: dict[str, Any]
) -> None:
    options: dict[str, Any] = {"shots": (1, 3), "seeds": (0, 1), "batch_size": 7}
    found = evaluate(stained, small_cnn, LakeConfig(top_k=20), **options)
    for row, expected in zip(found["results"], document["results"], strict=True):
        for metric in METRICS:
            assert row[metric] == pytest.approx(expected[metric], abs=1e-3)


def test_one_class_gives_null_metrics(tmp_path: Path, small_cnn: Backbone) -> None:
    folder = write_category(tmp_path / "set", 0, True)
    for path in (folder / "test/good").iterdir():
        path.unlink()
    found = evaluate([folder], small_cnn, shots=(1,), seeds=(0,), methods=("lake",))
    row = found["results"][0]
    assert [row[metric] for metric in METRICS[:3]] == [None] * 3
    assert row["pixel_auroc"] > 0.5
    summary = found["summary"][0]
    assert summary["image_auroc_low"] is None
    assert summary["pixel_auroc_low"] <= summary["pixel_auroc_mean"] <= summary["pixel_auroc_high"]
    assert found["problems"] == ["set: all 5 test images are defective: AUROC, AP and F1 need both kinds."]


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
        evaluate(stained, small_cnn, **options)
    assert n_forwards == 0
    evaluate(stained, small_cnn, shots=(1,), seeds=(0,), methods=("visual",), pixel=False)
    assert n_forwards > 0


def test_a_folder_without_labelled_tests_is_refused(tmp_path: Path, small_cnn: Backbone) -> None:
    (tmp_path / "set/train/good").mkdir(parents=True)
    Image.fromarray(surface(0)).save(tmp_path / "set/train/good/a.png")
    with pytest.raises(DatasetError, match="no labelled test image"):
        evaluate([tmp_path / "set"], small_cnn, shots=(1,))
    with pytest.raises(DatasetError, match="no data set"):
        evaluate([], small_cnn)
