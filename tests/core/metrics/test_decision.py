"""The decision rule: greater than the threshold, and thresholds that lie between scores."""

import numpy as np
import pytest

from lake_core.metrics.decision import Counts, counts, is_anomalous, thresholds_below
from lake_core.metrics.image_metrics import best_f1
from tests.core.scores import tied_case


def test_a_score_on_the_threshold_is_normal() -> None:
    assert is_anomalous(1.0, 1.0) is False
    assert is_anomalous(np.nextafter(1.0, 2.0), 1.0) is True
    assert is_anomalous([0.5, 1.0, 1.5], 1.0).tolist() == [False, False, True]


def test_scores_in_single_precision_are_not_rounded_onto_the_threshold() -> None:
    score = np.float32(0.1)  # 0.10000000149, which a comparison in single precision takes for 0.1
    assert is_anomalous(np.array([score]), 0.1).tolist() == [True]


def test_counts_of_scores_on_the_threshold() -> None:
    labels, scores = [True, True, False, False, False], [3.0, 1.0, 2.0, 0.5, 1.0]
    on_it = Counts(true_positives=1, false_negatives=1, false_positives=1, true_negatives=2)
    below_it = Counts(true_positives=2, false_negatives=0, false_positives=2, true_negatives=1)
    assert counts(labels, scores, 1.0) == on_it
    assert counts(labels, scores, 0.9) == below_it


def test_a_threshold_lies_halfway_to_the_next_lower_score() -> None:
    assert thresholds_below([4.0, 1.0, 2.0, 2.0], [4.0, 2.0]).tolist() == [3.0, 1.5]


@pytest.mark.parametrize("scores", [[0.25, 0.75], [0.0, 1e-300], [-3.0, -3.0], [1e300, 2e300], [5.0]])
def test_below_the_lowest_score_all_are_anomalous(scores: list[float]) -> None:
    threshold = float(thresholds_below(scores, [min(scores)])[0])
    assert np.isfinite(threshold)
    assert is_anomalous(scores, threshold).all()


@pytest.mark.parametrize("start", [1.0, np.nextafter(1.0, 2.0), 0.1, -7.3, 1e-310])
def test_neighbouring_numbers_are_still_told_apart(start: float) -> None:
    pair = np.array([start, np.nextafter(start, np.inf)])
    assert is_anomalous(pair, float(thresholds_below(pair, pair[1:])[0])).tolist() == [False, True]


@pytest.mark.parametrize("seed", range(5))
def test_decisions_at_the_best_threshold_give_the_best_f1(seed: int) -> None:
    labels, scores = tied_case(seed)
    best = best_f1(labels, scores)
    assert best is not None
    assert best.threshold not in scores
    found = counts(labels, scores, best.threshold)
    n_right, n_wrong = found.true_positives, found.false_negatives + found.false_positives
    assert best.f1 == pytest.approx(2 * n_right / (2 * n_right + n_wrong))
