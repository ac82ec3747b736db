"""The shape of a ranked curve, against hand-made cases."""

import numpy as np
import pytest

from lake_core.experiments.ranking import elbow, participation_ratio


def test_the_participation_ratio_counts_neurons_that_share_the_sensitivity() -> None:
    assert participation_ratio(np.array([0, 3, 3, 0, 3], np.float32)) == pytest.approx(3)
    assert participation_ratio(np.array([7, 0, 0])) == pytest.approx(1)
    assert participation_ratio(np.array([2.0, 1.0])) == pytest.approx(9 / 5)
    assert participation_ratio(np.array([2e-30, 1e-30], np.float32)) == pytest.approx(9 / 5)
    assert participation_ratio(np.zeros(4)) == 0


def test_the_participation_ratio_is_of_variances_and_no_dimension() -> None:
    """Four copies of one neuron span one dimension, and count as four neurons."""
    copies = np.repeat(np.random.default_rng(0).normal(size=(50, 1)), 4, axis=1)
    assert participation_ratio(copies.var(0)) == pytest.approx(4)
    assert np.linalg.matrix_rank(np.cov(copies.T)) == 1


def test_the_elbow_is_farthest_above_the_chord() -> None:
    assert elbow(np.array([1, 10, 1, 9, 1, 8], np.float32)) == 3
    values = np.random.default_rng(0).pareto(2, 500)
    cumulative = np.cumsum(np.sort(values)[::-1]) / values.sum()
    assert elbow(values) == int(np.argmax(cumulative - np.arange(1, 501) / 500)) + 1
    assert elbow(np.full(7, 0.1, np.float32)) == 7
    assert elbow(np.zeros(7)) == 7
