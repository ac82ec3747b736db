"""Visitors' sessions are written into the store beside the pages, so that a server that starts again finds them."""

import atexit
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import streamlit as st

from dashboard.services.projects import as_project, store
from dashboard.services.snapshot import Snapshot
from lake_core.projects.store import WAITING

EVERY_S = 10.0
MAX_REMEMBERED = 2000


class Autosave:
    """Writes each session's latest state, at once after a quiet time and never more often than it may.

    One thread writes, and ends when nothing is left to write.
    """

    def __init__(
        self, keep: Callable[[str, Snapshot], None], forget: Callable[[str], None], every_s: float = EVERY_S
    ) -> None:
        """
        Args:
            keep: Writes a session under its number; what it cannot do it says in a LakeError.
            forget: Removes what was written of a session.
            every_s: Seconds between two writes of one session.
        """
        self._keep, self._forget, self._every_s = keep, forget, every_s
        self._waiting: dict[str, Snapshot] = {}
        self._written_at: OrderedDict[str, float] = OrderedDict()
        self._faults: dict[str, str] = {}
        self._changed = threading.Condition()
        self._is_running = False

    def note(self, number: str, snapshot: Snapshot) -> None:
        """Takes a session's latest state; one without images is not kept, and no shared project that is looked at."""
        if snapshot.shared or (snapshot.workspace.is_empty and number not in self._written_at):
            return
        with self._changed:
            self._waiting[number] = snapshot
            self._changed.notify()
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._write_all, name="lake-autosave", daemon=True).start()

    def fault(self, number: str) -> str:
        """Why the latest state of a session could not be written; "" where it could."""
        return self._faults.get(number, "")

    def flush(self) -> None:
        """Writes all that waits, now."""
        with self._changed:
            waiting, self._waiting = self._waiting, {}
            self._changed.notify()
        for number, snapshot in waiting.items():
            self._write(number, snapshot)

    def _write_all(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._is_running = False
                    return
                now = time.monotonic()
                due = {number: self._written_at.get(number, -self._every_s) + self._every_s for number in self._waiting}
                number = min(due, key=lambda one: due[one])
                if due[number] > now:
                    self._changed.wait(due[number] - now)
                    continue
                snapshot = self._waiting.pop(number)
            self._write(number, snapshot)

    def _write(self, number: str, snapshot: Snapshot) -> None:
        self._faults.pop(number, None)
        try:
            if snapshot.workspace.is_empty:
                self._forget(number)
            else:
                self._keep(number, snapshot)
        except Exception as error:  # whatever it is, other sessions are still to be written
            self._faults[number] = str(error)
        self._written_at[number] = time.monotonic()
        self._written_at.move_to_end(number)
        while len(self._written_at) > MAX_REMEMBERED:
            gone, _ = self._written_at.popitem(last=False)
            self._faults.pop(gone, None)


def waiting(number: str) -> str:
    """What a session's images that wait for an answer are kept under."""
    return f"{number}{WAITING}"


@st.cache_resource
def autosave() -> Autosave:
    """What writes the sessions of this server."""

    def keep(number: str, snapshot: Snapshot) -> None:
        held_in.keep_session(number, as_project(snapshot, for_others=False))
        if snapshot.arrived.is_empty:
            held_in.forget_session(waiting(number))
        else:
            held_in.keep_session(waiting(number), as_project(Snapshot(snapshot.arrived), for_others=False))

    def forget(number: str) -> None:
        held_in.forget_session(number)
        held_in.forget_session(waiting(number))

    held_in = store()
    made = Autosave(keep, forget)
    atexit.register(made.flush)
    return made
