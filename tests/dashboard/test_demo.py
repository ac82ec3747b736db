"""A server that was started read-only: samples and shared projects alone."""

from email.message import Message
from pathlib import Path

import pytest

from dashboard.services.autosave import autosave
from dashboard.services.models import known_specs
from dashboard.services.projects import as_project, store
from dashboard.session import READ_ONLY
from dashboard.settings import Settings
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from tests.dashboard.states import session, shas, snapshot, visited
from tests.dashboard.visit import forget_everything, opened, press, texts

PAGES = sorted(path.stem for path in (Path(__file__).parents[2] / "dashboard" / "app_pages").glob("[!_]*.py"))


@pytest.fixture(autouse=True)
def demo(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["app.py", "--read-only"])
    forget_everything()


def test_samples_are_opened_and_nothing_can_be_brought() -> None:
    app = opened()
    labels = [button.label for button in app.button]
    assert "Open metal" in labels
    assert not app.file_uploader
    assert not app.chat_input
    assert "your own images" not in texts(app)
    press(app, "Open metal")
    assert session(app).workspace.sample == "metal"
    app.switch_page("app_pages/images.py").run()
    assert not app.file_uploader
    assert "Share" not in [button.label for button in app.button]


def test_the_way_to_the_program_is_a_link_where_its_page_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "install LAKE Explorer as its README says." in texts(opened())
    named = Message()
    named["Project-URL"] = "Homepage, https://example.org/lake"
    monkeypatch.setattr("lake_core.version.metadata", lambda name: named)
    assert "install LAKE Explorer from [its page](https://example.org/lake)." in texts(opened())


@pytest.mark.parametrize("page", PAGES)
def test_no_page_takes_a_file_or_names_another_model(small: Dataset, page: str) -> None:
    app = opened(Workspace(small.normals, small.tests, "metal"), page)
    assert not app.exception
    assert not app.file_uploader
    assert app.sidebar.selectbox(key="backbone_choice").options == ["lake-cnn", "lake-vit"]


def test_a_page_without_images_offers_samples_alone() -> None:
    app = opened(page="results")
    assert "Open a sample." in texts(app)
    assert "page Images" not in texts(app)


def test_a_shared_project_is_seen_and_copied(small: Dataset) -> None:
    shared = store().share(as_project(snapshot(small), for_others=True))
    app = visited(project=shared)
    here = session(app)
    assert here.is_read_only
    press(app, "Make a copy")
    assert not here.is_read_only
    assert shas(here.workspace) == shas(Workspace(small.normals, small.tests))
    assert READ_ONLY not in texts(app)


def test_nothing_of_a_visitor_is_stored(small: Dataset) -> None:
    app = opened(Workspace(small.normals, small.tests, "metal"))
    session(app).own_threshold = 0.7
    autosave().flush()
    assert store().find("sessions", session(app).number) is None
    number = session(app).number
    forget_everything()
    assert "Open a sample again." in texts(visited(w=number))


def test_a_shared_project_with_another_model_is_shown_with_one_that_is_included(
    small: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where that model lies on this machine."""
    monkeypatch.setattr("dashboard.services.models.cached_pretrained", lambda: ["ViT-B-16:openai"])
    held = snapshot(small, settings=Settings("ViT-B-16:openai"), configurations=())
    shared = store().share(as_project(held, for_others=True))
    app = visited(project=shared)
    assert known_specs() == ["lake-cnn", "lake-vit"]
    assert session(app).settings.spec == "lake-cnn"
    assert "lake-cnn is used instead, and scores differ." in texts(app)
