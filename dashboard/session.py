"""What a browser session holds: the workspace, the settings, and the one selection shared by all pages.

Images and settings live on the server under an unguessable number that is part of the link, so that a reload, or the
same link in another tab, finds them again. Everything here is immutable; a change makes a new object.
"""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from lake_core.backbones.registry import SHIPPED
from lake_core.config import Normalise
from lake_core.data.datasets import Dataset, Example, free_path
from lake_core.errors import LakeError
from lake_core.prompts import PromptEnsemble
from lake_core.types import SITES, Label, Site

Side = Literal["normals", "tests"]
MAX_IMAGES = 400
"""Per side; more belongs to `lake score` and `lake evaluate`, which do not hold all images at once."""


@dataclass(frozen=True, eq=False)
class Workspace:
    """The images of one analysis.

    Attributes:
        normals: Images to learn from.
        tests: Images to score, each with its label if known.
        name: What the images are, for headings and file names.
    """

    normals: tuple[Example, ...] = ()
    tests: tuple[Example, ...] = ()
    name: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.normals and not self.tests

    @property
    def n_images(self) -> int:
        return len(self.normals) + len(self.tests)

    def with_added(self, dataset: Dataset) -> tuple["Workspace", list[str]]:
        """The workspace with the images of a data set added, and one sentence for each thing left out."""
        said: list[str] = []
        normals = _joined(self.normals, dataset.normals, "normal", said)
        tests = _joined(self.tests, dataset.tests, "test", said)
        in_both = {e.image.sha256 for e in normals} & {e.image.sha256 for e in tests}
        if in_both:
            names = ", ".join(sorted(e.image.name for e in tests if e.image.sha256 in in_both)[:3])
            said.append(f"{names}: also among the normal images, byte for byte, so its score says nothing.")
        name = self.name or dataset.name
        return Workspace(normals, tests, name), said

    def without(self, side: Side, sha256: str) -> "Workspace":
        """The workspace without one image."""
        kept = tuple(e for e in getattr(self, side) if e.image.sha256 != sha256)
        return replace(self, normals=kept) if side == "normals" else replace(self, tests=kept)

    def labelled(self, sha256: str, label: Label | None) -> "Workspace":
        """The workspace with one test image labelled anew."""
        return replace(
            self,
            tests=tuple(replace(e, label=label) if e.image.sha256 == sha256 else e for e in self.tests),
        )


def _joined(held: tuple[Example, ...], added: Iterable[Example], side: str, said: list[str]) -> tuple[Example, ...]:
    by_content = {example.image.sha256: example for example in held}
    names = {PurePosixPath(example.image.name) for example in held}
    for example in added:
        same = by_content.get(example.image.sha256)
        if same is not None:
            said.append(f"{example.image.name}: the same bytes as {same.image.name}, so it is kept once.")
        elif len(by_content) >= MAX_IMAGES:
            said.append(f"{example.image.name}: over the {MAX_IMAGES} {side} images that the dashboard holds.")
        else:
            name = free_path(PurePosixPath(example.image.name), names)
            names.add(name)
            by_content[example.image.sha256] = replace(example, image=replace(example.image, name=str(name)))
    return tuple(by_content.values())


@dataclass(frozen=True)
class Settings:
    """What the sidebar says. None means the backbone's recommendation."""

    spec: str = "lake-cnn"
    image_size: int | None = None
    layers: tuple[int, ...] | None = None
    site: Site | None = None
    top_k: int = 100
    criterion: str = "variance"
    fusion_weight: float = 0.3
    object_name: str = ""
    normalise: Normalise | None = None
    smooth: int | None = None
    top_q: int = 1
    prompts: PromptEnsemble | None = None


@dataclass(frozen=True)
class Focus:
    """The selection shared by all pages: a test image, a layer, a neuron and a patch of the fused map."""

    image: str | None = None
    layer: int | None = None
    neuron: int | None = None
    patch: int | None = None


@dataclass
class Snapshot:
    """What the server keeps under one number."""

    workspace: Workspace = field(default_factory=Workspace)
    settings: Settings = field(default_factory=Settings)
    configurations: tuple[Settings, ...] = ()
    """Kept for the page Compare: A, B, C ..."""


FULL = (
    "The server has no room for more images: all its places are taken by visitors who are here now. "
    "Nothing was added; try again when one of them has left."
)


class Registry:
    """The snapshots of all sessions of this server.

    Only those with images take room. When that is full, the one used longest ago is forgotten among those that no
    browser shows any more; a visitor who is here keeps theirs. Snapshots without images are settings only: many are
    kept, so that a reload finds them.
    """

    def __init__(self, is_connected: Callable[[str], bool], max_with_images: int = 32, max_without: int = 1000) -> None:
        """
        Args:
            is_connected: Whether a browser still holds a session, by Streamlit's number of the session.
            max_with_images: Snapshots with images held at once.
            max_without: Snapshots without images held at once.
        """
        self._is_connected = is_connected
        self._max_with, self._max_without = max_with_images, max_without
        self._held: OrderedDict[str, Snapshot] = OrderedDict()
        self._shown: dict[str, str] = {}  # Streamlit's session -> number of the snapshot that it shows
        self._lock = threading.Lock()

    def find(self, number: str) -> Snapshot | None:
        with self._lock:
            if number in self._held:
                self._held.move_to_end(number)
            return self._held.get(number)

    def create(self) -> str:
        number = secrets.token_urlsafe(9)
        self.keep(number)
        return number

    def connect(self, number: str, session: str) -> None:
        """Notes that a session of Streamlit shows this snapshot; a session shows one at a time."""
        with self._lock:
            if session not in self._shown:  # a good moment to drop those that are over
                self._shown = {s: n for s, n in self._shown.items() if n in self._held or self._is_connected(s)}
            self._shown[session] = number

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


GONE = "Your images are no longer on the server: others needed the room while you were away. Add them again."


def start(registry: Registry) -> bool:
    """Ties this session to a snapshot: the one in the link if the server still has it, else a new one.

    Returns:
        Whether the session is new.
    """
    if "number" in st.session_state:
        if registry.find(st.session_state.number) is None:
            registry.keep(st.session_state.number)
            if st.session_state.get("has_images"):
                say([GONE])
        _connect(registry)
        return False
    asked = st.query_params.get("w", "")
    if asked and registry.find(asked) is not None:
        st.session_state.number = asked
        st.session_state.focus = _focus_from_link()
    else:
        st.session_state.number = registry.create()
        st.session_state.focus = _focus_from_link()
        registry.keep(st.session_state.number, settings=_settings_from_link())
        if asked:
            say(["The images of this link are no longer on the server; add them again."])
    st.session_state.registry = registry
    _connect(registry)
    return True


def _connect(registry: Registry) -> None:
    """Tells the registry that this session is here."""
    context = get_script_run_ctx()
    if context is not None:
        registry.connect(st.session_state.number, context.session_id)
    held = registry.find(st.session_state.number)
    st.session_state.has_images = held is not None and not held.workspace.is_empty


def snapshot() -> Snapshot:
    """What the server keeps for this session."""
    registry: Registry = st.session_state.registry
    return registry.find(st.session_state.number) or Snapshot()


def workspace() -> Workspace:
    return snapshot().workspace


def set_workspace(changed: Workspace) -> None:
    """Keeps a changed workspace; a threshold moved by hand belongs to the images it was moved for.

    Raises:
        LakeError: if these are a visitor's first images and the server has no room for them.
    """
    held = workspace()
    st.session_state.registry.keep(st.session_state.number, workspace=changed)
    st.session_state.has_images = not changed.is_empty
    if len(changed.normals) != len(held.normals) or len(changed.tests) != len(held.tests):
        st.session_state.pop("own_threshold", None)


def set_settings(changed: Settings) -> None:
    if snapshot().settings != changed:
        st.session_state.registry.keep(st.session_state.number, settings=changed)


def set_configurations(changed: Iterable[Settings]) -> None:
    """Keeps the configurations to compare, each once."""
    st.session_state.registry.keep(st.session_state.number, configurations=tuple(dict.fromkeys(changed)))


def focus() -> Focus:
    found: Focus = st.session_state.focus
    return found


def set_focus(**changes: Any) -> None:
    """Changes the shared selection; another image forgets the patch."""
    if "image" in changes and changes["image"] != focus().image:
        changes.setdefault("patch", None)
    st.session_state.focus = replace(focus(), **changes)


def follow_grid(rows: int, cols: int) -> None:
    """Takes the chosen patch and the brushed region over to another grid, to where they lie in the image."""
    before = st.session_state.get("place_grid", (rows, cols))
    st.session_state.place_grid = rows, cols
    if before == (rows, cols):
        return
    # The patch of the grid before under the centre of each patch of this one, and the other way round.
    under, over = _patch_under((rows, cols), before), _patch_under(before, (rows, cols))
    patch, (sha256, region) = focus().patch, st.session_state.get("region", (None, []))
    if patch is not None:
        set_focus(patch=int(over[patch]) if patch < len(over) else None)
    st.session_state.region = sha256, np.flatnonzero(np.isin(under, region)).tolist()


def _patch_under(grid: tuple[int, int], other: tuple[int, int]) -> np.ndarray:
    """(n_patches,) int64: for each patch of a grid (rows, cols) that of another one at its centre."""
    row, col = (np.floor((np.arange(n) + 0.5) * m / n).astype(np.int64) for n, m in zip(grid, other, strict=True))
    return np.ravel(row[:, None] * other[1] + col)


def write_link() -> None:
    """Puts the session's number and the shared selection into the address, where they differ from it."""
    wanted = {"w": st.session_state.number}
    settings = snapshot().settings
    wanted |= {"model": settings.spec} if settings.spec in SHIPPED else {}
    wanted |= {"site": settings.site} if settings.site else {}
    wanted |= {name: str(value) for name, value in vars(focus()).items() if value is not None}
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)


def say(sentences: Iterable[str]) -> None:
    """Keeps sentences to be shown on the next page drawn."""
    st.session_state.setdefault("said", []).extend(sentences)


def take_said() -> list[str]:
    """The sentences kept so far, once."""
    said: list[str] = st.session_state.pop("said", [])
    return said


def _settings_from_link() -> Settings:
    """The shipped backbone and the activation site that a link names.

    No other model is taken from a link: whoever sent it need not be who opens it.
    """
    site, spec = st.query_params.get("site"), st.query_params.get("model", Settings.spec)
    if spec not in SHIPPED:
        spec = Settings.spec
        say(["A link opens no model but those that come with LAKE Explorer; name any other under Backbone."])
    return Settings(spec=spec, site=site if site in SITES else None)


def _focus_from_link() -> Focus:
    numbers = {
        name: int(text)
        for name in ("layer", "neuron", "patch")
        if (text := st.query_params.get(name, "")).isascii() and text.isdigit() and len(text) < 9
    }
    return Focus(image=st.query_params.get("image"), **numbers)
