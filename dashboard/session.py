"""What one browser session holds: a single typed object, and its ties to the address and to what the server keeps.

Images and settings live on the server under an unguessable number that is part of the address, so that a reload finds
them again. Streamlit's own state holds nothing else but the values of widgets.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import streamlit as st
from streamlit.navigation.page import StreamlitPage

from dashboard.services.jobs import EvaluationRequest, Job, Lane
from dashboard.services.registry import Registry
from dashboard.services.snapshot import Snapshot
from dashboard.settings import Note, Pin, Settings
from dashboard.workspace import Workspace, shas
from lake_core.backbones.registry import SHIPPED
from lake_core.errors import LakeError
from lake_core.projects.manifest import Manifest
from lake_core.types import HookPoint

KEY = "session"
PIN_LIST = "pin_list"
"""Where Streamlit keeps the name of the list of pinned neurons that is in use."""
READ_ONLY = "This is a shared project, which stays as it is. Make a copy to change it."


@dataclass(frozen=True)
class Focus:
    """The selection shared by all pages: a test image, a layer, a neuron and a patch of the fused map."""

    image: str | None = None
    layer: int | None = None
    neuron: int | None = None
    patch: int | None = None


class NeuronPatch(NamedTuple):
    """A patch clicked on a neuron's map, with the image and the hook point it was clicked on."""

    image: str
    hook_point: HookPoint
    patch: int


@dataclass(frozen=True)
class Tour:
    """Where the visitor is in the guided tour.

    Attributes:
        step: The present step, from 1, or None.
        left_at: The step at which it was left, or None.
        is_offered: Whether it is offered, as on the first visit.
    """

    step: int | None = None
    left_at: int | None = None
    is_offered: bool = False


@dataclass
class Session:
    """One browser session.

    Attributes:
        registry: Of the server.
        number: Of this session's snapshot in the registry.
        tab: The browser's tab; several may show one session.
        settings: As the sidebar stands.
        pages: By name, for links between them.
        data_root: The server's folder of data sets, or None.
        focus: The selection shared by all pages.
        grid: Rows and columns that the chosen patch belongs to.
        is_paused: Whether the user has stopped the run of the network.
        stopped: Key of the computation that the user has stopped.
        asked_beside: Key of the work beside the page that was asked for last.
        watched: The work beside the page that this tab waits for, by its lane.
        go_to: Page to go to at the next run.
        notices: Sentences to show on the next page drawn.
        prompt_texts: What was typed into the fields of prompts, by the field's name.
        evaluated: What was evaluated last.
        normal_looked_at: The normal image that the page Neurons shows in full.
        neuron_patch: The patch clicked on a neuron's map.
        opened_image, opened_patch: The image in the microscope on screen, and the patch that was fixed when it came.
        compared_with: The image that Explain compares with.
        selected: Contents of the test images that are ticked on the page Images.
        has_images: Whether there were images at the last run.
        n_uploads: Counts uploads, so that an uploader is renewed after each.
        n_frames: Counts frames with progress, so that each has keys of its own.
        n_returns: Counts steps back and forward in the browser's history, so that the microscope is opened anew.
        tour: Where the visitor is in the guided tour.
        presented_step: Of the presentation on screen, from 1, or None.
        is_embedded: Whether the microscope is shown alone, in another page's frame.
        to_check: The manifest of the project that was opened, until its scores have been compared.
        agreement: What came of it, in sentences.
        shared_as: Identity of the project that was shared last.
        left_behind: Number of the session that was open before a project was.
        written: The parameters of the address as they were last written.
        written_choice: What was chosen then.
    """

    registry: Registry
    number: str
    settings: Settings = field(default_factory=Settings)
    tab: str = ""
    pages: dict[str, StreamlitPage] = field(default_factory=dict)
    data_root: Path | None = None
    focus: Focus = field(default_factory=Focus)
    grid: tuple[int, int] | None = None
    is_paused: bool = False
    stopped: Hashable = None
    asked_beside: Hashable = None
    watched: dict[Lane, Job] = field(default_factory=dict)
    go_to: str | None = None
    notices: list[str] = field(default_factory=list)
    prompt_texts: dict[str, str] | None = None
    evaluated: EvaluationRequest | None = None
    normal_looked_at: str | None = None
    neuron_patch: NeuronPatch | None = None
    opened_image: str | None = None
    opened_patch: int | None = None
    compared_with: str | None = None
    selected: frozenset[str] = frozenset()
    has_images: bool = False
    n_uploads: int = 0
    n_frames: int = 0
    n_returns: int = 0
    tour: Tour = field(default_factory=Tour)
    presented_step: int | None = None
    is_embedded: bool = False
    to_check: Manifest | None = None
    agreement: tuple[str, ...] = ()
    shared_as: str = ""
    left_behind: str = ""
    written: str = ""
    written_choice: Hashable = None

    @property
    def snapshot(self) -> Snapshot:
        """What the server keeps for this session."""
        return self.registry.find(self.number) or Snapshot()

    @property
    def workspace(self) -> Workspace:
        return self.snapshot.workspace

    @property
    def is_read_only(self) -> bool:
        """Whether a shared project is looked at, which cannot be changed."""
        return bool(self.snapshot.shared)

    @property
    def arrived(self) -> Workspace:
        """Images that wait for an answer: in place of those in the workspace, or beside them."""
        return self.snapshot.arrived

    @arrived.setter
    def arrived(self, changed: Workspace) -> None:
        self._keep(arrived=changed)

    @property
    def configurations(self) -> tuple[Settings, ...]:
        """Kept for the page Compare."""
        return self.snapshot.configurations

    @property
    def pins(self) -> tuple[Pin, ...]:
        """Pinned neurons, in the order in which they were pinned."""
        return self.snapshot.pins

    @pins.setter
    def pins(self, changed: tuple[Pin, ...]) -> None:
        self._keep(pins=changed, notes={pin: note for pin, note in self.notes.items() if pin in changed})

    @property
    def notes(self) -> Mapping[Pin, Note]:
        """What was noted on pinned neurons."""
        return self.snapshot.notes

    def set_notes(self, changed: Mapping[Pin, Note]) -> None:
        """Keeps what was noted on some pinned neurons."""
        self._keep(notes={**self.notes, **changed})

    def pin(self, pinned: Pin, note: Note) -> None:
        """Pins a neuron, in the list of the note."""
        self._keep(pins=(*self.pins, pinned), notes={**self.notes, pinned: note})

    @property
    def own_threshold(self) -> float | None:
        """The user's decision threshold; None is the one that the normal images give."""
        return self.snapshot.own_threshold

    @own_threshold.setter
    def own_threshold(self, changed: float | None) -> None:
        if changed != self.own_threshold:
            self._keep(own_threshold=changed)

    def set_workspace(self, changed: Workspace) -> None:
        """Keeps a changed workspace; a threshold moved by hand belongs to the images it was moved for.

        Raises:
            LakeError: if these are a visitor's first images and the server has no room for them, or they would change a
                shared project.
        """
        if self.is_read_only:
            raise LakeError(READ_ONLY)
        held = self.workspace
        is_same = shas(changed.normals) == shas(held.normals) and shas(changed.tests) == shas(held.tests)
        threshold = self.own_threshold if is_same else None
        self.registry.keep(self.number, workspace=changed, own_threshold=threshold)
        self.has_images = not changed.is_empty

    def set_settings(self, changed: Settings) -> None:
        if self.is_read_only:
            self.say([READ_ONLY])
            return
        self.settings = changed
        if self.snapshot.settings != changed:
            self.registry.keep(self.number, settings=changed)

    def set_configurations(self, changed: Iterable[Settings]) -> None:
        """Keeps the configurations to compare, each once."""
        kept = tuple(dict.fromkeys(changed))
        if kept != self.configurations:
            self._keep(configurations=kept)

    def set_focus(self, **changes: Any) -> None:
        """Changes the shared selection; another image forgets the patch."""
        if "image" in changes and changes["image"] != self.focus.image:
            changes.setdefault("patch", None)
        self.focus = replace(self.focus, **changes)

    def follow_grid(self, rows: int, cols: int) -> None:
        """Takes the chosen patch over to another grid, to where it lies in the image."""
        before, self.grid = self.grid or (rows, cols), (rows, cols)
        if before == (rows, cols):
            return
        patch, over = self.focus.patch, _patch_under(before, (rows, cols))
        if patch is not None:
            self.set_focus(patch=int(over[patch]) if patch < len(over) else None)

    def say(self, sentences: Iterable[str]) -> None:
        """Keeps sentences to be shown on the next page drawn."""
        self.notices.extend(sentences)

    def take_notices(self) -> list[str]:
        """The sentences kept so far, once."""
        taken, self.notices = self.notices, []
        return taken

    @property
    def place(self) -> tuple[str, str]:
        """What the address calls the images: a shared project's identity, or the session's number."""
        shared = self.snapshot.shared
        return ("project", shared) if shared else ("w", self.number)

    @property
    def link(self) -> dict[str, str]:
        """What the address holds: the images, the backbone, and what is chosen."""
        settings, found = self.snapshot.settings, dict([self.place])
        found |= {"model": settings.spec} if settings.spec in SHIPPED else {}
        found |= {"site": settings.config.site} if settings.config.site else {}
        found |= {"present": str(self.presented_step)} if self.presented_step is not None else {}
        return found | {name: str(value) for name, value in vars(self.focus).items() if value is not None}

    @property
    def chosen(self) -> Hashable:
        """What a press of Back undoes: another selection, and a presentation as a whole."""
        return self.focus, self.presented_step is None

    @property
    def is_alone(self) -> bool:
        """Whether the page has neither sidebar nor navigation."""
        return self.is_embedded or self.presented_step is not None

    def follow_link(self) -> None:
        """Takes the shared selection from the address, if it is one of this session."""
        name, identity = self.place
        if st.query_params.get(name) == identity:
            self.focus, self.presented_step = focus_in_link(), number_in_link("present") or None
            self.n_returns += 1

    def _keep(self, **changes: Any) -> None:
        """Keeps changes of the snapshot; of a shared project says that there are none."""
        if self.is_read_only:
            self.say([READ_ONLY])
        else:
            self.registry.keep(self.number, **changes)


def current() -> Session:
    """The session of the browser that this run of the script is for."""
    found: Session = st.session_state[KEY]
    return found


def focus_in_link() -> Focus:
    """What the address chooses."""
    numbers = {name: number_in_link(name) for name in ("layer", "neuron", "patch")}
    return Focus(image=st.query_params.get("image"), **numbers)


def number_in_link(name: str) -> int | None:
    """A number of the address, or None."""
    text = st.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else None


def _patch_under(grid: tuple[int, int], other: tuple[int, int]) -> np.ndarray:
    """(n_patches,) int64: for each patch of a grid (rows, cols) that of another one at its centre."""
    row, col = (np.floor((np.arange(n) + 0.5) * m / n).astype(np.int64) for n, m in zip(grid, other, strict=True))
    return np.ravel(row[:, None] * other[1] + col)
