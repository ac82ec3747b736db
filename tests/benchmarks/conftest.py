"""Prints the ratios that the benchmarks measured, below pytest's own summary."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

RATIOS: pytest.StashKey[list[str]] = pytest.StashKey()


@pytest.fixture(scope="session", autouse=True)
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Sessions are kept in a folder of the benchmarks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKE_STORE", str(tmp_path_factory.mktemp("store")))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """One computing thread, as the program itself takes on two cores."""
    torch.set_num_threads(1)


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
