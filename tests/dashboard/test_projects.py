"""Projects in the dashboard: what a visitor has as a file and back, and what a file may not do."""

from dataclasses import replace
from typing import Any
from zipfile import ZIP_DEFLATED

import pytest

from dashboard.components.projects import file_of
from dashboard.services import uploads
from dashboard.services.analysis import analyse
from dashboard.services.projects import agreement, as_project, as_snapshot, scores_now
from dashboard.services.registry import registry
from dashboard.settings import Settings
from dashboard.workspace import Workspace
from lake_core.backbones.backbone import Backbone
from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.datasets import Dataset
from lake_core.projects.manifest import Chosen
from lake_core.projects.project import Project
from lake_core.projects.project_file import project_bytes, read_project
from lake_core.prompts import PromptEnsemble
from tests.core.memory import peak_growth
from tests.core.projects.cases import entries, packed, with_manifest
from tests.dashboard.states import session, shas, snapshot, visited
from tests.dashboard.test_uploads import places, reading, said_once_cancelled, upload, waits_until_cancelled
from tests.dashboard.visit import forget_everything, full, opened, over, run, texts

MIME = "application/zip"


# Back and forth ------------------------------------------------------------------------------------------------------


def test_a_visitors_state_comes_back_whole(small: Dataset) -> None:
    held = snapshot(small)
    chosen = Chosen(image=small.tests[1].image.sha256, layer=15, neuron=3, patch=7)
    project = read_project(project_bytes(as_project(held, chosen, for_others=True)))
    found, said = as_snapshot(project.opened(), is_own=False)
    assert said == []
    assert project.manifest.chosen == chosen
    assert shas(found.workspace) == shas(held.workspace)
    assert [e.label for e in found.workspace.tests] == [e.label for e in held.workspace.tests]
    assert (found.workspace.name, found.workspace.sample) == ("metal", "metal")
    for name in ("settings", "configurations", "pins", "notes", "own_threshold"):
        assert getattr(found, name) == getattr(held, name), name


def test_others_see_no_path_of_the_server_and_the_visitor_finds_the_own_model(small: Dataset) -> None:
    held = snapshot(small, settings=Settings("local-dir:/srv/models/x", None, LakeConfig(layers=(40,))))
    for_others = as_project(held, for_others=True)
    assert for_others.manifest.configuration.spec == "local-dir:x"
    assert b"/srv/models" not in project_bytes(for_others)
    assert as_project(held, for_others=False).manifest.configuration.spec == "local-dir:/srv/models/x"
    found, said = as_snapshot(for_others.opened(), is_own=False)
    assert (found.settings.spec, found.settings.config.layers) == ("lake-cnn", None)
    assert "not opened just because a project names it" in said[0]


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("spec", ["hf-hub:evil/x", "ViT-L-14:openai", "local-dir:/tmp", "checkpoint:/a.pt@/b", "zzz"])
def test_no_project_opens_a_model_that_is_not_offered_here(
    small: Dataset, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = as_project(snapshot(small, configurations=()), for_others=True)
    evil = project.manifest.configuration.model_copy(update={"spec": spec})
    data = project_bytes(Project(project.manifest.model_copy(update={"configuration": evil}), project.files))
    opened_specs: list[str] = []

    def spy(asked: str, **options: Any) -> Backbone:
        opened_specs.append(asked)
        return open_backbone(asked, **options)

    monkeypatch.setattr("dashboard.services.models.open_backbone", spy)
    monkeypatch.setattr("socket.create_connection", lambda *_, **__: pytest.fail("something is fetched"))
    app = upload(opened(), "Open a project", [("evil.lake", data, MIME)])
    assert session(app).settings.spec == "lake-cnn"
    assert set(opened_specs) == {"lake-cnn"}
    assert "not opened just because a project names it" in texts(app)


# Save and open -------------------------------------------------------------------------------------------------------


def test_a_project_that_was_saved_opens_beside_what_was_there_and_its_scores_agree(small: Dataset) -> None:
    app = full(small, "results")
    run(app, own_threshold=0.9)
    data = file_of(session(app))()
    manifest = read_project(data).manifest
    assert manifest.scores is not None
    assert manifest.own_threshold == 0.9

    other = opened(Workspace(small.normals[:1]))
    before = session(other).number
    upload(other, "Open a project", [("metal.lake", data, MIME)])
    assert session(other).number != before
    assert shas(session(other).workspace) == shas(session(app).workspace)
    assert session(other).own_threshold == 0.9
    left = registry().find(before)
    assert left is not None
    assert len(left.workspace.normals) == 1
    assert f"?w={before}" in texts(other)
    other.switch_page("app_pages/results.py").run()
    other.switch_page("app_pages/images.py").run()
    assert not other.exception
    assert "When the project was opened, its scores were computed again. All " in texts(other)
    assert "numbers agree to 0.0001" in texts(other)


def test_scores_that_do_not_agree_are_said_with_what_differs(small: Dataset) -> None:
    app = full(small, "results")
    project = read_project(file_of(session(app))())
    assert project.manifest.scores is not None
    scores = project.manifest.scores.model_copy(update={"threshold": 0.1})
    made = project.manifest.made_with.model_copy(update={"device": "NVIDIA H100"})
    changed = project.manifest.model_copy(update={"scores": scores, "made_with": made})
    other = upload(opened(), "Open a project", [("a.lake", project_bytes(Project(changed, project.files)), MIME)])
    other.switch_page("app_pages/results.py").run()
    assert "the threshold: 0.1 in the project" in texts(other)
    assert "The device differs: NVIDIA H100 in the project, cpu here." in texts(other)


def test_a_file_that_is_none_changes_nothing(small: Dataset) -> None:
    app = full(small, "images")
    number, before = session(app).number, session(app).snapshot
    upload(app, "Open a project", [("evil.lake", b"PK\x05\x06 nothing", MIME)])
    assert session(app).number == number
    assert session(app).snapshot == before
    assert "evil.lake is not a ZIP archive" in texts(app)


def heavy(small: Dataset) -> bytes:
    """A project that is opened beside the page, because somebody has compressed it."""
    return packed(entries(project_bytes(as_project(snapshot(small), for_others=True))), ZIP_DEFLATED)


def test_a_heavy_project_is_opened_beside_the_page_and_shown_when_it_is_there(small: Dataset) -> None:
    app = opened(Workspace(small.normals[:1]))
    before = session(app).number
    upload(app, "Open a project", [("metal.lake", heavy(small), MIME)])
    job = over(reading(app))
    assert (job.title, job.status, job.done, job.total) == ("Opening the project", "done", 6, 6)
    app.run()
    assert not app.exception
    assert session(app).number != before
    assert shas(session(app).workspace) == shas(Workspace(small.normals, small.tests))
    assert app.sidebar.slider(key="top_k").value == 40
    assert f"?w={before}" in texts(app)
    assert uploads.reading(before) is None


def test_a_project_whose_opening_was_cancelled_changes_nothing(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = waits_until_cancelled(monkeypatch)
    app = full(small, "images")
    number = session(app).number
    upload(app, "Open a project", [("metal.lake", heavy(small), MIME)])
    job = reading(app)
    assert begun.wait(60)
    app.run()
    assert "Opening the project: begun" in app.get("progress")[0].proto.text
    assert places(app) == []
    assert "Reading was cancelled, and nothing changed." in said_once_cancelled(app, job)
    assert session(app).number == number


def test_a_project_that_ends_the_program_is_said_and_leaves_the_server_as_it_was(small: Dataset) -> None:
    """Two million faults in a manifest take 8 s and 2 GB of memory where they are checked."""
    data = with_manifest(lambda manifest: manifest.update(normals=[1] * 1_600_000))
    app = full(small, "images")
    number, before = session(app).number, session(app).snapshot
    with peak_growth() as grown:
        upload(app, "Open a project", [("evil.lake", data, MIME)])
        over(reading(app))
    app.run()
    assert grown.n_bytes < 200_000_000
    assert (session(app).number, session(app).snapshot) == (number, before)
    assert [line for line in texts(app).splitlines() if line.startswith("evil.lake ")]


def test_scores_are_saved_only_where_the_network_has_run(small: Dataset) -> None:
    forget_everything()
    held = snapshot(small)
    assert scores_now(held) is None
    assert scores_now(replace(held, workspace=Workspace())) is None


def test_a_project_is_compared_only_with_its_own_images_and_configuration(small: Dataset) -> None:
    app = full(small, "results")
    manifest = read_project(file_of(session(app))()).manifest
    here = session(app)
    assert agreement(manifest, analyse(here.settings, here.workspace)) is not None
    assert agreement(manifest, analyse(here.settings.having(top_k=5), here.workspace)) is None
    fewer = here.workspace.without("tests", small.tests[0].image.sha256)
    assert agreement(manifest, analyse(here.settings, fewer)) is None


def odd(small: Dataset, **parameters: Any) -> bytes:
    """A project with parameters that the sidebar does not offer."""
    settings = Settings("lake-cnn", parameters.pop("image_size", 384), LakeConfig(**parameters))
    return project_bytes(as_project(snapshot(small, settings=settings, configurations=()), for_others=True))


def test_parameters_that_the_sidebar_does_not_offer_are_shown_as_they_are(small: Dataset) -> None:
    data = odd(small, image_size=128, smooth=7, top_q=33, fusion_weight=0.123, top_k=9999)
    app = upload(opened(), "Open a project", [("a.lake", data, MIME)])
    settings = session(app).settings
    assert (settings.image_size, settings.config.smooth, settings.config.top_q) == (128, 7, 33)
    assert settings.config.fusion_weight == 0.123


@pytest.mark.parametrize("parameters", [{"layers": (9999,)}, {"image_size": 100}])
def test_what_the_model_does_not_have_is_said_and_nothing_is_opened(small: Dataset, parameters: dict[str, Any]) -> None:
    app = opened()
    number = session(app).number
    upload(app, "Open a project", [("a.lake", odd(small, **parameters), MIME)])
    assert session(app).number == number
    assert session(app).workspace.is_empty
    assert "configuration cannot be used here" in texts(app)
    assert [button for button in app.button if button.label == "Open metal"]


def test_a_sample_that_is_none_is_not_looked_for(small: Dataset) -> None:
    project = as_project(snapshot(small), for_others=True)
    changed = project.manifest.model_copy(update={"sample": "../../etc"})
    data = project_bytes(Project(changed, project.files))
    app = upload(opened(), "Open a project", [("a.lake", data, MIME)])
    assert session(app).workspace.sample == ""
    assert session(app).workspace.n_images == 6


def test_very_many_prompts_are_said_in_place_of_the_button(small: Dataset) -> None:
    many = PromptEnsemble(normal_states=("{}",) * 201)
    app = opened(Workspace(small.normals, small.tests, "metal"))
    session(app).set_settings(session(app).settings.having(prompts=many))
    app.run()
    assert "cannot be saved as a project" in texts(app)


def test_a_launch_with_a_project_begins_with_it(small: Dataset, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metal.lake"
    path.write_bytes(project_bytes(as_project(snapshot(small), for_others=True)))
    monkeypatch.setattr("sys.argv", ["app.py", "--project", str(path)])
    app = visited()
    assert shas(session(app).workspace) == shas(Workspace(small.normals, small.tests))
    assert app.title[0].value == "Explain"
    assert not session(app).is_read_only
