"""Ways to bring images: files, whole folders, the camera, the clipboard. All go the same checked way.

What is read beside the page, projects too, is watched and taken in here.
"""

from collections.abc import Callable, Sequence

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from dashboard.components.pickers import pick_one
from dashboard.components.progress import watch
from dashboard.components.projects import move_to
from dashboard.services.models import sample
from dashboard.services.projects import store
from dashboard.services.uploads import Role, read_at_once, read_beside, reading, taken
from dashboard.session import current
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from lake_core.errors import LakeError
from lake_core.projects.project import OpenedProject

ROLES: dict[Role, str] = {"test": "test images", "normal": "normal images"}
FORMATS = "PNG, JPEG, WebP, BMP, TIFF, GIF or a ZIP of them, up to 50 megapixels each."
CANCELLED = "Reading was cancelled, and nothing changed."
NOTHING_PASTED = "That was text, not an image: copy the image itself, click into the field, and paste again."


def add_images() -> None:
    """The chosen way to bring images."""
    ways: dict[str, Callable[[], None]] = {
        "Files": lambda: _uploaders(folder=False),
        "Folders": lambda: _uploaders(folder=True),
        "Camera": _camera,
        "Clipboard": _clipboard,
    }
    ways[pick_one("Add images from", list(ways), "way")]()


def _uploaders(folder: bool) -> None:
    left, middle, right = st.columns(3)
    with left:
        _uploader("Normal images", "Good parts only; 4 to 8 images are enough.", "normal", folder)
    with middle:
        _uploader("Test images", "Good or defective; labels are optional.", "test", folder)
    with right:
        _uploader(
            "Both at once (ZIP or folder)",
            "Folders named train/good, test/<defect>, ground_truth/<defect>, or normal and test.",
            None,
            folder,
        )
    st.caption(f"{FORMATS} Images stay on this server, where they are kept for {_days()} after the last change.")


def _uploader(title: str, says: str, role: Role | None, folder: bool) -> None:
    """A place to drop files; the widget is renewed after each upload, so that nothing is read twice."""
    key = f"upload_{role}_{folder}_{current().n_uploads}"
    st.file_uploader(
        title,
        accept_multiple_files="directory" if folder else True,
        key=key,
        help=says,
        on_change=lambda: _take(st.session_state.get(key) or [], role),
    )


def _camera() -> None:
    role = pick_one("Photographs are", ROLES, "camera_role")
    key = f"camera_{current().n_uploads}"

    def take() -> None:
        photograph = st.session_state[key]
        if photograph is not None:
            _take([photograph], role, "camera.jpg")

    st.camera_input("Take a photograph", key=key, on_change=take, width=640)
    st.caption(
        "The browser asks for permission first. Unless it runs on the same machine as the server, the camera "
        "needs HTTPS."
    )


def _clipboard() -> None:
    role = pick_one("Pasted images are", ROLES, "clipboard_role")

    def take() -> None:
        pasted = st.session_state.clipboard
        if pasted.files:
            _take(pasted.files, role)
        else:
            current().say([NOTHING_PASTED])

    with st.container(width=640):  # in a container it stands here, not at the bottom of the window
        st.chat_input(
            "Click here, paste (Ctrl+V), then press Enter", key="clipboard", accept_file="multiple", on_submit=take
        )
    st.caption("A copied image, a screenshot or copied files.")


def _take(files: Sequence[UploadedFile], role: Role | None, name: str | None = None) -> None:
    """Reads files into the workspace; while a sample is open they wait beside it for an answer.

    Args:
        name: Of all of them, where it is not their own.
    """
    if not files:  # a place for files that is no longer on the page is emptied
        return
    here = current()
    here.n_uploads += 1
    brought = [(name or file.name, file.getvalue()) for file in files]
    dataset = read_at_once(brought, role)
    if dataset is None:
        read_beside(here.number, brought, role)
    else:
        _take_in(dataset)


def take_finished() -> None:
    """Takes what was read beside the page, images or a project, once it is there; only before the sidebar is drawn."""
    here = current()
    job = reading(here.number)
    if job is None or job.is_running:
        return
    taken(here.number)
    if job.status != "done":
        here.say([job.error if job.status == "failed" else CANCELLED])
    elif isinstance(job.result, OpenedProject):
        move_to(job.result)
    else:
        _take_in(job.result)


def watch_reading() -> bool:
    """Whether files are being read, or were just now: shows how far it is, with a way to cancel."""
    job = reading(current().number)
    if job is None:
        return False
    begun = "begun" if job.stage else "waiting for its turn"
    watch(job, f"{job.title}: {begun}", "Images read")
    return True


def _take_in(dataset: Dataset) -> None:
    here = current()
    notices = _beside_sample(dataset) if _is_sample_alone(here.workspace) else _into_workspace(dataset)
    notes = [note for e in (*dataset.normals, *dataset.tests) for note in e.image.notes]
    here.say([*dataset.problems, *notices, *notes])


def _is_sample_alone(held: Workspace) -> bool:
    """Whether all images are those of a built-in sample; who has added to one has answered already."""
    return bool(held.n_images and held.sample) and not held.holds_more_than(sample(held.sample), labels_count=False)


def _beside_sample(dataset: Dataset) -> list[str]:
    """Lets images wait for an answer, with those that wait already; returns what there is to say."""
    here = current()
    arrived, notices = (Workspace() if here.arrived.sample else here.arrived).with_added(dataset)
    try:
        here.arrived = arrived
    except LakeError as reason:
        return [str(reason)]
    return notices


def _into_workspace(dataset: Dataset) -> list[str]:
    here = current()
    held = here.workspace
    changed, notices = (Workspace() if held.is_empty else held).with_added(dataset)
    try:
        here.set_workspace(changed)
    except LakeError as reason:
        return [str(reason)]
    here.is_paused = True
    return notices


def _days() -> str:
    days = store().limits.keep_days
    return "a day" if days == 1 else f"{days:g} days"
