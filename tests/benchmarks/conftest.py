"""Prints the ratios that the benchmarks measured, below pytest's own summary."""

from typing import Any

import pytest

RATIOS: pytest.StashKey[list[str]] = pytest.StashKey()


@pytest.fixture
def ratios(request: pytest.FixtureRequest) -> list[str]:
    """Lines for the terminal; a benchmark appends what it found."""
    return request.config.stash.setdefault(RATIOS, [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    lines = config.stash.get(RATIOS, [])
    if lines:
        terminalreporter.section("ratios to the bare network, measured in this run")
        for line in lines:
            terminalreporter.write_line(line)
