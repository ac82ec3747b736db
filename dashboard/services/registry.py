"""What the server keeps for its visitors: each one's images and settings, under an unguessable number."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import streamlit as st
from streamlit import runtime

from dashboard.services.access import is_demo
from dashboard.services.autosave import autosave
from dashboard.services.snapshot import Snapshot
from lake_core.backbones.process import total_memory
from lake_core.errors import LakeError
from lake_core.projects.store import new_identity

FULL = (
    "The server has no room for more images: all of it is taken by visitors who are here now. "
    "Nothing was added; try again when one of them has left."
)
TOO_MUCH = (
    "Your images would take more than the {:g} GB of memory that this server has for one visitor. Nothing was added; "
    "bring fewer or smaller ones."
)
MAX_BYTES, MAX_BYTES_OF_ONE = 4_000_000_000, 2_500_000_000
"""Images of all visitors, and of one, who may bring as much as a data set may have (MAX_DATASET_BYTES)."""
MEMORY_SHARE = 0.25
"""Of the memory that the server may use, for the images of its visitors."""


def n_bytes(snapshots: Iterable[Snapshot]) -> int:
    """Bytes of the images and masks of snapshots, those that wait for an answer included; what several hold, such as a
    sample, is counted once."""
    held: dict[int, int] = {}
    for snapshot in snapshots:
        for workspace in (snapshot.workspace, snapshot.arrived):
            for example in (*workspace.normals, *workspace.tests):
                image = example.image
                held[id(image.rgb)] = image.rgb.nbytes
                held[id(image.encoded)] = len(image.encoded or b"")
                held[id(example.mask)] = 0 if example.mask is None else example.mask.nbytes
    return sum(held.values())


class Registry:
    """The snapshots of all sessions of this server.

    Only those with images take room: a place, and as many bytes as their images have. When either is used up, the one
    used longest ago is forgotten among those that no browser shows any more; a visitor who is here keeps theirs.
    Snapshots without images are settings only: many are kept, so that a reload finds them.
    """

    def __init__(
        self,
        is_connected: Callable[[str], bool],
        on_change: Callable[[str, Snapshot], None] = lambda number, snapshot: None,
        max_with_images: int = 32,
        max_without: int = 1000,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """
        Args:
            is_connected: Whether a browser still holds a session, by Streamlit's number of the session.
            on_change: Told of each change of a snapshot.
            max_with_images: Snapshots with images held at once.
            max_without: Snapshots without images held at once.
            max_bytes: Of the images of all snapshots; one alone may have MAX_BYTES_OF_ONE at most.
        """
        self._is_connected, self._on_change = is_connected, on_change
        self._max_with, self._max_without, self._max_bytes = max_with_images, max_without, max_bytes
        self._held: OrderedDict[str, Snapshot] = OrderedDict()
        self._shown: dict[str, str] = {}  # Streamlit's session -> number of the snapshot that it shows
        self._lock = threading.Lock()

    @property
    def max_bytes_of_one(self) -> int:
        """That the images of one visitor may have."""
        return min(self._max_bytes, MAX_BYTES_OF_ONE)

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
            LakeError: if there is no room for its images; then nothing changes.
        """
        with self._lock:
            before = self._held.get(number, Snapshot())
            changed = replace(before, **changes)
            if changed.n_images and (changed.workspace, changed.arrived) != (before.workspace, before.arrived):
                self._make_room(number, changed)
            self._held[number] = changed
            self._held.move_to_end(number)
            without = [one for one, snapshot in self._held.items() if not snapshot.n_images]
            for one in without[: -self._max_without]:
                del self._held[one]
        if changes:
            self._on_change(number, changed)

    def _make_room(self, number: str, changed: Snapshot) -> None:
        """Forgets snapshots with images until there is room for the one of that number as it will be."""
        if n_bytes([changed]) > self.max_bytes_of_one:
            raise LakeError(TOO_MUCH.format(round(self.max_bytes_of_one / 1e9, 4)))
        kept = {one: snapshot for one, snapshot in self._held.items() if one != number and snapshot.n_images}
        here = {shown for session, shown in self._shown.items() if self._is_connected(session)}
        gone = [one for one in kept if one not in here]
        forgotten = []
        while len(kept) >= self._max_with or n_bytes([changed, *kept.values()]) > self._max_bytes:
            if not gone:
                raise LakeError(FULL)
            forgotten.append(gone.pop(0))
            del kept[forgotten[-1]]
        for one in forgotten:
            del self._held[one]


@st.cache_resource(show_spinner=False)
def registry() -> Registry:
    """What this server keeps for its visitors."""
    on_change = (lambda number, snapshot: None) if is_demo() else autosave().note
    return Registry(is_connected, on_change, max_bytes=int(MEMORY_SHARE * total_memory()))


def is_connected(session: str) -> bool:
    """Whether a browser holds a session of Streamlit right now."""
    return runtime.exists() and runtime.get_instance().is_active_session(session)
