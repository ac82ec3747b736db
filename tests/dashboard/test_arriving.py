"""Images that arrive while others are open: the visitor is asked, and nothing is lost without an answer."""

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.services.models import sample
from dashboard.services.registry import registry
from dashboard.workspace import Workspace
from lake_core.config import LakeConfig
from lake_core.data.datasets import Dataset
from tests.dashboard.test_uploads import PNG, image, upload
from tests.dashboard.visit import APP, opened, press, texts


def held(app: AppTest) -> Workspace:
    found: Workspace = app.session_state.session.workspace
    return found


def n_images(app: AppTest) -> tuple[int, int]:
    return len(held(app).normals), len(held(app).tests)


@pytest.fixture
def asked() -> AppTest:
    """The page after three images were uploaded beside the sample metal, in two goes."""
    app = press(opened(), "Open metal")
    app.switch_page("app_pages/images.py").run()
    upload(app, "Normal images", [("one.png", image(1), PNG)])
    return upload(app, "Test images", [("two.png", image(2), PNG), ("three.png", image(3), PNG)])


def test_an_upload_beside_a_sample_asks_one_question_and_changes_nothing_yet(asked: AppTest) -> None:
    metal = sample("metal")
    assert n_images(asked) == (len(metal.normals), len(metal.tests))
    assert (
        f"**Replace the sample metal ({len(metal.normals)} normal and {len(metal.tests)} test images, with labels, "
        "object name and prompts) by your 1 normal and 2 test images, or add yours to it?**"
    ) in texts(asked)


def test_replacing_takes_the_upload_alone_and_forgets_the_other_object(asked: AppTest) -> None:
    assert asked.session_state.object_name == "metal flange"
    press(asked, "Replace")
    assert not asked.exception
    assert n_images(asked) == (1, 2)
    assert held(asked).sample == ""
    assert asked.session_state.session.settings.config.object_name == LakeConfig().object_name
    assert "Replace the sample" not in texts(asked)


def test_adding_keeps_both_and_a_further_upload_is_not_asked_about(asked: AppTest) -> None:
    metal = sample("metal")
    press(asked, "Add")
    assert n_images(asked) == (len(metal.normals) + 1, len(metal.tests) + 2)
    upload(asked, "Normal images", [("four.png", image(4), PNG)])
    assert n_images(asked) == (len(metal.normals) + 2, len(metal.tests) + 2)
    assert "Replace the sample" not in texts(asked)


def test_a_discarded_upload_leaves_the_sample_as_it_was(asked: AppTest) -> None:
    before = held(asked)
    press(asked, "Discard my upload")
    assert held(asked) is before
    assert "Replace the sample" not in texts(asked)


def test_a_reload_finds_the_question_again(asked: AppTest) -> None:
    again = AppTest.from_file(str(APP), default_timeout=120)
    again.query_params["w"] = asked.session_state.session.number
    again.run()
    press(again, "Replace")
    assert n_images(again) == (1, 2)


def test_an_answer_given_in_another_tab_holds(asked: AppTest) -> None:
    number = asked.session_state.session.number
    registry().keep(number, arrived=Workspace())
    before = held(asked)
    press(asked, "Replace")
    assert not asked.exception
    assert held(asked) is before


def test_a_file_that_is_no_image_asks_nothing() -> None:
    app = press(opened(), "Open metal")
    app.switch_page("app_pages/images.py").run()
    upload(app, "Test images", [("notes.png", b"no image", PNG)])
    assert "notes.png" in texts(app)
    assert "Replace" not in [button.label for button in app.button]


def test_a_sample_does_not_take_the_place_of_own_images_unasked(small: Dataset) -> None:
    own = Workspace(small.normals, small.tests, "own")
    app = press(opened(own), "Open gravel")
    assert held(app) is own
    assert (
        "Replace your 3 normal and 3 test images, with labels, object name and prompts, by the sample gravel"
        in texts(app)
    )
    press(app, "Keep mine")
    assert held(app) is own
    press(app, "Open gravel")
    press(app, "Replace")
    assert not app.exception
    assert held(app).sample == "gravel"
    assert len(held(app).tests) == len(sample("gravel").tests)
    assert app.session_state.object_name == "gravel"


def test_an_unchanged_sample_gives_way_to_another_at_once_and_a_relabelled_one_does_not() -> None:
    app = press(opened(), "Open metal")
    app.switch_page("app_pages/images.py").run()
    press(app, "Open textile")
    assert held(app).sample == "textile"
    changed = held(app).labelled({held(app).tests[0].image.sha256}, None)
    app.session_state.session.set_workspace(changed)
    app.switch_page("app_pages/images.py").run()
    press(app, "Open metal")
    assert held(app) is changed
    assert "by the sample metal" in texts(app)


def test_a_sample_does_not_take_the_place_of_a_waiting_upload(asked: AppTest) -> None:
    press(asked, "Open textile")
    assert "Your upload still waits for an answer" in texts(asked)
    press(asked, "Replace")
    assert n_images(asked) == (1, 2)


def test_an_upload_waits_even_when_the_sample_was_removed_meanwhile(asked: AppTest) -> None:
    asked.session_state.session.set_workspace(Workspace(sample="metal"))
    asked.run()
    assert "**Open your 1 normal and 2 test images?**" in texts(asked)
    press(asked, "Open")
    assert n_images(asked) == (1, 2)
    assert held(asked).sample == ""


def test_images_brought_after_the_samples_were_removed_are_not_credited_to_it(small: Dataset) -> None:
    app = opened(replace(Workspace(), sample="metal"))
    upload(app, "Normal images", [("one.png", image(1), PNG)])
    assert n_images(app) == (1, 0)
    assert "Sample metal" not in texts(app)
