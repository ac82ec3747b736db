"""Results that take a while: computed on the page or beside it, with progress and a way to cancel."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import streamlit as st

from dashboard.components.page import error
from dashboard.services.cache import results
from dashboard.services.jobs import Job, Lane, jobs
from dashboard.session import current
from lake_core.sentences import quantity
from lake_core.types import Progress

T = TypeVar("T")
AT_ONCE_SECONDS = 2.0
"""What takes less is not asked for."""


class Estimate(NamedTuple):
    """What a result on demand takes and may give.

    Attributes:
        seconds: Estimated; None where nothing that it takes has been measured yet.
        gives: What it may give, in a sentence.
    """

    seconds: float | None
    gives: str

    @property
    def duration(self) -> str:
        """How long it takes, in a sentence."""
        if self.seconds is None:
            return "How long it takes is not known yet."
        minutes = round(self.seconds / 60)
        about = f"{max(round(self.seconds), 1)} s" if self.seconds < 90 else quantity(minutes, "minute")
        return f"Takes about {about}, an estimate from what the same steps took on this server."


@contextmanager
def progress_frame(title: str, cancel: Callable[..., None], *args: object, summary: str = "") -> Iterator[Progress]:
    """A frame with progress and a way to cancel, on the page for as long as something is computed.

    One run of a page may draw several, and twice for the same thing, if what was computed is forgotten meanwhile to
    make room for other visitors. So each has a number of its own in its key, which no other frame of the session has.

    Args:
        title: What is counted.
        cancel, args: Called by the button; the page is then drawn anew, which ends the work at its next report.
        summary: Markdown above the progress.
    Yields:
        A function (done, total) to report progress to.
    """
    here = current()
    here.n_frames += 1
    holder = st.empty()
    with holder.container(border=True):
        if summary:
            st.markdown(summary)
        bar = st.progress(0.0, text=f"{title} …")
        st.button("Cancel", on_click=cancel, args=args, key=f"cancel_{here.n_frames}")

    def show(done: int, total: int) -> None:
        bar.progress(min(done / max(total, 1), 1.0), text=f"{title}: {done} of {total}")

    yield show
    holder.empty()


def computed(key: Hashable, title: str, work: Callable[[Progress], T]) -> T | None:
    """A result that takes a while: the one made before, else made now, with progress and a way to cancel.

    Returns:
        The result, or None after the user cancelled it.
    """
    made: T | None = results().get(key)
    if made is not None:
        return made
    if current().stopped == key:
        st.info("Stopped.", icon=":material/pause_circle:")
        st.button("Start again", on_click=_start_anew, key=f"again_{title}")
        return None
    with progress_frame(title, _stop, key) as show:
        made = work(show)
        results().put(key, made)
    return made


def asked_for(key: Hashable, label: str, icon: str, estimate: Estimate | None = None) -> bool:
    """Whether a result for `computed` is there, is made at once or was just asked for; else a button to ask for it."""
    if results().get(key) is not None or is_quick(estimate):
        return True
    holder = st.empty()
    with holder.container():
        asked = st.button(label, icon=icon, on_click=_start_anew)
        _say(estimate)
    if asked:
        holder.empty()
    return asked


def computed_on_demand(
    key: Hashable,
    label: str,
    icon: str,
    title: str,
    work: Callable[[Progress], T],
    estimate: Estimate | None = None,
) -> T | None:
    """A result as from `computed`: at once where it takes less than two seconds, else once a button asked for it.

    Returns:
        The result, or None until then.
    """
    return computed(key, title, work) if asked_for(key, label, icon, estimate) else None


def computed_beside(key: Hashable, title: str, work: Callable[[Progress], T], lane: Lane = "page") -> T | None:
    """A result that is computed beside the page, with progress and a way to cancel, and drawn when it is there.

    Args:
        lane: Another one for a second result on the same page: in a lane the later ends the one before.
    Returns:
        The result, or None as long as there is none, which is said.
    """
    made: T | None = results().get(key)
    if made is not None:
        return made
    here = current()
    owner, before = here.number, here.watched.get(lane)
    was_taken = before is not None and before.asked == key and before.status in ("cancelling", "cancelled")
    if was_taken and jobs().latest(owner, lane) not in (None, before):
        st.info("Stopped: another window of this session has begun something else.", icon=":material/pause_circle:")
        st.button("Start again", on_click=_watch_anew, args=(lane,), key=f"again_{title}")
        return None
    job = here.watched[lane] = jobs().beside(owner, key, title, work, lane)
    if job.is_running:
        begun = "begun" if job.stage else "waiting for its turn"
        watch(job, f"{job.title}, in the background: {begun}", f"{job.title}, in the background")
        return None
    if job.status == "done":
        made = job.result
        results().put(key, made)
        return made
    if job.status == "failed":
        error(job.error)
    else:
        st.info("Stopped.", icon=":material/pause_circle:")
    st.button("Start again", on_click=jobs().forget, args=(owner, lane), key=f"again_{job.number}")
    return None


def asked_beside(key: Hashable, label: str, icon: str, estimate: Estimate | None = None, lane: Lane = "page") -> bool:
    """Whether a result for `computed_beside` is there, is made at once, is being computed or was asked for; else a
    button to ask for it.

    What the visitor asked for last is begun again when they come back to it from elsewhere.
    """
    here = current()
    job = jobs().latest(here.number, lane)
    is_latest = job is not None and job.asked == key
    if is_latest or here.asked_beside == key or results().get(key) is not None or is_quick(estimate):
        return True
    st.button(label, icon=icon, on_click=_ask, args=(key,))
    _say(estimate)
    return False


def watch(job: Job, waiting: str, counting: str | Callable[[], str], heading: str = "") -> None:
    """Progress of a running job, looked at every half second; the page is drawn anew when it ends.

    Args:
        waiting: Shown until there is something to count.
        counting: What is counted, from then on; where it changes, a function that says it.
        heading: Markdown above the progress.
    """

    @st.fragment(run_every=0.5)
    def look() -> None:
        if not job.is_running:
            st.rerun()
        share = min(job.done / job.total, 1.0) if job.total else 0.0
        counted = counting() if callable(counting) else counting
        text = f"{counted}: {job.done} of {job.total}" if job.total else waiting
        is_ending = job.status == "cancelling"
        st.progress(share, text="Stopping …" if is_ending else text)
        st.button("Cancel", on_click=job.cancel, key=f"cancel_job_{job.number}", disabled=is_ending)

    with st.container(border=True):
        if heading:
            st.markdown(heading)
        look()


def is_quick(estimate: Estimate | None) -> bool:
    """Whether a result takes so little time that it need not be asked for."""
    return estimate is not None and estimate.seconds is not None and estimate.seconds < AT_ONCE_SECONDS


def _say(estimate: Estimate | None) -> None:
    if estimate is not None:
        st.caption(f"{estimate.duration} {estimate.gives}")


def _ask(key: Hashable) -> None:
    current().asked_beside = key


def _watch_anew(lane: Lane) -> None:
    current().watched.pop(lane, None)


def _stop(key: Hashable) -> None:
    current().stopped = key


def _start_anew() -> None:
    current().stopped = None
