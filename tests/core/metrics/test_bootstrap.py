"""Bootstrap draws are what drawing images by hand gives, for every figure."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from lake_core.metrics import bootstrap
from lake_core.metrics.bootstrap import Resampling, times_drawn
from lake_core.metrics.image_metrics import auroc, average_precision, f1_max
from tests.core.scores import tied_case


def resampling(labels: np.ndarray, n_draws: int = 1000, seed: int = 0) -> Resampling:
    found = Resampling.of(labels, n_draws, seed)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(3))
def test_each_draw_has_the_metrics_of_the_images_that_it_takes(seed: int) -> None:
    labels, scores = tied_case(seed, 25)
    drawn = resampling(labels, 40, seed)
    found = drawn.draws(scores)
    for number, times in enumerate(drawn.times.numpy()):
        taken = np.repeat(np.arange(len(labels)), times)
        for values, metric in zip(found, (auroc, average_precision, f1_max), strict=True):
            assert values[number] == pytest.approx(metric(labels[taken], scores[taken]), abs=1e-12)
        weighted = average_precision_score(labels, scores, sample_weight=times)
        assert found[1][number] == pytest.approx(weighted, abs=1e-12)


def test_a_draw_takes_as_many_of_each_label_as_there_are() -> None:
    labels = np.arange(30) % 3 == 0
    times = times_drawn(labels, 200, seed=1)
    assert set(times[:, labels].sum(1)) == {10}
    assert set(times[:, ~labels].sum(1)) == {20}
    assert len({row.tobytes() for row in times}) == 200
    assert np.array_equal(times, times_drawn(labels, 200, seed=1))
    assert set(times_drawn(np.ones(4, bool), 5).sum(1)) == {4}


def test_drawing_a_few_at_a_time_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, scores = tied_case(4)
    whole = resampling(labels)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 100)
    pieces = resampling(labels)
    assert torch.equal(whole.times, pieces.times)
    assert np.array_equal(whole.draws(scores), pieces.draws(scores))


@pytest.mark.parametrize("labels", [[True, True], [False, False], []])
def test_one_class_has_no_interval(labels: list[bool]) -> None:
    assert Resampling.of(labels) is None


def test_draws_spread_as_those_of_a_plain_loop() -> None:
    labels, scores = tied_case(1, 12)
    draws = resampling(labels, 4000).draws(scores).auroc
    rng = np.random.default_rng(5)
    by_hand: list[float] = []
    for _ in range(2000):
        defective = rng.choice(np.flatnonzero(labels), labels.sum())
        good = rng.choice(np.flatnonzero(~labels), (~labels).sum())
        chosen = np.concatenate([defective, good])
        value = auroc(labels[chosen], scores[chosen])
        assert value is not None
        by_hand.append(value)
    assert draws.mean() == pytest.approx(np.mean(by_hand), abs=0.01)
    assert draws.std() == pytest.approx(np.std(by_hand), rel=0.08)
