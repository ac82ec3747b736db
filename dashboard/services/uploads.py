"""What visitors bring: light files are read at once, others beside the page, in a process with limits."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Literal

from dashboard.services.jobs import Job, jobs
from dashboard.services.registry import registry
from lake_core.data.datasets import Dataset, read_members
from lake_core.data.limited import is_light, limited
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

    _forget_left_behind()

    def work(report: Progress) -> Dataset:
        shown = [0, 0]

        def on_progress(done: int, total: int) -> None:
            shown[:] = done, total
            report(done, total)

        with limited(still_wanted=lambda: report(*shown)) as decode:
            return read_members(files, role, _name(files), decode, on_progress)

    return jobs().beside(owner, object(), "Reading your files", work, "upload")


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
