"""Files a visitor brings that are no good: each gets one clear sentence, and the good ones stay."""

import io
import threading
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from dashboard.services import uploads
from dashboard.services.jobs import Job, jobs
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from tests.core.data.folders import MVTEC, zipped
from tests.dashboard.visit import opened, over, press

PNG = "image/png"


def image(seed: int = 0, mode: str = "RGB", size: tuple[int, int] = (64, 48), form: str = "PNG") -> bytes:
    rng = np.random.default_rng(seed)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, size[::-1], dtype=np.uint16))
    else:
        image = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def upload(app: AppTest, place: str, files: list[tuple[str, bytes, str]]) -> AppTest:
    uploader = next(one for one in app.file_uploader if one.label.startswith(place))
    uploader.set_value(files).run()
    assert not app.exception
    return app


def said(app: AppTest) -> str:
    return "\n".join(element.value for element in (*app.warning, *app.error, *app.markdown))


def places(app: AppTest) -> list[str]:
    """Where files can be dropped."""
    return [one.label for one in app.file_uploader]


def headings(app: AppTest) -> str:
    return "\n".join(element.value for element in (*app.subheader, *app.header))


def too_large() -> bytes:
    """The header of a PNG of 100 megapixels, and next to nothing behind it."""
    buffer = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(buffer, "PNG")
    return buffer.getvalue()


BAD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a text named .png": ("notes.png", lambda: b"This is a text, whatever its name says.\n"),
    "an empty file": ("empty.png", lambda: b""),
    "an image cut short": ("short.png", lambda: image()[:200]),
    "100 megapixels": ("huge.png", too_large),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("site", BAD)
def test_a_bad_file_is_named_with_the_reason_and_the_good_one_stays(site: str) -> None:
    name, content = BAD[site]
    app = upload(opened(), "Normal images", [("good.png", image(), PNG), (name, content(), PNG)])
    assert name in said(app)
    assert "Normal images (1)" in headings(app)


@pytest.mark.parametrize(
    ("mode", "form", "name"), [("I;16", "PNG", "deep.png"), ("CMYK", "JPEG", "print.jpg"), ("L", "PNG", "grey.png")]
)
def test_unusual_but_good_images_are_taken(mode: str, form: str, name: str) -> None:
    app = upload(opened(), "Normal images", [(name, image(1, mode, form=form), f"image/{form.lower()}")])
    assert "Normal images (1)" in headings(app)


def test_forty_images_at_once() -> None:
    files = [(f"part_{index}.png", image(index), PNG) for index in range(40)]
    app = upload(opened(), "Test images", files)
    assert "Test images (40)" in headings(app)


def test_the_same_image_twice_is_kept_once_and_said() -> None:
    app = upload(opened(), "Normal images", [("one.png", image(), PNG), ("two.png", image(), PNG)])
    assert "Normal images (1)" in headings(app)
    assert "byte for byte (also as two.png)" in said(app)


def test_what_was_there_stays_when_bad_files_come(small: Dataset) -> None:
    app = opened(Workspace(small.normals, small.tests, "metal"))
    upload(app, "Test images", [("notes.png", b"no image", PNG)])
    assert f"Test images ({len(small.tests)})" in headings(app)
    assert f"Normal images ({len(small.normals)})" in headings(app)


def reading(app: AppTest) -> Job:
    """The reading beside the page."""
    job = uploads.reading(app.session_state.session.number)
    assert job is not None
    return job


def test_an_archive_is_read_beside_the_page_and_shown_when_it_is_there() -> None:
    app = upload(opened(), "Both at once", [("set.zip", zipped(MVTEC), "application/zip")])
    job = over(reading(app))
    assert (job.status, job.done, job.total) == ("done", 6, 6)
    app.run()
    assert not app.exception
    assert "Normal images (2)" in headings(app)
    assert "Test images (4)" in headings(app)
    assert uploads.reading(app.session_state.session.number) is None


def waits_until_cancelled(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """In place of the process that reads, one that never ends; the event is set when it has begun."""
    begun, waits = threading.Event(), threading.Event()

    class Process:
        is_out_of_time = False

        def __init__(self, still_wanted: Callable[[], None]) -> None:
            self._still_wanted = still_wanted

        def run(self, *_: object) -> object:
            begun.set()
            while True:
                self._still_wanted()
                waits.wait(0.01)

    monkeypatch.setattr(uploads, "limited", lambda still_wanted: nullcontext(Process(still_wanted)))
    return begun


def said_once_cancelled(app: AppTest, job: Job) -> str:
    """What is said when *Cancel* is pressed, in that run of the page or in the next."""
    at_once = said(press(app, "Cancel"))
    assert over(job).status == "cancelled"
    app.run()
    assert not app.exception
    return at_once + said(app)


def test_while_files_are_read_no_others_are_taken_and_cancel_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = waits_until_cancelled(monkeypatch)
    app = upload(opened(), "Both at once", [("set.zip", zipped(MVTEC), "application/zip")])
    job = reading(app)
    assert begun.wait(60)
    app.run()
    assert places(app) == []
    assert "Reading was cancelled, and nothing changed." in said_once_cancelled(app, job)
    assert len(places(app)) == 4
    assert app.session_state.session.workspace.is_empty


def test_small_images_are_there_at_once_without_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "limited", None)
    app = upload(opened(), "Normal images", [("a.png", image(), PNG), ("b.jpg", image(1, form="JPEG"), "image/jpeg")])
    assert "Normal images (2)" in headings(app)
    assert jobs().latest(app.session_state.session.number, "upload") is None


def test_what_was_read_for_visitors_who_left_is_forgotten() -> None:
    job = uploads.read_beside("gone", [("set.zip", zipped(MVTEC))], None)
    assert over(job).status == "done"
    over(uploads.read_beside("here", [("set.zip", zipped(MVTEC))], None))
    assert uploads.reading("gone") is None
    assert uploads.reading("here") is not None


def test_a_single_archive_gives_the_images_its_name() -> None:
    archive = zipped({"good/0.png": image()})
    for files, name in (([("Parts.zip", archive)], "Parts"), ([("Parts.zip", archive)] * 2, "images")):
        assert over(uploads.read_beside("named", files, "normal")).result.name == name
        uploads.taken("named")
    dataset = uploads.read_at_once([("0.png", image())], "normal")
    assert dataset is not None
    assert dataset.name == "images"
