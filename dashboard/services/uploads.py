"""What visitors bring, images and projects: light files are read at once, others beside the page, in a process with
limits."""

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Literal

from dashboard.services.jobs import Job, jobs
from dashboard.services.registry import registry
from lake_core.data.datasets import MAX_DATASET_BYTES, Dataset, read_members
from lake_core.data.limited import Decoder, LimitedProcess, is_light, limited
from lake_core.projects.opening import open_limited
from lake_core.projects.project import OpenedProject
from lake_core.projects.project_file import read_light_project
from lake_core.types import Progress

Role = Literal["normal", "test"]


def read_at_once(files: Sequence[tuple[str, bytes]], role: Role | None) -> Dataset | None:
    """The images of light files (name, bytes); None where reading takes longer than a page may wait."""
    return read_members(files, role, _name(files)) if is_light(files) else None


def read_beside(owner: str, files: Sequence[tuple[str, bytes]], role: Role | None) -> Job:
    """Begins to read files in the background; the job's result is a `Dataset`.

    Args:
        owner: Number of the session.
        files: (name, bytes).
        role: What they are for; None takes it from their paths.
    """

    def read(process: LimitedProcess, on_progress: Progress) -> Dataset:
        return read_members(files, role, _name(files), Decoder(process), on_progress)

    return _beside(owner, "Reading your files", read)


def open_at_once(data: bytes, name: str) -> OpenedProject | None:
    """A light project file; None where opening takes longer than a page may wait.

    Raises:
        ProjectError: if it cannot be used.
    """
    project = read_light_project(data, name)
    return None if project is None else project.opened()


def open_beside(owner: str, data: bytes, name: str) -> Job:
    """Begins to open a project file in the background; the job's result is an `OpenedProject`.

    Args:
        owner: Number of the session.
        name: What to call it in messages.
    """
    room = min(MAX_DATASET_BYTES, registry().max_bytes_of_one)

    def read(process: LimitedProcess, on_progress: Progress) -> OpenedProject:
        return open_limited(data, name, process, room, on_progress)

    return _beside(owner, "Opening the project", read)


def _beside(owner: str, title: str, read: Callable[[LimitedProcess, Progress], Dataset | OpenedProject]) -> Job:
    _forget_left_behind()

    def work(report: Progress) -> Dataset | OpenedProject:
        shown = [0, 0]

        def on_progress(done: int, total: int) -> None:
            shown[:] = done, total
            report(done, total)

        with limited(still_wanted=lambda: report(*shown)) as process:
            return read(process, on_progress)

    return jobs().beside(owner, object(), title, work, "upload")


def reading(owner: str) -> Job | None:
    """The reading of a session's files that goes on, or whose result nobody has taken."""
    return jobs().latest(owner, "upload")


def taken(owner: str) -> None:
    """Forgets the session's reading: its result was taken, or there is none."""
    jobs().forget(owner, "upload")


def _name(files: Sequence[tuple[str, bytes]]) -> str:
    """What the images are called in a project: a single archive by its name."""
    archives = [PurePath(name).stem for name, _ in files if name.lower().endswith(".zip")]
    return archives[0] if len(files) == len(archives) == 1 else "images"


def _forget_left_behind() -> None:
    """Forgets what was read for visitors who left before they saw it."""
    for owner in jobs().owners("upload"):
        job = reading(owner)
        if job is not None and not job.is_running and not registry().is_shown_elsewhere(owner, ""):
            taken(owner)
