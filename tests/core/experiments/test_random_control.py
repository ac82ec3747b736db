"""The statistics of the random control: ranks, intervals, and how often there is a verdict, against brute force."""

import numpy as np
import pytest

from lake_core.experiments.controls import RandomControl
from lake_core.findings.neurons import RandomControlFinding
from lake_core.metrics.bootstrap import Interval, times_drawn


def test_a_random_selection_has_each_rank_equally_often() -> None:
    values = np.random.default_rng(0).random(100)
    found = [RandomControl(own, np.delete(values, i), "auroc").p_value for i, own in enumerate(values)]
    assert np.bincount(np.round(50 * np.array(found)).astype(int), minlength=51).tolist() == [0, *[2] * 50]
    assert RandomControl(0.7, np.full(9, 0.7), "auroc").p_value == 1


def simulated(rng: np.random.Generator, n_draws: int, advantage: float = 0.0) -> RandomControl:
    """Selections whose scores share most of what makes an image anomalous; the first may be better than the others."""
    labels = np.arange(24) < 12
    image = 0.8 * labels + 0.6 * rng.standard_normal(24)
    own, *drawn = image + 0.5 * rng.standard_normal((n_draws + 1, 24))
    return RandomControl.of_scores(labels.tolist(), own + advantage * labels, drawn)


def test_a_random_selection_hardly_ever_gets_a_verdict_and_a_better_one_often_does() -> None:
    """docs/results.md has the same for real images."""
    rng = np.random.default_rng(0)

    def verdicts(advantage: float) -> list[str]:
        found = [simulated(rng, 99, advantage).finding for _ in range(100)]
        return [one.verdict for one in found if one is not None]

    by_chance, with_advantage = verdicts(0), verdicts(1.5)
    assert by_chance.count("no difference") >= 95
    assert len(by_chance) == 100
    assert with_advantage.count("better") >= 50
    assert with_advantage.count("worse") == 0


def test_a_verdict_needs_both_a_rare_rank_and_images_enough() -> None:
    for p_value, low, high, is_high, verdict in [
        (0.02, 0.01, 0.2, True, "better"),
        (0.02, -0.2, -0.01, False, "worse"),
        (0.02, -0.01, 0.2, True, "no difference"),
        (0.06, 0.01, 0.2, True, "no difference"),
        (0.02, 0.0, 0.0, True, "no difference"),
        (0.02, 0.01, 0.2, False, "no difference"),
        (0.02, -0.2, -0.01, True, "no difference"),
    ]:
        assert RandomControlFinding(99, (low + high) / 2, low, high, p_value, is_high).verdict == verdict


def test_a_selection_that_nearly_all_random_ones_beat_is_not_called_better_for_one_that_fails() -> None:
    labels = np.arange(80) >= 40
    perfect = np.arange(80.0)
    own = perfect.copy()
    own[[39, 40]] = own[[40, 39]]
    control = RandomControl.of_scores(list(labels), own, [perfect] * 98 + [np.zeros(80)])
    assert control.n_as_good == 98
    assert control.p_value < 0.05
    assert control.difference > 0
    assert control.finding is not None
    assert control.finding.verdict == "no difference"


def test_the_interval_is_of_the_difference_on_the_same_images() -> None:
    rng = np.random.default_rng(3)
    labels: list[bool | None] = [False, None, *[False] * 5, *[True] * 6]
    own, drawn = rng.random(13), rng.random((4, 13))
    control = RandomControl.of_scores(labels, own, list(drawn))
    known = [i for i, label in enumerate(labels) if label is not None]
    truth = np.array([bool(labels[i]) for i in known])
    times = times_drawn(truth)

    def area(scores: np.ndarray, n_times: np.ndarray) -> float:
        good, bad = (np.repeat(scores[known][side], n_times[side]) for side in (~truth, truth))
        return float(np.mean((bad[:, None] > good) + 0.5 * (bad[:, None] == good)))

    differences = [area(own, n) - np.mean([area(one, n) for one in drawn]) for n in times]
    assert control.bounds == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))
    assert control.difference == pytest.approx(
        area(own, np.ones(12, int)) - np.mean([area(one, np.ones(12, int)) for one in drawn])
    )
    with pytest.raises(ValueError, match="one class"):
        RandomControl.of_scores([True, True], own[:2], [own[:2]])


def test_its_representation_says_the_verdict() -> None:
    draws = np.full(99, 0.5)
    clear = RandomControl(0.9, draws, "auroc", Interval(0.3, 0.5))
    assert repr(clear) == (
        "RandomControl(auroc: selected=0.9000, mean of 99 draws=0.5000, verdict='better', p_value=0.02)"
    )
    assert repr(RandomControl(0.9, draws, "gap")) == "RandomControl(gap: selected=0.9000, mean of 99 draws=0.5000)"
