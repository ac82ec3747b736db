"""How many threads a process takes, in PyTorch and in the matrix products of NumPy and SciPy; and its memory."""

import os
import subprocess
import sys
from pathlib import Path

import loky
import pytest
import torch

from lake_core.backbones import process
from tests.core.cli.commands import ROOT
from tests.core.memory import status


@pytest.mark.parametrize(("cores", "set_by_user", "expected"), [(8, None, [4, 4]), (1, None, [1, 1]), (8, "3", [])])
def test_threads_are_half_of_the_cores_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, cores: int, set_by_user: str | None, expected: list[int]
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(loky, "cpu_count", lambda: cores)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr(process, "_limit_matrix_products", asked.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if set_by_user:
        monkeypatch.setenv("OMP_NUM_THREADS", set_by_user)
    assert process.limit_threads() == torch.get_num_threads()
    assert asked == expected


def test_matrix_products_of_numpy_and_scipy_are_limited_too() -> None:
    code = (
        "import os; os.cpu_count = lambda: 2; from lake_core.backbones.process import limit_threads; limit_threads(); "
        "from threadpoolctl import threadpool_info; "
        "found = [one['num_threads'] for one in threadpool_info() if one['user_api'] == 'blas']; "
        "print(found); assert found and set(found) == {1}"
    )
    free = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, env=free).returncode == 0


def test_memory_below_something_that_is_still_used_is_given_back() -> None:
    blocks = [b"x" * 60_000 for _ in range(3000)]
    full, last = status("VmRSS"), blocks.pop()
    blocks.clear()
    process.tidy()
    assert status("VmRSS") < full - 100_000_000
    assert len(last) == 60_000


def test_an_idle_process_collects_what_holds_itself() -> None:
    code = (
        "import gc, time, weakref; from lake_core.backbones.process import tidy_when_idle; gc.disable(); "
        "made = type('Made', (), {})(); made.own = made; gone = weakref.ref(made); del made; assert gone(); "
        "tidy_when_idle(0.1); end = time.process_time() + 1.2; "
        "any(time.process_time() > end for _ in iter(int, 1)); assert gone(), 'not while it is busy'; "
        "end = time.monotonic() + 60; "
        "any(gone() is None or time.monotonic() > end or time.sleep(0.1) for _ in iter(int, 1)); assert not gone()"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_container_has_the_memory_that_it_was_given(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    machine = process.total_memory(limit)
    assert machine > 2**28
    for text, expected in (("max\n", machine), ("1000000\n", 1_000_000), (f"{2 * machine}\n", machine)):
        limit.write_text(text)
        assert process.total_memory(limit) == expected
