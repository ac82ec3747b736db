"""Long work in a thread of its own, which goes on while the visitor changes pages or reloads.

The thread knows nothing of Streamlit: it writes into its `Job`, and pages read from there.
"""

import atexit
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

import streamlit as st

from lake_core.errors import LakeError
from lake_core.evaluation.protocol import CategoryProgress

BUSY = "Another evaluation is running on this server, and one at a time is what it takes. Try again when it is done."


class Cancelled(Exception):
    """Raised inside of the work where the visitor has cancelled it."""


@dataclass(eq=False)
class Job:
    """One piece of work.

    Attributes:
        title: What is being done.
        asked: What was asked for, for the page that shows the result.
        number: Counts the jobs of this server from 1; widgets that belong to one have it in their keys.
        status: How it stands; "cancelling" until the work has noticed.
        stage, done, total: Progress: the category, its images done and in all.
        result: What the work returned, once it is done.
        error: One sentence, where it failed.
    """

    title: str
    asked: Any
    number: int = field(default_factory=count(1).__next__)
    status: Literal["running", "cancelling", "done", "cancelled", "failed"] = "running"
    stage: str = ""
    done: int = 0
    total: int = 0
    result: Any = None
    error: str = ""
    seconds: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def is_running(self) -> bool:
        return self.status in ("running", "cancelling")

    def cancel(self) -> None:
        """Ends the work at its next step."""
        if self.status == "running":
            self.status = "cancelling"
            self.stop.set()

    def report(self, stage: str, done: int, total: int) -> None:
        """Called by the work; raises where it was cancelled."""
        if self.stop.is_set():
            raise Cancelled
        self.stage, self.done, self.total = stage, done, total


class Workers:
    """The threads of jobs that run; Python must not end under a thread that computes."""

    def __init__(self) -> None:
        self._jobs: dict[threading.Thread, Job] = {}
        self._lock = threading.Lock()
        atexit.register(self.close)

    def start(self, job: Job, work: Callable[[CategoryProgress], Any]) -> None:
        """Begins a job in a thread of its own."""
        thread = threading.Thread(target=self._run, args=(job, work), name="lake-job", daemon=True)
        with self._lock:
            self._jobs[thread] = job
        thread.start()

    def close(self, patience_s: float = 10.0) -> None:
        """Cancels everything and waits for it."""
        with self._lock:
            running = dict(self._jobs)
        for job in running.values():
            job.cancel()
        for thread in running:
            thread.join(patience_s)

    def _run(self, job: Job, work: Callable[[CategoryProgress], Any]) -> None:
        try:
            run(job, work)
        finally:
            with self._lock:
                del self._jobs[threading.current_thread()]


class Jobs:
    """The latest job of each session; one runs at a time."""

    def __init__(self, max_owners: int = 16) -> None:
        self._max = max_owners
        self._latest: OrderedDict[str, Job] = OrderedDict()
        self._workers = Workers()
        self._lock = threading.Lock()

    def start(self, owner: str, title: str, asked: Any, work: Callable[[CategoryProgress], Any]) -> Job:
        """Begins a job in a thread.

        Args:
            owner: Number of the session.
            title: What is being done.
            asked: Kept with the job.
            work: Called with a function to report progress to; must not touch Streamlit.
        Raises:
            LakeError: if a job is running.
        """
        with self._lock:
            if any(job.is_running for job in self._latest.values()):
                raise LakeError(BUSY)
            job = Job(title, asked)
            self._latest[owner] = job
            self._latest.move_to_end(owner)
            while len(self._latest) > self._max:
                del self._latest[next(number for number in self._latest if number != owner)]
        self._workers.start(job, work)
        return job

    def latest(self, owner: str) -> Job | None:
        """The job that a session began last."""
        with self._lock:
            return self._latest.get(owner)

    @property
    def is_busy(self) -> bool:
        with self._lock:
            return any(job.is_running for job in self._latest.values())


def run(job: Job, work: Callable[[CategoryProgress], Any]) -> None:
    """Does a job's work and writes down how it ended."""
    started = time.perf_counter()
    try:
        result = work(job.report)
    except Cancelled:
        job.status = "cancelled"
    except LakeError as error:
        job.error, job.status = str(error), "failed"
    except Exception as error:  # a thread's exception is seen by nobody else
        job.error, job.status = f"The computation stopped unexpectedly ({type(error).__name__}: {error}).", "failed"
        raise
    else:
        job.result, job.seconds = result, time.perf_counter() - started
        job.status = "done"


@st.cache_resource
def jobs() -> Jobs:
    """The jobs of this server."""
    return Jobs()
