"""Contributions rounded for the eye: what is read adds up to what is read as their sum."""

from decimal import Decimal

import numpy as np
import pytest

from lake_core.detector.contributions import adding_up


def read(values: np.ndarray, digits: int) -> Decimal:
    return sum((Decimal(f"{value:.{digits}f}") for value in values), Decimal(0))


@pytest.mark.parametrize("digits", [1, 3, 4])
@pytest.mark.parametrize("signed", [False, True])
def test_rounded_values_add_up_to_the_rounded_total(digits: int, signed: bool) -> None:
    rng, n_adjusted = np.random.default_rng(0), 0
    for _ in range(200):
        values = rng.exponential(0.1, rng.integers(1, 40)) * (rng.choice([-1, 1]) if signed else 1)
        shown = adding_up(values, values.sum(), digits)
        assert read(shown, digits) == Decimal(f"{values.sum():.{digits}f}")
        assert np.abs(shown - values).max() < 10.0**-digits
        n_adjusted += not np.array_equal(shown, values.round(digits))
    assert n_adjusted > 20


def test_what_is_left_over_goes_to_the_values_closest_to_the_other_side() -> None:
    assert adding_up([0.1004, 0.2003, 0.3004], 0.6011).tolist() == [0.101, 0.2, 0.3]
    assert adding_up([0.1006, 0.2008, 0.3007], 0.6021).tolist() == [0.1, 0.201, 0.301]
    assert adding_up([0.25, 0.5], 0.75).tolist() == [0.25, 0.5]


def test_nothing_is_read_as_minus_zero() -> None:
    assert [f"{value:+.3f}" for value in adding_up([-0.0001, 0.0001], 0.0)] == ["+0.000", "+0.000"]
