"""That `make soak` sees what it is for."""

import os

import pytest

from tests.e2e import soak
from tests.e2e.soak import Load, Soak


def test_growth_is_that_of_the_second_half() -> None:
    grown = [*range(100), *(100 + n / 2 for n in range(100))]
    found = Soak("", os.getpid(), loads=[Load(memory, 10, 5) for memory in grown], seconds=[1.0] * 200)
    assert found.slope == pytest.approx(0.5 / soak.REST, abs=1e-6)
    assert soak.load(os.getpid()).memory > 10


def test_other_results_than_one_visitor_sees_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {0: ["0.91"], 2: ["0.90"]}
    found = Soak("", os.getpid())
    for number, results in said.items():
        monkeypatch.setattr(soak, "visit", lambda *_, shown=results: shown)
        found.cycle(None, number)  # type: ignore[arg-type]
    assert found.faults == ["cycle 2: results differ: ['0.90'] instead of ['0.91']"]
