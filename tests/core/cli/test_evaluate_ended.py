"""`lake evaluate` ended from outside: what was finished is kept, and the same run goes on to the same result."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(900)  # five programs that open a model, one after the other

ENDED = """
import os, signal, sys
from lake_core.cli import app
from lake_core.evaluation import runner
run_task = runner.run_task
def ended(task, *rest):
    if task.category == "unmasked":
        os.kill(os.getpid(), signal.SIGTERM)
    return run_task(task, *rest)
runner.run_task = ended
app.app(sys.argv[1:])
"""
WHOLE = "import sys; from lake_core.cli import app; app.app(sys.argv[1:])"
FULL_BYTES = 1000
"""On a disk that is full after so many bytes of a file."""


def evaluate(program: str, folder: Path, out: Path, *more: str, full: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs `lake evaluate` in a process of its own."""

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_BYTES, FULL_BYTES))

    options = ["--shots", "1", "--seeds", "0", "--methods", "lake", "--no-pixel", "--json", str(out), *more]
    command = [sys.executable, "-c", program, "evaluate", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=fill if full else None)


def without_times(value: Any) -> Any:
    """What a document says but for how long it took and when."""
    if isinstance(value, dict):
        left_out = {name for name in value if "second" in name or "time" in name}
        return {name: without_times(one) for name, one in value.items() if name not in left_out}
    return [without_times(one) for one in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def whole(stained: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The result of a run that nothing ended."""
    out = tmp_path_factory.mktemp("whole") / "out.json"
    done = evaluate(WHOLE, stained[0].parent, out)
    assert done.returncode == 0, done.stderr
    return without_times(json.loads(out.read_text()))


def test_a_terminated_run_says_what_it_kept_and_goes_on_to_the_same_result(
    stained: list[Path], whole: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    done = evaluate(ENDED, stained[0].parent, out)
    assert done.returncode == 128 + signal.SIGTERM
    assert "Stopped. 1 of 2 data sets are finished and kept in" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
    again = evaluate(WHOLE, stained[0].parent, out, "--resume")
    assert again.returncode == 0, again.stderr
    assert without_times(json.loads(out.read_text())) == whole


def test_a_disk_that_fills_in_the_middle_is_said_and_the_run_goes_on_to_the_same_result(
    stained: list[Path], whole: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    done = evaluate(WHOLE, stained[0].parent, out, full=True)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert "File too large" in line
    assert str(tmp_path) in line
    assert "Traceback" not in done.stderr
    again = evaluate(WHOLE, stained[0].parent, out, "--resume")
    assert again.returncode == 0, again.stderr
    assert without_times(json.loads(out.read_text())) == whole
