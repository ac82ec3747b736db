"""Projects that are shared by a link, and sessions that are found again after the server has forgotten all."""

import time

import pytest

from dashboard.services.autosave import autosave, waiting
from dashboard.services.projects import as_project, store
from dashboard.services.registry import Registry, registry
from dashboard.session import READ_ONLY
from dashboard.settings import Note, Settings
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from lake_core.errors import LakeError
from lake_core.projects.manifest import Chosen
from tests.dashboard.states import PIN, session, shas, snapshot, visited
from tests.dashboard.visit import forget_everything, full, opened, press, texts

# Shared --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def shared(small: Dataset) -> str:
    return store().share(as_project(snapshot(small), Chosen(layer=15, neuron=3), for_others=True))


def test_sharing_gives_a_link_to_the_state_of_that_moment(small: Dataset) -> None:
    app = press(full(small, "images"), "Share")
    identity = session(app).shared_as
    assert len(identity) == 22
    assert any(identity in code.value for code in app.code)
    session(app).pins = (PIN,)
    found = store().find("shared", identity)
    assert found is not None
    assert found.manifest.pins == ()
    assert visited(project=identity).session_state.session.pins == ()


def test_an_address_that_chooses_what_cannot_be_is_shared_without_it(small: Dataset) -> None:
    app = full(small, "images")
    for odd in ({"image": "../../etc"}, {"layer": 99_999_999}, {"patch": 99_999_999}):
        session(app).set_focus(**odd)
        press(app, "Share")
        found = store().find("shared", session(app).shared_as)
        assert found is not None
        assert found.manifest.chosen == Chosen()


def test_a_shared_project_cannot_be_changed(small: Dataset, shared: str) -> None:
    app = visited(project=shared)
    here = session(app)
    before = here.snapshot
    assert here.is_read_only
    assert here.link["project"] == shared
    assert "w" not in here.link
    assert (here.focus.layer, here.focus.neuron) == (15, 3)
    here.pins, here.own_threshold = (), 9.0
    here.set_notes({PIN: Note("", "changed")})
    here.set_settings(Settings("lake-vit"))
    here.set_configurations(())
    with pytest.raises(LakeError, match="Make a copy"):
        here.set_workspace(Workspace())
    assert here.snapshot == before
    app.run()
    assert here.settings.spec == "lake-cnn"
    assert READ_ONLY in texts(app)
    assert "Add a few images" not in texts(app)
    labels = [button.label for button in app.button]
    assert labels.count("Make a copy") == 1
    assert "Share" not in labels
    assert not any(label.startswith("Open ") for label in labels)
    assert all(button.disabled for button in app.button if button.label == "Remove")
    assert all(box.disabled for box in app.selectbox)
    assert not app.sidebar.slider


@pytest.mark.parametrize("page", ["results", "explain", "neurons", "selection", "text_prompts", "compare"])
def test_a_shared_project_shows_on_every_page(shared: str, page: str) -> None:
    app = visited(project=shared)
    before = session(app).snapshot
    app.switch_page(f"app_pages/{page}.py").run()
    assert not app.exception
    assert session(app).snapshot == before
    assert [button.label for button in app.button].count("Make a copy") == 1


def test_a_copy_is_the_visitors_own(shared: str) -> None:
    app = press(visited(project=shared), "Make a copy")
    here = session(app)
    assert not here.is_read_only
    assert here.link["w"] == here.number
    assert "project" not in here.link
    assert here.notes == {PIN: Note("Scratches", "Bright edges.")}
    assert app.sidebar.slider(key="top_k").value == 40
    app.sidebar.slider(key="top_k").set_value(30).run()
    found = store().find("shared", shared)
    assert found is not None
    assert found.manifest.configuration.parameters.top_k == 40


def test_a_link_to_nothing_says_so_and_begins_empty() -> None:
    for identity in ("a" * 22, "../../etc/passwd", "x"):
        app = visited(project=identity)
        assert session(app).workspace.is_empty
        assert not session(app).is_read_only
        assert "There is no shared project at this address" in texts(app)


# Kept for a restart --------------------------------------------------------------------------------------------------


def test_a_server_that_starts_again_finds_the_session(small: Dataset) -> None:
    app = full(small, "neurons")
    here = session(app)
    here.pin(PIN, Note("Scratches", "Bright edges."))
    here.own_threshold = 0.7
    number, link = here.number, here.link
    autosave().flush()
    forget_everything()
    assert registry().find(number) is None
    again = visited(**link)
    found = session(again)
    assert found.number == number
    assert shas(found.workspace) == shas(Workspace(small.normals, small.tests))
    assert (found.pins, found.notes) == ((PIN,), {PIN: Note("Scratches", "Bright edges.")})
    assert found.own_threshold == 0.7
    assert found.settings == here.settings
    assert (found.focus.layer, found.focus.neuron) == (here.focus.layer, here.focus.neuron)


def test_images_that_wait_for_an_answer_are_found_again(small: Dataset) -> None:
    app = full(small, "images")
    here = session(app)
    here.arrived = Workspace((), small.tests[:1], "yours")
    number, link = here.number, here.link
    autosave().flush()
    forget_everything()
    again = visited(**link)
    assert shas(session(again).arrived) == shas(Workspace((), small.tests[:1]))
    press(again, "Discard my upload")
    autosave().flush()
    assert store().find("sessions", waiting(number)) is None
    assert store().find("sessions", number) is not None


def test_a_session_without_images_is_not_kept_and_one_that_was_emptied_goes(small: Dataset) -> None:
    app = full(small, "images")
    number = session(app).number
    autosave().flush()
    assert store().find("sessions", number) is not None
    press(app, "Remove all images")
    autosave().flush()
    assert store().find("sessions", number) is None
    empty = opened()
    autosave().flush()
    assert store().find("sessions", session(empty).number) is None


def test_who_opens_an_address_that_is_shown_elsewhere_gets_a_copy(
    small: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.components.arrival.LEAVING_S", 0.1)
    held = Registry(lambda tab: tab == "the first tab")
    monkeypatch.setattr("dashboard.services.registry.registry", lambda: held)
    number = held.create()
    held.keep(number, workspace=Workspace(small.normals, small.tests, "metal"))
    held.connect(number, "the first tab")
    app = visited(w=number)
    assert session(app).number != number
    assert shas(session(app).workspace) == shas(Workspace(small.normals, small.tests))
    assert "has a copy of its own" in texts(app)
    session(app).set_workspace(Workspace(small.normals[:1]))
    first = held.find(number)
    assert first is not None
    assert len(first.workspace.normals) == len(small.normals)


def test_a_tab_that_is_being_reloaded_is_waited_for(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    leaves_at = time.monotonic() + 0.3
    held = Registry(lambda tab: tab == "before" and time.monotonic() < leaves_at)
    monkeypatch.setattr("dashboard.services.registry.registry", lambda: held)
    number = held.create()
    held.keep(number, workspace=Workspace(small.normals))
    held.connect(number, "before")
    assert session(visited(w=number)).number == number
