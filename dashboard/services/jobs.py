"""The only work in the background: it goes on while the visitor changes pages or reloads.

Work knows nothing of Streamlit: it reports to its `Job`, and pages read from there.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal, get_args

import streamlit as st

from lake_core.errors import LakeError
from lake_core.evaluation.protocol import CategoryProgress, FewShotProtocol
from lake_core.types import Progress

Lane = Literal["page", "report", "ahead", "evaluation", "download", "upload"]
"""Work beside a page and a report take seconds, an evaluation, a download or large uploads minutes; work ahead is for
what a visitor may look at next. In each lane one job runs at a time."""
Status = Literal["running", "cancelling", "done", "cancelled", "failed"]
THREADS = "lake-"
"""What the names of the threads begin with."""
BUSY = "Another evaluation is running on this server, which takes one at a time. Try again when it is done."


@dataclass(frozen=True)
class EvaluationRequest:
    """What is evaluated.

    Attributes:
        name: For headings and file names.
        folders: Data set -> its folder on the server; None for the workspace.
        protocol: Shots, seeds, methods and whether maps are compared.
        tests: Contents and names of the workspace's test images.
    """

    name: str
    folders: Mapping[str, Path] | None
    protocol: FewShotProtocol
    tests: tuple[str, ...] = ()


class Cancelled(Exception):
    """Raised inside of the work where the visitor has cancelled it."""


@dataclass(eq=False)
class Job:
    """One piece of work.

    Attributes:
        title: What is being done.
        asked: What was asked for: the key of a result, or an `EvaluationRequest`.
        number: Counts the jobs of this server from 1; widgets that belong to one have it in their keys.
        stage, done, total: Progress: what is being done, how much of it is done, and how much there is.
        seconds: That it took.
        future: Its outcome.
    """

    title: str
    asked: Any
    number: int = field(default_factory=count(1).__next__)
    stage: str = ""
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    future: "Future[Any]" = field(default_factory=Future, repr=False)
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def status(self) -> Status:
        """How it stands; "cancelling" until the work has noticed."""
        if not self.future.done():
            return "cancelling" if self._stop.is_set() else "running"
        if self.future.cancelled() or isinstance(self.future.exception(), Cancelled):
            return "cancelled"
        return "done" if self.future.exception() is None else "failed"

    @property
    def is_running(self) -> bool:
        return not self.future.done()

    @property
    def result(self) -> Any:
        """What the work returned, once it is done."""
        return self.future.result()

    @property
    def error(self) -> str:
        """One sentence, where it failed."""
        error = self.future.exception()
        if isinstance(error, LakeError):
            return str(error)
        return f"The computation stopped unexpectedly ({type(error).__name__}: {error})."

    def cancel(self) -> None:
        """Ends the work at its next step, or before it has begun."""
        self._stop.set()
        self.future.cancel()

    def report(self, stage: str, done: int, total: int) -> None:
        """Called by the work; raises where it was cancelled."""
        if self._stop.is_set():
            raise Cancelled
        self.stage, self.done, self.total = stage, done, total

    def run(self, work: Callable[[CategoryProgress], Any]) -> Any:
        """Does the work, unless it was cancelled before its turn came."""
        started = time.perf_counter()
        try:
            self.report(self.title, 0, 0)
            return work(self.report)
        except (Cancelled, LakeError):
            raise
        except Exception:
            logging.getLogger(__name__).exception("%s stopped unexpectedly", self.title)
            raise
        finally:
            self.seconds = time.perf_counter() - started


class Jobs:
    """The latest job of each session and lane; one runs at a time in a lane, the others wait for their turn.

    Args:
        max_owners: Sessions whose job is kept in each lane; of more, the oldest that are over are forgotten.
    """

    def __init__(self, max_owners: int = 64) -> None:
        self._max = max_owners
        self._latest: OrderedDict[tuple[Lane, str], Job] = OrderedDict()
        self._executors = {lane: ThreadPoolExecutor(1, f"{THREADS}{lane}") for lane in get_args(Lane)}
        self._lock = threading.Lock()
        # Python waits for the executors' threads before it ends: their work must be told to stop before that.
        threading._register_atexit(self.close)  # type: ignore[attr-defined]

    def beside(
        self, owner: str, key: Hashable, title: str, work: Callable[[Progress], Any], lane: Lane = "page"
    ) -> Job:
        """The job of that key beside a page; begun if the owner's latest is another one, which is then cancelled.

        Args:
            owner: Number of the session.
            key: What the result depends on.
            title: What is being done.
            work: Called in a thread with a function to report progress to; must not touch Streamlit.
            lane: Where it waits for its turn.
        """
        with self._lock:
            job = self._latest.get((lane, owner))
            if job is not None and job.asked == key:
                return job
            if job is not None:
                job.cancel()
            return self._begin(
                lane, owner, Job(title, key), lambda report: work(lambda done, total: report(title, done, total))
            )

    def evaluate(self, owner: str, request: EvaluationRequest, work: Callable[[CategoryProgress], Any]) -> Job:
        """Begins an evaluation.

        Args:
            owner: Number of the session.
            request: Kept with the job.
            work: Called in a thread with a function to report progress to; must not touch Streamlit.
        Raises:
            LakeError: if another evaluation is running.
        """
        with self._lock:
            if any(job.is_running for (lane, _), job in self._latest.items() if lane == "evaluation"):
                raise LakeError(BUSY)
            return self._begin("evaluation", owner, Job(request.name, request), work)

    def latest(self, owner: str, lane: Lane) -> Job | None:
        """The job that a session began last in a lane."""
        with self._lock:
            return self._latest.get((lane, owner))

    def owners(self, lane: Lane) -> list[str]:
        """The sessions that have a job in a lane."""
        with self._lock:
            return [owner for own_lane, owner in self._latest if own_lane == lane]

    def forget(self, owner: str, lane: Lane = "page") -> None:
        """Drops the owner's latest job in a lane, so that the same is begun anew."""
        with self._lock:
            job = self._latest.pop((lane, owner), None)
        if job is not None:
            job.cancel()

    def close(self, patience_s: float = 10.0) -> None:
        """Cancels everything and waits for it."""
        with self._lock:
            jobs = list(self._latest.values())
        for job in jobs:
            job.cancel()
        wait_for([job.future for job in jobs], patience_s)

    def _begin(self, lane: Lane, owner: str, job: Job, work: Callable[[CategoryProgress], Any]) -> Job:
        job.future = self._executors[lane].submit(job.run, work)
        job.future.add_done_callback(_without_frames)
        self._latest[lane, owner] = job
        self._latest.move_to_end((lane, owner))
        of_lane = [key for key in self._latest if key[0] == lane]
        for key in of_lane[: max(0, len(of_lane) - self._max)]:
            if not self._latest[key].is_running:
                del self._latest[key]
        return job


def _without_frames(future: "Future[Any]") -> None:
    """Lets go of what the work had in hand when it ended early: an exception holds the frames that it came through."""
    error = None if future.cancelled() else future.exception()
    if error is not None:
        error.__traceback__ = error.__cause__ = error.__context__ = None


@st.cache_resource(show_spinner=False)
def jobs() -> Jobs:
    """The jobs of this server."""
    return Jobs()
