"""Inputs tried in processes that are measured: whatever an input does to its process, it is counted and named."""

import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from loky.backend import get_context

from tests.core.memory import peak_growth, status
from tests.fuzz.kinds import KINDS, kind_of, made, refusal

MAX_SECONDS = 5.0
"""Of computing, for one input: whatever else the machine does meanwhile is not counted."""
MAX_BYTES = 1024**3
"""That the process may grow by, for one input."""
HANG_SECONDS = 90.0
"""By the clock; then the process is killed."""
_ROOM = 4 * 1024**3
"""Address space that an input may take before memory is refused, so that the machine outlives it."""


@dataclass(frozen=True)
class Outcome:
    """What became of an input.

    Attributes:
        refused: The sentence with which it was refused, or None.
        fault: What is wrong with that, or None.
        seconds: Of computing.
        n_bytes: What the process grew by at most.
        n_warnings: Python's.
    """

    number: int
    refused: str | None = None
    fault: str | None = None
    seconds: float = 0.0
    n_bytes: int = 0
    n_warnings: int = 0


def tried(seed: int, number: int) -> Outcome:
    """Tries the input of a number in this process."""
    kind, data = kind_of(number), made(seed, number)
    refused = fault = None
    started = time.process_time()
    with peak_growth() as grown, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            refused = refusal(kind, data)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            fault = f"{type(error).__name__}: {error!s:.300} ({Path(where.filename).name}:{where.lineno})"
    seconds, n_bytes = time.process_time() - started, grown.n_bytes
    if fault is None and seconds > MAX_SECONDS:
        fault = f"took {seconds:.1f} s"
    if fault is None and n_bytes > MAX_BYTES:
        fault = f"took {n_bytes / 1024**3:.1f} GiB"
    return Outcome(number, refused, fault, seconds, n_bytes, len(caught))


def outcomes(seed: int, numbers: Sequence[int], n_processes: int) -> Iterator[Outcome]:
    """Tries inputs in processes of their own, and yields what became of each.

    Raises:
        RuntimeError: if a process cannot begin, or refuses what is valid.
    """
    waiting = list(reversed(numbers))
    kinds = sorted({kind_of(number).name for number in numbers})
    workers = [_Worker(seed, kinds) for _ in range(min(n_processes, len(waiting)))]
    try:
        while waiting or any(worker.number is not None for worker in workers):
            for worker in workers:
                if worker.number is None and waiting:
                    worker.begin(waiting.pop())
            busy = [worker for worker in workers if worker.number is not None]
            ready = wait([worker.answers for worker in busy], timeout=1.0)
            for worker in busy:
                outcome = worker.outcome() if worker.answers in ready else worker.overdue()
                if outcome is not None:
                    yield outcome
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """A process that tries inputs, begun anew when it dies."""

    def __init__(self, seed: int, kinds: Sequence[str]) -> None:
        self.number: int | None = None
        self._seed, self._kinds = seed, kinds
        self._start()

    def begin(self, number: int) -> None:
        self.number, self._begun = number, time.monotonic()
        self.answers.send(number)

    def outcome(self) -> Outcome:
        """What the process says, or that it has died."""
        assert self.number is not None
        try:
            found: Outcome = self.answers.recv()
        except (EOFError, OSError):
            self._process.join(10)
            found = self._lost(f"ended the process (exit code {self._process.exitcode})")
        self.number = None
        return found

    def overdue(self) -> Outcome | None:
        """That the process was killed, if it has not answered for too long."""
        if self.number is None or time.monotonic() - self._begun < HANG_SECONDS:
            return None
        found = self._lost(f"gave no answer for {HANG_SECONDS:.0f} s")
        self.number = None
        return found

    def stop(self) -> None:
        with suppress(ProcessLookupError):  # it has ended by itself
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.join(10)
        self.answers.close()

    def _lost(self, fault: str) -> Outcome:
        assert self.number is not None
        found = Outcome(self.number, fault=fault)
        self.stop()
        self._start()
        return found

    def _start(self) -> None:
        context = get_context("loky")  # which does not run the main script again: after an `AppTest`, a page's
        self.answers, theirs = context.Pipe()
        self._process: Any = context.Process(target=_work, args=(self._seed, self._kinds, theirs), daemon=True)
        self._process.start()
        theirs.close()
        try:
            if self.answers.recv() != "ready":
                raise EOFError
        except EOFError:
            raise RuntimeError("A process that tries inputs could not begin: what it says stands above.") from None


def _work(seed: int, kinds: Sequence[str], answers: Connection) -> None:
    """Tries inputs as they are named, after a sound one of each kind, which loads whatever they need."""
    _quiet()
    for kind in (kind for kind in KINDS if kind.name in kinds):
        assert refusal(kind, kind.module.valid()) is None, f"a sound input of {kind.name} is refused"
    with suppress(OSError, ValueError):
        room = status("VmSize") + _ROOM
        resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
    answers.send("ready")
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            answers.send(tried(seed, answers.recv()))


def _quiet() -> None:
    """Nothing on the hub, and no logs of Streamlit, which is used here without a server."""
    import logging

    logging.disable(logging.CRITICAL)
    sys.argv = ["app.py"]
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff writes to it from C
