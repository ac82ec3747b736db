"""Metrics agree with brute force on small cases, and say None where there is nothing to separate."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from lake_core.metrics.image_metrics import auroc, average_precision, best_f1, f1_max
from tests.core.scores import brute_auroc, tied_case


def brute_f1(labels: np.ndarray, scores: np.ndarray) -> float:
    found = []
    for threshold in np.unique(scores):
        flagged = scores >= threshold
        found.append(2 * (flagged & labels).sum() / (flagged.sum() + labels.sum()))
    return float(max(found))


def brute_average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    total, recall_before = 0.0, 0.0
    for threshold in np.unique(scores)[::-1]:
        flagged = scores >= threshold
        recall = (flagged & labels).sum() / labels.sum()
        total += (recall - recall_before) * (flagged & labels).sum() / flagged.sum()
        recall_before = recall
    return float(total)


@pytest.mark.parametrize("seed", range(5))
def test_image_metrics_agree_with_brute_force(seed: int) -> None:
    labels, scores = tied_case(seed)
    assert auroc(labels, scores) == pytest.approx(brute_auroc(labels, scores))
    assert f1_max(labels, scores) == pytest.approx(brute_f1(labels, scores))
    assert average_precision(labels, scores) == pytest.approx(brute_average_precision(labels, scores))


@pytest.mark.parametrize("seed", range(3))
def test_metrics_are_those_of_scikit_learn(seed: int) -> None:
    labels, scores = tied_case(seed, 200)
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


def test_best_f1_comes_with_a_threshold_between_two_scores() -> None:
    best = best_f1([False, False, True, True], [0.1, 0.4, 0.4, 0.9])
    assert best is not None
    assert best.threshold == pytest.approx(0.25)
    assert best.f1 == pytest.approx(2 * 2 / (3 + 2))


@pytest.mark.parametrize("labels", [[True, True], [False, False], []])
def test_one_class_gives_none_never_zero(labels: list[bool]) -> None:
    scores = [0.5] * len(labels)
    for metric in (auroc, average_precision, best_f1, f1_max):
        assert metric(labels, scores) is None


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        auroc([True, False], [np.nan, 1.0])
    with pytest.raises(ValueError, match="one length"):
        auroc([True, False, True], [0.0, 1.0])
