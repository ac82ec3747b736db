"""Work that belongs to what a visitor looks at: it goes on beside the page, and makes room when they look elsewhere."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

import streamlit as st

from dashboard.services import compute
from dashboard.services.jobs import Job, Workers
from dashboard.text import escaped
from lake_core.evaluation.protocol import CategoryProgress
from lake_core.types import Progress

T = TypeVar("T")


class Background:
    """The latest piece of work of each session; one runs at a time, the others wait for their turn."""

    def __init__(self, max_owners: int = 64) -> None:
        self._max = max_owners
        self._latest: OrderedDict[str, Job] = OrderedDict()
        self._workers = Workers()
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    def of(self, owner: str, key: Hashable, title: str, work: Callable[[Progress], T]) -> Job:
        """The job of that key, begun if the owner's latest is another one, which is then cancelled.

        Args:
            owner: Number of the session.
            key: What the result depends on.
            title: What is being done.
            work: Called in a thread with a function to report progress to; must not touch Streamlit.
        """
        with self._lock:
            job = self._latest.get(owner)
            if job is not None and job.asked == key:
                return job
            if job is not None:
                job.cancel()
            job = self._latest[owner] = Job(title, key)
            self._latest.move_to_end(owner)
            while len(self._latest) > self._max:
                self._latest.popitem(last=False)[1].cancel()
        self._workers.start(job, lambda report: self._in_turn(job, work, report))
        return job

    def latest(self, owner: str) -> Job | None:
        """The job that a session began last."""
        with self._lock:
            return self._latest.get(owner)

    def forget(self, owner: str) -> None:
        """Drops the owner's latest job, so that the same is begun anew."""
        with self._lock:
            job = self._latest.pop(owner, None)
        if job is not None:
            job.cancel()

    def close(self) -> None:
        """Cancels everything and waits for it."""
        self._workers.close()

    def _in_turn(self, job: Job, work: Callable[[Progress], T], report: CategoryProgress) -> T:
        with self._turn:
            report(job.title, 0, 0)  # it may have been cancelled before its turn came
            return work(lambda done, total: report(job.title, done, total))


@st.cache_resource
def background() -> Background:
    """The work in the background of this server."""
    return Background()


def computed_beside(key: Hashable, title: str, work: Callable[[Progress], T]) -> T | None:
    """A result that is computed beside the page, with progress and a way to cancel, and drawn when it is there.

    Returns:
        The result, or None as long as there is none, which is said.
    """
    made: T | None = compute.results().get(key)
    if made is not None:
        return made
    owner = st.session_state.number
    job = background().of(owner, key, title, work)
    if job.is_running:
        _watch(job)
        return None
    if job.status == "done":
        compute.results().put(key, job.result)
        found: T = job.result
        return found
    if job.status == "failed":
        st.error(escaped(job.error), icon=":material/error:")
    else:
        st.info("Stopped.", icon=":material/pause_circle:")
    st.button("Start again", on_click=background().forget, args=(owner,), key=f"again_{job.number}")
    return None


def asked_beside(key: Hashable, label: str, icon: str) -> bool:
    """Whether a result for `computed_beside` is there, is being computed or was asked for; else a button to ask for it.

    What the visitor asked for last is begun again when they come back to it from elsewhere.
    """
    job = background().latest(st.session_state.number)
    is_latest = job is not None and job.asked == key
    if is_latest or st.session_state.get("asked_beside") == key or compute.results().get(key) is not None:
        return True
    st.button(label, icon=icon, on_click=_ask, args=(key,))
    return False


def _ask(key: Hashable) -> None:
    st.session_state.asked_beside = key


def _watch(job: Job) -> None:
    @st.fragment(run_every=0.5)
    def look() -> None:
        if not job.is_running:
            st.rerun()
        share = min(job.done / job.total, 1.0) if job.total else 0.0
        begun = "begun" if job.stage else "waiting for its turn"
        counted = f"{job.done} of {job.total}" if job.total else begun
        st.progress(share, text=f"{job.title}, in the background: {counted}")
        st.button("Cancel", on_click=job.cancel, key=f"cancel_job_{job.number}")

    with st.container(border=True):
        look()
