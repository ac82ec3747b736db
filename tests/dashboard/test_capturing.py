"""Images from the camera and the clipboard: behind a choice, and through the same checks as files."""

import pytest
from streamlit.testing.v1 import AppTest

from tests.dashboard.test_uploads import PNG, headings, image, said
from tests.dashboard.visit import opened, press, texts

JPEG = "image/jpeg"


def by(way: str) -> AppTest:
    """The page Images with this way to bring images chosen."""
    app = opened()
    choose(app, "way", way)
    return app


def choose(app: AppTest, key: str, option: str) -> None:
    app.segmented_control(key=key).set_value(option).run()
    assert not app.exception


def test_no_camera_opens_by_itself() -> None:
    app = opened()
    assert not app.camera_input
    assert sum((one.key or "").startswith("upload_") for one in app.file_uploader) == 3
    choose(app, "way", "Camera")
    assert len(app.camera_input) == 1
    choose(app, "way", "Files")
    assert not app.camera_input


def photograph(app: AppTest, content: bytes) -> None:
    app.camera_input[0].set_value(("camera_input_1.jpg", content, JPEG)).run()
    assert not app.exception


def test_photographs_are_added_one_after_the_other_and_can_be_told_apart() -> None:
    app = by("Camera")
    photograph(app, image(1, form="JPEG"))
    photograph(app, image(2, form="JPEG"))
    choose(app, "camera_role", "normal")
    photograph(app, image(3, form="JPEG"))
    workspace = app.session_state.session.workspace
    assert [example.image.name for example in workspace.tests] == ["camera.jpg", "camera (2).jpg"]
    assert [example.image.name for example in workspace.normals] == ["camera.jpg"]
    assert [example.label for example in workspace.tests] == [None, None]


def test_a_broken_photograph_is_refused_in_a_sentence() -> None:
    app = by("Camera")
    photograph(app, image(1, form="JPEG")[:300])
    assert "camera.jpg is damaged or incomplete" in said(app)
    assert app.session_state.session.workspace.is_empty


def paste(app: AppTest, *files: tuple[str, bytes], text: str = "") -> None:
    for name, content in files:
        app.chat_input[0].upload(name, content, PNG)
    app.chat_input[0].set_value(text).run()
    assert not app.exception


def test_pasted_images_are_added_where_they_belong() -> None:
    app = by("Clipboard")
    paste(app, ("image.png", image(1)))
    choose(app, "clipboard_role", "normal")
    paste(app, ("image.png", image(2)), ("part.png", image(3)))
    assert "Test images (1)" in headings(app)
    assert "Normal images (2)" in headings(app)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"no image at all", "image.png is a text file, not an image"),
        (image()[:200], "image.png is damaged or incomplete"),
        (b"", "image.png is empty"),
    ],
)
def test_what_is_pasted_is_checked_as_files_are(content: bytes, sentence: str) -> None:
    app = by("Clipboard")
    paste(app, ("image.png", content))
    assert sentence in said(app)
    assert app.session_state.session.workspace.is_empty


def test_pasted_text_is_told_apart_from_an_image() -> None:
    app = by("Clipboard")
    paste(app, text="https://example.org/image.png")
    assert "That was text, not an image" in texts(app)
    assert app.session_state.session.workspace.is_empty


def test_a_photograph_taken_beside_a_sample_waits_for_an_answer() -> None:
    app = press(opened(), "Open metal")
    app.switch_page("app_pages/images.py").run()
    choose(app, "way", "Camera")
    photograph(app, image(1, form="JPEG"))
    assert "by your 1 test image, or add yours to it?" in texts(app)
