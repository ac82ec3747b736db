"""Newcombe's interval of an AUROC: its equation, and how often it holds the true value."""

import numpy as np
import pytest
from scipy.stats import norm

from lake_core.metrics.auroc_interval import auroc_interval, newcombe
from lake_core.metrics.bootstrap import Resampling, interval
from lake_core.metrics.image_metrics import auroc


@pytest.mark.parametrize("labels", [[True, True], [False, False], []])
def test_one_class_has_no_interval(labels: list[bool]) -> None:
    assert auroc_interval(labels, [0.5] * len(labels)) is None


@pytest.mark.parametrize(("n_defective", "n_good"), [(12, 8), (5, 40), (1, 1)])
@pytest.mark.parametrize("value", [0.1, 0.5, 0.9, 0.99])
def test_the_bounds_are_as_many_standard_errors_away_as_the_level_says(
    value: float, n_defective: int, n_good: int
) -> None:
    """The standard error is that of Hanley and McNeil at the bound, with the mean number of images in both places."""
    for level in (0.8, 0.95):
        for true in newcombe(value, n_defective, n_good, level):
            n = (n_defective + n_good) / 2
            q1, q2 = true / (2 - true), 2 * true**2 / (1 + true)
            variance = true * (1 - true) + (n - 1) * (q1 - true**2) + (n - 1) * (q2 - true**2)
            error = np.sqrt(variance / (n_defective * n_good))
            assert abs(value - true) == pytest.approx(norm.ppf((1 + level) / 2) * error, rel=1e-6)


def test_it_holds_the_auroc_narrows_with_more_images_and_is_no_point_at_1() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for n in (20, 320):
        labels = np.arange(n) % 2 == 0
        scores = rng.normal(size=n) + labels
        found, value = auroc_interval(labels, scores), auroc(labels, scores)
        assert found is not None
        assert value is not None
        assert found.low < value < found.high
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 2
    perfect = auroc_interval([False, False, True, True], [0.1, 0.2, 0.8, 0.9])
    assert perfect is not None
    assert perfect.low < 0.6
    assert perfect.high == 1
    assert newcombe(0, 12, 8) == pytest.approx((0, 1 - newcombe(1, 12, 8).low))


@pytest.mark.parametrize("true", [0.8, 0.95, 0.99])
def test_it_holds_the_true_value_as_often_as_it_says_where_a_bootstrap_does_not(true: float) -> None:
    """Scores of two normal distributions, 12 defective and 8 good images."""
    rng, labels = np.random.default_rng(1), np.arange(20) < 12
    resampling = Resampling.of(labels, 200)
    assert resampling is not None
    held = np.zeros(2)
    for _ in range(300):
        scores = rng.normal(size=20) + np.sqrt(2) * norm.ppf(true) * labels
        found = auroc_interval(labels, scores)
        assert found is not None
        for method, (low, high) in enumerate((found, interval(resampling.draws(scores).auroc))):
            held[method] += low <= true <= high
    assert held[0] >= 0.93 * 300
    assert true < 0.9 or held[1] < 0.85 * 300
