"""Project files from strangers, opened in a process with limits: unpacked, checked and decoded there."""

from lake_core.data.datasets import Example
from lake_core.data.limited import LimitedProcess, OverLimit
from lake_core.errors import ProjectError
from lake_core.projects.manifest import Manifest, SavedImage
from lake_core.projects.project import OpenedProject, Project, dataset_of
from lake_core.projects.project_file import packed_project
from lake_core.types import Progress

_held: list[Project] = []
"""In the process with limits: the project that it has open."""


def open_limited(
    data: bytes, name: str, process: LimitedProcess, max_bytes: int, on_progress: Progress | None = None
) -> OpenedProject:
    """Opens a project file; nothing of it reaches this process but what has been checked.

    Args:
        data: The file.
        name: What to call it in messages.
        process: Where it is opened.
        max_bytes: That its images may fill; looked at before any is decoded.
        on_progress: Called with images done and in all; may raise to cancel.
    Raises:
        ProjectError: one sentence: as `read_project` and `Project.dataset`, or if it takes too much.
    """

    def example(saved: SavedImage) -> Example:
        if process.is_out_of_time:
            minutes = f"{process.limits.all_s / 60:g} minutes"
            raise ProjectError(f"{name} takes more than {minutes} to read: save a project with fewer images.")
        try:
            found = process.run(_example, saved)
        except OverLimit as reason:
            raise ProjectError(f"{saved.name} in {name} {reason}: save the project without it.") from reason
        found.image.rgb.setflags(write=False)  # which is lost on the way
        return found

    try:
        manifest = process.run(_begin, data, name, max_bytes)
    except OverLimit as reason:
        raise ProjectError(f"{name} {reason}: save it again, or with fewer images.") from reason
    return OpenedProject(manifest, dataset_of(manifest, example, on_progress))


def _begin(data: bytes, name: str, max_bytes: int) -> Manifest:
    """Checks all but the images themselves."""
    project = packed_project(data, name)
    project.check_size(max_bytes)
    _held[:] = [project]
    return project.manifest


def _example(saved: SavedImage) -> Example:
    return _held[0].example(saved)
