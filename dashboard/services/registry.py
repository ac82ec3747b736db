"""What the server keeps for its visitors: each one's images and settings, under an unguessable number."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import streamlit as st
from streamlit import runtime

from dashboard.services.autosave import autosave
from dashboard.services.options import is_demo
from dashboard.services.snapshot import Snapshot
from lake_core.errors import LakeError
from lake_core.projects.store import new_identity

FULL = (
    "The server has no room for more images: all places are taken by visitors who are here now. "
    "Nothing was added; try again when one of them has left."
)


class Registry:
    """The snapshots of all sessions of this server.

    Only those with images take room. When that is full, the one used longest ago is forgotten among those that no
    browser shows any more; a visitor who is here keeps theirs. Snapshots without images are settings only: many are
    kept, so that a reload finds them.
    """

    def __init__(
        self,
        is_connected: Callable[[str], bool],
        on_change: Callable[[str, Snapshot], None] = lambda number, snapshot: None,
        max_with_images: int = 32,
        max_without: int = 1000,
    ) -> None:
        """
        Args:
            is_connected: Whether a browser still holds a session, by Streamlit's number of the session.
            on_change: Told of each change of a snapshot.
            max_with_images: Snapshots with images held at once.
            max_without: Snapshots without images held at once.
        """
        self._is_connected, self._on_change = is_connected, on_change
        self._max_with, self._max_without = max_with_images, max_without
        self._held: OrderedDict[str, Snapshot] = OrderedDict()
        self._shown: dict[str, str] = {}  # Streamlit's session -> number of the snapshot that it shows
        self._lock = threading.Lock()

    def find(self, number: str) -> Snapshot | None:
        """The snapshot of that number, which counts as used now, or None."""
        with self._lock:
            if number in self._held:
                self._held.move_to_end(number)
            return self._held.get(number)

    def create(self) -> str:
        """Begins a snapshot and returns its number."""
        number = new_identity()
        self.keep(number)
        return number

    def connect(self, number: str, session: str) -> None:
        """Notes that a session of Streamlit shows this snapshot; a session shows one at a time."""
        with self._lock:
            if session not in self._shown:  # a good moment to drop those that are over
                self._shown = {s: n for s, n in self._shown.items() if n in self._held or self._is_connected(s)}
            self._shown[session] = number

    def is_shown_elsewhere(self, number: str, session: str) -> bool:
        """Whether a browser shows this snapshot in another session of Streamlit."""
        with self._lock:
            others = [one for one, shown in self._shown.items() if shown == number and one != session]
        return any(map(self._is_connected, others))

    def keep(self, number: str, **changes: Any) -> None:
        """Changes a snapshot, or begins it.

        Raises:
            LakeError: if it would be one more with images than there is room for; then nothing changes.
        """
        with self._lock:
            changed = replace(self._held.get(number, Snapshot()), **changes)
            if not changed.workspace.is_empty:
                self._make_room(number)
            self._held[number] = changed
            self._held.move_to_end(number)
            without = [one for one, snapshot in self._held.items() if snapshot.workspace.is_empty]
            for one in without[: -self._max_without]:
                del self._held[one]
        if changes:
            self._on_change(number, changed)

    def _make_room(self, number: str) -> None:
        """Forgets snapshots with images until there is room for the one of that number."""
        others = [one for one, snapshot in self._held.items() if one != number and not snapshot.workspace.is_empty]
        n_over = len(others) + 1 - self._max_with
        if n_over <= 0:
            return
        here = {shown for session, shown in self._shown.items() if self._is_connected(session)}
        gone = [one for one in others if one not in here][:n_over]
        if len(gone) < n_over:
            raise LakeError(FULL)
        for one in gone:
            del self._held[one]


@st.cache_resource(show_spinner=False)
def registry() -> Registry:
    """What this server keeps for its visitors."""
    return Registry(is_connected) if is_demo() else Registry(is_connected, autosave().note)


def is_connected(session: str) -> bool:
    """Whether a browser holds a session of Streamlit right now."""
    return runtime.exists() and runtime.get_instance().is_active_session(session)
