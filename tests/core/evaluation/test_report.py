"""The document of an evaluation: complete, read back as it was written, with metrics that can be recomputed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lake_core.backbones.backbone import Backbone
from lake_core.config import LakeConfig
from lake_core.evaluation.protocol import METHODS, METRICS, FewShotProtocol
from lake_core.evaluation.report import EvaluationReport
from lake_core.evaluation.run_metrics import averaged_over_seeds
from lake_core.evaluation.runner import evaluate
from lake_core.metrics.auroc_interval import newcombe
from lake_core.metrics.image_metrics import auroc
from tests.core.evaluation.documents import one, plain
from tests.core.stains import N_BAD, N_GOOD


def test_the_document_is_complete(document: dict[str, Any]) -> None:
    assert document["schema"] == 2
    assert document["model"] == "lake-cnn"
    assert document["input_size"] == [128, 128]
    assert LakeConfig.from_dict(document["config"]).top_k == 20
    assert document["object_names"] == {"red_stain": "red stain", "unmasked": "unmasked"}
    assert document["problems"] == [
        "unmasked: 5 of 5 defective images have no usable mask: what needs masks leaves them out."
    ]
    assert "torch" in document["environment"]
    assert document["environment"]["device"] == "cpu"
    assert len(document["results"]) == 2 * 2 * 2 * len(METHODS)
    assert len(document["summary"]) == 3 * 2 * len(METHODS)
    assert {row["n_test"] for row in document["results"]} == {N_GOOD + N_BAD}
    assert {row["n_defective"] for row in document["results"]} == {N_BAD}
    assert all(row["n_normal"] == row["shots"] and row["seconds"] > 0 for row in document["results"])


def test_the_scores_of_each_image_give_the_metrics(stained: list[Path], document: dict[str, Any]) -> None:
    assert len(document["scores"]) == 2 * 2 * 2 * len(METHODS) * (N_GOOD + N_BAD)
    for row in document["results"]:
        keys = ("category", "shots", "seed", "method")
        own = [score for score in document["scores"] if all(score[key] == row[key] for key in keys)]
        assert all((stained[0].parent / row["category"] / score["path"]).is_file() for score in own)
        assert [score["label"] == "defective" for score in own] == ["stain" in score["path"] for score in own]
        if row["method"] != "random":  # whose figure is the mean of those of its draws
            expected = auroc([score["label"] == "defective" for score in own], [score["score"] for score in own])
            assert row["image_auroc"] == pytest.approx(expected, abs=1e-6)


def test_the_report_is_read_back_from_its_document(report: EvaluationReport) -> None:
    again = EvaluationReport.model_validate_json(report.to_json())
    assert again == report
    assert again.config == report.config
    by_layer = report.model_copy(update={"config": replace(report.config, layers=(12, 15), top_k=(5, 20))})
    assert EvaluationReport.model_validate_json(by_layer.to_json()).config.top_k == (5, 20)
    short = report.without_scores()
    assert "scores" not in plain(short)
    assert EvaluationReport.model_validate_json(short.to_json()) == short
    with pytest.raises(ValueError, match="schema"):
        EvaluationReport.model_validate_json(report.to_json().replace('"schema": 2', '"schema": 1'))


def test_rows_are_found_by_their_keys(report: EvaluationReport, document: dict[str, Any]) -> None:
    row = report.summary_of("red_stain", 3, "random")
    expected = one(document["summary"], category="red_stain", shots=3, method="random")
    assert row.model_dump() == expected
    assert row.metrics.keys() == set(METRICS)
    for metric, spread in row.metrics.items():
        assert tuple(expected[f"{metric}_{part}"] for part in ("mean", "std", "low", "high")) == (
            spread.mean,
            spread.std,
            spread.low,
            spread.high,
        )
    assert (
        list(report.normals_of("unmasked", 3, 1))
        == one(document["normals"], category="unmasked", shots=3, seed=1)["names"]
    )
    for part in ("results", "summary", "scores"):
        assert report.rows(part) == document[part]


def test_missing_masks_give_null(document: dict[str, Any]) -> None:
    for row in document["results"]:
        assert (row["pixel_auroc"] is None) == (row["category"] == "unmasked")
    mean = one(document["summary"], category="mean", shots=3, method="lake")
    assert mean["pixel_auroc_mean"] is None
    assert mean["image_auroc_mean"] is not None


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
        assert summary["image_auroc_std"] == pytest.approx(np.std(own, ddof=1), abs=1e-6)
        for metric in METRICS[:3] if category == "unmasked" else METRICS[:6]:  # chance has no interval
            assert summary[f"{metric}_low"] <= summary[f"{metric}_mean"] <= summary[f"{metric}_high"]
        by_category.append(own)
    mean = one(document["summary"], category="mean", shots=1, method="text")
    assert (mean["pixel_aupro_low"], mean["pixel_aupro_high"]) == (None, None)
    assert mean["image_auroc_mean"] == pytest.approx(np.mean(by_category), abs=1e-6)
    assert mean["image_auroc_std"] == pytest.approx(np.std(np.mean(by_category, axis=0), ddof=1), abs=1e-6)


def test_a_single_run_has_newcombes_interval(stained: list[Path], small_cnn: Backbone) -> None:
    protocol = FewShotProtocol((1,), (0,), ("lake",), pixel=False)
    report = evaluate(stained[:1], small_cnn, LakeConfig(top_k=20), protocol)
    row = report.summary_of("red_stain", 1, "lake").metrics["image_auroc"]
    assert row.mean is not None
    assert row.std is None, "one seed has no spread"
    assert (row.low, row.high) == pytest.approx(newcombe(row.mean, N_BAD, N_GOOD), abs=1e-6)
    assert report.summary_of("mean", 1, "lake").metrics["image_auroc"] == row


def test_the_interval_of_a_mean_holds_how_seeds_differ() -> None:
    """Of two seeds, the one always right and the other always wrong, a draw takes one twice, or both."""
    draws = averaged_over_seeds(np.array([[0.0] * 4000, [1.0] * 4000]), seed=3)
    shares = [float((draws == value).mean()) for value in (0, 0.5, 1)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    alone = np.random.default_rng(0).random((1, 50))
    np.testing.assert_array_equal(averaged_over_seeds(alone, seed=3), alone[0])
