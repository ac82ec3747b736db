"""The few-shot protocol: nested choices, one forward pass per image, and the metrics of the detector itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.baselines import BASELINES, baselines
from lake_core.config import LakeConfig
from lake_core.data.datasets import read_folder
from lake_core.data.folders import index_folder
from lake_core.data.images import quarter_turns, read_image
from lake_core.detector.lake import Lake
from lake_core.evaluation import tasks
from lake_core.evaluation.protocol import METHODS, METRICS, FewShotProtocol, choose_normals
from lake_core.evaluation.runner import LocalEngine, evaluate
from lake_core.metrics.image_metrics import auroc
from lake_core.types import HookPoint
from tests.core.evaluation.documents import evaluated, one, plain
from tests.core.stains import N_BAD, N_GOOD, N_NORMAL, write_category
from tests.core.tiny import OpenTiny


def test_an_obvious_stain_is_found_and_located(document: dict[str, Any]) -> None:
    row = one(document["results"], category="red_stain", shots=3, seed=0, method="lake")
    assert row["image_auroc"] == 1.0
    assert row["pixel_auroc"] > 0.9
    assert row["pixel_aupro"] > 0.5


def test_metrics_are_those_of_the_detector_itself(
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


def test_scores_of_a_baseline_are_its_own(stained: list[Path], small_cnn: Backbone, document: dict[str, Any]) -> None:
    normals = [read_image(entry.path) for entry in choose_normals(index_folder(stained[0]), seed=1)[:3]]
    tests = [example.image for example in read_folder(stained[0]).tests]
    store = FeatureStore(small_cnn)
    for name in BASELINES:
        baseline = baselines()[name](small_cnn, LakeConfig(object_name="red stain", seed=1)).fit(store, normals)
        expected = baseline.score_images(store, tests).scores.tolist()
        for image, score in zip(tests, expected, strict=True):
            row = one(document["scores"], category="red_stain", shots=3, seed=1, method=name, path=image.name)
            assert row["score"] == pytest.approx(score, rel=1e-3)


def test_turned_normal_images_are_learned_by_those_whose_papers_do_so(stained: list[Path], small_cnn: Backbone) -> None:
    methods = ("patchcore", "anomalydino", "subspacead")
    protocol = FewShotProtocol((2,), (0,), methods, pixel=False, turn_normals=True)
    found = evaluate(stained[:1], small_cnn, LakeConfig(), protocol)
    normals = [read_image(entry.path) for entry in choose_normals(index_folder(stained[0]), seed=0)[:2]]
    turned = [one for image in normals for one in quarter_turns(image)]
    tests = [example.image for example in read_folder(stained[0]).tests]
    store, rows = FeatureStore(small_cnn), found.rows("scores")
    for name in methods:
        baseline = baselines()[name](small_cnn, LakeConfig())
        baseline.fit(store, normals if name == "patchcore" else normals + turned)
        scores = dict(zip([image.name for image in tests], baseline.score_images(store, tests).scores, strict=True))
        own = [row for row in rows if row["method"] == name]
        assert len(own) == len(tests)
        for row in own:
            assert row["score"] == pytest.approx(float(scores[str(row["path"])]), rel=1e-3)


def test_a_baseline_alone_reads_what_it_needs_and_no_more(
    stained: list[Path], small_cnn: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[HookPoint] = set()
    forward = Backbone.forward

    def watched(self: Backbone, pixels: torch.Tensor, hook_points: Any, *args: Any, **kwargs: Any) -> Any:
        asked.update(hook_points)
        return forward(self, pixels, hook_points, *args, **kwargs)

    monkeypatch.setattr(Backbone, "forward", watched)
    found = evaluated(stained[:1], small_cnn, shots=(2,), seeds=(0, 1), methods=("patchcore",), pixel=False)
    assert asked == {small_cnn.hook_point(15, "mlp_hidden")}
    assert all(row["image_auroc"] > 0.9 and row["seconds"] > 0 for row in found["results"])


def test_a_baseline_that_the_backbone_cannot_serve_gives_no_scores_and_says_why(
    stained: list[Path], open_tiny: OpenTiny
) -> None:
    backbone = open_tiny("native-vit-attention-pool")
    found = evaluated(stained[:1], backbone, shots=(1,), seeds=(0,), methods=("winclip", "subspacead"))
    without, with_scores = found["results"]
    assert (without["method"], without["seconds"]) == ("winclip", 0)
    assert [without[metric] for metric in METRICS] == [None] * len(METRICS)
    assert [metric for metric in METRICS if with_scores[metric] is None] == ["covered_auroc"]
    assert {row["method"] for row in found["scores"]} == {"subspacead"}
    alone = evaluated(stained[:1], backbone, shots=(1,), seeds=(0,), methods=("winclip",))
    assert alone["results"] == [without]
    assert found["problems"] == [
        f"red_stain: winclip gives no scores with {backbone.spec}: it has no patch directions in the joint space."
    ]


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


def test_the_text_alone_depends_on_no_normal_image(document: dict[str, Any]) -> None:
    for category, has_masks in (("red_stain", True), ("unmasked", False)):
        rows = [row for row in document["results"] if (row["category"], row["method"]) == (category, "text")]
        assert len(rows) == 4
        assert len({tuple(row[metric] for metric in METRICS) for row in rows}) == 1
        assert (rows[0]["pixel_auroc"] is not None) == has_masks


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
    evaluated(
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
    quick = evaluated(
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
    assert evaluated([btad], small_cnn, **asked)["object_names"] == {"01": "object"}


def test_a_given_object_name_is_used(stained: list[Path], small_cnn: Backbone) -> None:
    protocol = FewShotProtocol(shots=(1,), seeds=(0,), methods=("text",), pixel=False)
    names = {"unmasked": "plate"}
    named = evaluate(stained, small_cnn, LakeConfig(object_name="tile"), protocol, object_names=names)
    assert named.object_names == {"red_stain": "tile", "unmasked": "plate"}


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
    found = evaluated([folder], small_cnn, shots=(N_NORMAL,), seeds=(0,), methods=("visual",))
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
    evaluated(stained[:1], small_cnn, shots=(N_NORMAL,), seeds=(0,), methods=("lake",))
    hook_points = Lake(small_cnn, LakeConfig()).hook_points
    assert [store.n_bytes for store in stores] == [N_NORMAL * stores[0].bytes_per_image(hook_points)]


def test_the_size_of_batches_changes_nothing_but_rounding(
    stained: list[Path], small_cnn: Backbone, document: dict[str, Any]
) -> None:
    protocol = FewShotProtocol((1, 3), (0, 1), METHODS)
    found = plain(evaluate(stained, LocalEngine(small_cnn, batch_size=7), LakeConfig(top_k=20), protocol))
    for row, expected in zip(found["results"], document["results"], strict=True):
        for metric in METRICS:
            assert row[metric] == pytest.approx(expected[metric], abs=1e-3)
