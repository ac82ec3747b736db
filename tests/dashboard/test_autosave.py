"""Sessions are written beside the pages: the latest state, seldom, and never a shared project."""

import threading
import time
from collections.abc import Callable

import pytest

from dashboard.services.autosave import Autosave
from dashboard.services.snapshot import Snapshot
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from lake_core.errors import StoreFullError


class Kept:
    """What was written, and when."""

    def __init__(self) -> None:
        self.written: list[tuple[str, Snapshot, float]] = []
        self.forgotten: list[str] = []
        self.fault: Exception | None = None

    def keep(self, number: str, snapshot: Snapshot) -> None:
        if self.fault is not None:
            raise self.fault
        self.written.append((number, snapshot, time.monotonic()))


def wait_until(holds: Callable[[], bool], patience_s: float = 10.0) -> None:
    end = time.monotonic() + patience_s
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    assert holds()


def state(small: Dataset, threshold: float) -> Snapshot:
    return Snapshot(Workspace(small.normals), own_threshold=threshold)


def test_the_first_change_is_written_at_once_and_then_only_the_latest_of_a_while(small: Dataset) -> None:
    kept = Kept()
    autosave = Autosave(kept.keep, kept.forgotten.append, every_s=0.5)
    autosave.note("a", state(small, 0))
    wait_until(lambda: len(kept.written) == 1)
    for threshold in range(1, 20):
        autosave.note("a", state(small, threshold))
    wait_until(lambda: len(kept.written) == 2)
    (_, first, at), (_, last, later) = kept.written
    assert (first.own_threshold, last.own_threshold) == (0, 19)
    assert later - at >= 0.5


def test_one_session_does_not_wait_for_another(small: Dataset) -> None:
    kept = Kept()
    autosave = Autosave(kept.keep, kept.forgotten.append, every_s=60)
    for number in ("a", "b", "c"):
        autosave.note(number, state(small, 0))
    wait_until(lambda: {number for number, *_ in kept.written} == {"a", "b", "c"})
    autosave.note("a", state(small, 1))
    autosave.note("d", state(small, 0))
    wait_until(lambda: "d" in {number for number, *_ in kept.written})


def test_what_waits_is_written_when_the_server_stops(small: Dataset) -> None:
    kept = Kept()
    autosave = Autosave(kept.keep, kept.forgotten.append, every_s=60)
    autosave.note("a", state(small, 0))
    wait_until(lambda: len(kept.written) == 1)
    autosave.note("a", state(small, 1))
    autosave.flush()
    assert [snapshot.own_threshold for _, snapshot, _ in kept.written] == [0, 1]


def test_no_thread_stays_when_nothing_waits(small: Dataset) -> None:
    kept, before = Kept(), set(threading.enumerate())
    autosave = Autosave(kept.keep, kept.forgotten.append, every_s=0.01)
    for threshold in range(3):
        autosave.note("a", state(small, threshold))
        wait_until(lambda: set(threading.enumerate()) <= before)
    assert [snapshot.own_threshold for _, snapshot, _ in kept.written] == [0, 1, 2]


def test_neither_a_shared_project_nor_an_empty_session_is_written(small: Dataset) -> None:
    kept = Kept()
    autosave = Autosave(kept.keep, kept.forgotten.append)
    autosave.note("a", Snapshot(Workspace(small.normals), shared="x" * 22))
    autosave.note("b", Snapshot())
    autosave.flush()
    assert (kept.written, kept.forgotten) == ([], [])
    autosave.note("c", state(small, 0))
    autosave.flush()
    autosave.note("c", Snapshot())
    autosave.flush()
    assert kept.forgotten == ["c"]


@pytest.mark.parametrize("fault", [StoreFullError("The store is full."), RuntimeError("a bug")])
def test_what_cannot_be_written_is_said_and_the_next_change_is_tried_again(small: Dataset, fault: Exception) -> None:
    kept = Kept()
    kept.fault = fault
    autosave = Autosave(kept.keep, kept.forgotten.append, every_s=0.01)
    autosave.note("a", state(small, 0))
    wait_until(lambda: autosave.fault("a") != "")
    assert autosave.fault("a") == str(fault)
    kept.fault = None
    autosave.note("a", state(small, 1))
    wait_until(lambda: len(kept.written) == 1)
    assert autosave.fault("a") == ""
