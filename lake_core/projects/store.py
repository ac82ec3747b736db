"""A server's store of projects: a folder that may lie on a volume which several servers share.

    files/AB/SHA256        images and masks by their content, each once for all projects
    shared/ID.json         manifests of what was shared: never changed
    sessions/ID.json       manifests of what visitors are working on: replaced at each change

Images are kept apart from manifests, and not in whole project files, because a session is saved every few seconds, and
many visitors look at the same sample: a save then writes some kilobytes. Every file is written under a temporary name
and renamed, so that no server ever reads half of one, and no server needs a lock.
"""

import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from platformdirs import user_data_dir

from lake_core.errors import LakeError, ProjectError, StoreError, StoreFullError
from lake_core.projects.manifest import Manifest, read_manifest
from lake_core.projects.project import Project, sha256_of
from lake_core.projects.project_file import write_whole
from lake_core.sentences import quantity

Kind = Literal["shared", "sessions"]
KINDS: tuple[Kind, ...] = get_args(Kind)
VARIABLE = "LAKE_STORE"
WAITING = "-waiting"
"""Behind a session's identity: that of its images which wait for an answer, in place of the others or beside them."""
DAY_S = 86_400.0
_SWEEP_S, _MEASURE_S = 3600.0, 60.0
"""How often a server looks for what is too old, and how large the store has become."""
_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")
_SHA256 = re.compile(rb"[0-9a-f]{64}")


@dataclass(frozen=True)
class Limits:
    """What a store holds at most.

    Attributes:
        max_bytes: Of all files.
        max_projects: Shared ones, and sessions, each.
        keep_days: Since a project was shared, or a session last changed; then it is removed.
    """

    max_bytes: int = 10_000_000_000
    max_projects: int = 10_000
    keep_days: float = 90.0


class Stored(NamedTuple):
    """A line of the owner's list.

    Attributes:
        identity: What its link ends with.
        n_images, n_bytes: Its images and the sizes of their files; 0 where the manifest cannot be read.
        age_days: Since it was shared or changed.
    """

    kind: Kind
    identity: str
    name: str
    n_images: int
    n_bytes: int
    age_days: float


def store_folder(given: Path | None = None) -> Path:
    """The folder of --store, else of the environment's LAKE_STORE, else one of this user's data."""
    named = os.environ.get(VARIABLE, "").strip()
    return given or (Path(named) if named else Path(user_data_dir("lake-explorer", appauthor=False)) / "projects")


def store_of(arguments: Sequence[str] = ()) -> "Store":
    """The store that a program's arguments name: its folder after --store, its limits after --keep-days, --store-gb and
    --store-projects."""
    named = dict(pairwise(arguments))
    folder, default = named.get("--store"), Limits()
    limits = Limits(
        max_bytes=round(float(named.get("--store-gb", default.max_bytes / 1e9)) * 1e9),
        max_projects=int(named.get("--store-projects", default.max_projects)),
        keep_days=float(named.get("--keep-days", default.keep_days)),
    )
    return Store(store_folder(None if folder is None else Path(folder)), limits)


def new_identity() -> str:
    """128 bits of randomness: who has not been given a project's link does not find it."""
    return secrets.token_urlsafe(16)


class Store:
    """The projects of a server, or of several that share the folder."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        """
        Args:
            folder: Made when something is first kept.
            limits: The default ones if None.
        """
        self.folder = folder
        self.limits = limits or Limits()
        self._swept_at = self._measured_at = float("-inf")
        self._n_bytes = 0

    def share(self, project: Project) -> str:
        """Keeps a project as it is, until it is too old, and returns its identity.

        Raises:
            StoreFullError: if the store is at a limit.
            StoreError: if it cannot be written.
        """
        identity = new_identity()
        self._keep("shared", identity, project)
        return identity

    def keep_session(self, identity: str, project: Project) -> None:
        """Keeps what a visitor is working on, in place of what was kept under that identity.

        Raises:
            StoreFullError, StoreError: as for `share`; what was kept before stays.
        """
        self._keep("sessions", identity, project)

    def find(self, kind: Kind, identity: str) -> Project | None:
        """The project of that identity, or None where there is none, or it is too old.

        Raises:
            StoreError: if it cannot be read.
            ProjectError: if it is damaged.
        """
        path = self._path(kind, identity)
        if path is None or not self._is_kept(path):
            return None
        name = "The stored project"
        with self._reading():
            manifest = read_manifest(path.read_bytes(), name)
            files = {sha256: self._file(sha256).read_bytes() for sha256 in sorted(manifest.files)}
        if any(sha256_of(data) != sha256 for sha256, data in files.items()):
            raise ProjectError(f"{name} is damaged: an image is not the one that was kept.")
        return Project(manifest, files)

    def forget_session(self, identity: str) -> None:
        """Removes what was kept of a session, if anything was."""
        path = self._path("sessions", identity)
        if path is not None:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def listed(self) -> list[Stored]:
        """What the store holds, for its owner: shared projects first, the newest first."""
        return [self._stored(kind, path) for kind in KINDS for path in sorted(self._manifests(kind), key=_age_s)]

    def sweep(self) -> None:
        """Removes what is older than the limit, and images that no project has needed for a day.

        An image that another server takes up in this very moment stays: taking it up renews its time, which is looked
        at again once the image is out of reach.
        """
        self._swept_at, self._measured_at = time.monotonic(), float("-inf")
        for kind in KINDS:
            torn = [path for path in (self.folder / kind).glob(".*.tmp") if _age_s(path) > DAY_S]
            for path in [*torn, *(path for path in self._manifests(kind) if not self._is_kept(path))]:
                _remove(path)
        in_use = {sha256 for kind in KINDS for path in self._manifests(kind) for sha256 in _named_in(path)}
        for path in (self.folder / "files").glob("*/*"):
            if path.name not in in_use and _age_s(path) > DAY_S:
                self._remove_file(path)

    def _keep(self, kind: Kind, identity: str, project: Project) -> None:
        path = self._path(kind, identity)
        if path is None:
            raise StoreError(f"{identity[:80]!r} is not the identity of a project.")
        if time.monotonic() - self._swept_at > _SWEEP_S:
            self.sweep()
        manifest = project.manifest.as_json()
        with self._writing():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for inside in (path.parent, self.folder / "files"):  # identities are secrets, also in a folder of others
                inside.mkdir(mode=0o700, exist_ok=True)
            missing = [sha256 for sha256 in sorted(project.files) if not self._take_up(sha256)]
            n_bytes = sum(len(project.files[sha256]) for sha256 in missing)
            self._check_room(kind, path, n_bytes)
            self._n_bytes += n_bytes
            for sha256 in missing:
                self._file(sha256).parent.mkdir(parents=True, exist_ok=True)
                write_whole(self._file(sha256), project.files[sha256])
            write_whole(path, manifest)

    def _check_room(self, kind: Kind, path: Path, n_bytes: int) -> None:
        """Raises a StoreFullError where there is no room, also after a sweep, for a manifest and more files."""
        fault = self._over(kind, path, n_bytes)
        if fault:
            self.sweep()
            fault = self._over(kind, path, n_bytes)
        if fault:
            raise StoreFullError(f"The server's store of projects is full ({fault}); save the project as a file.")

    def _over(self, kind: Kind, path: Path, n_bytes: int) -> str:
        held = list(self._manifests(kind))
        if path not in held and len(held) >= self.limits.max_projects:
            return quantity(self.limits.max_projects, "shared project" if kind == "shared" else "session")
        if (n_bytes or path not in held) and self._held_bytes() + n_bytes > self.limits.max_bytes:
            return f"{self.limits.max_bytes / 1e9:g} GB"
        return ""

    def _held_bytes(self) -> int:
        """Bytes of all files: measured from time to time, and what was added here since."""
        if time.monotonic() - self._measured_at > _MEASURE_S:
            files = [*(self.folder / "files").glob("*/*"), *(path for kind in KINDS for path in self._manifests(kind))]
            self._n_bytes, self._measured_at = sum(_size(path) for path in files), time.monotonic()
        return self._n_bytes

    def _take_up(self, sha256: str) -> bool:
        """Whether the store has a file; its time is renewed, so that a sweep leaves it."""
        try:
            os.utime(self._file(sha256))
        except FileNotFoundError:
            return False
        return True

    def _remove_file(self, path: Path) -> None:
        hidden = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        with suppress(OSError):  # another server has removed it
            os.replace(path, hidden)
            if _age_s(hidden) > DAY_S:
                hidden.unlink()
            else:
                os.replace(hidden, path)

    def _stored(self, kind: Kind, path: Path) -> Stored:
        manifest: Manifest | None = None
        with suppress(OSError, LakeError):
            manifest = read_manifest(path.read_bytes(), path.stem)
        files = manifest.files if manifest is not None else ()
        n_bytes = sum(_size(self._file(sha256)) for sha256 in files)
        name = manifest.name if manifest is not None else "(cannot be read)"
        n_images = len(manifest.normals) + len(manifest.tests) if manifest is not None else 0
        return Stored(kind, path.stem, name, n_images, n_bytes, _age_s(path) / DAY_S)

    def _is_kept(self, path: Path) -> bool:
        return _age_s(path) <= self.limits.keep_days * DAY_S

    def _manifests(self, kind: Kind) -> Iterable[Path]:
        return (path for path in (self.folder / kind).glob("*.json") if _ID.fullmatch(path.stem))

    def _file(self, sha256: str) -> Path:
        return self.folder / "files" / sha256[:2] / sha256

    def _path(self, kind: Kind, identity: str) -> Path | None:
        """Where a manifest of that identity lies or would lie; None for what is no identity, such as a path."""
        return self.folder / kind / f"{identity}.json" if _ID.fullmatch(identity) else None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"The stored project cannot be read ({error.strerror or error}); ask for a new link."
            ) from None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except (OSError, LakeError) as error:
            reason = getattr(error, "strerror", None) or getattr(error.__cause__, "strerror", None) or error
            raise StoreError(
                f"The server's store of projects cannot be written ({reason}); save the project as a file."
            ) from None


def _age_s(path: Path) -> float:
    """Seconds since a file was written or taken up; infinite where it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _named_in(path: Path) -> set[str]:
    """What may be the sha256 of a file in a manifest of any version, also in one that this program cannot read."""
    try:
        return {found.decode() for found in _SHA256.findall(path.read_bytes())}
    except OSError:
        return set()
