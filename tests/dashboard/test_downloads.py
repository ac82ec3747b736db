"""A model that is not on this machine is downloaded beside the page, and in use only when it is here."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants as hub_constants
from streamlit.testing.v1 import AppTest

from dashboard.components.sidebar import OTHER
from dashboard.services import models
from dashboard.services.cache import results
from dashboard.services.jobs import Job, jobs
from dashboard.text import escaped
from dashboard.workspace import Workspace
from lake_core.backbones import catalogue
from lake_core.backbones.catalogue import OFFERED, UNTUNED, Offered
from lake_core.data.datasets import Dataset
from tests.core.hub import REPOSITORY, SPEC, LocalHub, partial_files, running_hub
from tests.dashboard.visit import opened, over, press, texts

TINY = Offered(SPEC, "Tiny CLIP", "A tiny model of the tests.", "MIT-0", 6)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def local_hub(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[LocalHub]:
    """A hub that has one model, which the sidebar offers."""
    monkeypatch.setattr(models, "OFFERED", (TINY,))
    monkeypatch.setitem(catalogue._BY_SPEC, SPEC, TINY)
    results().clear()
    with running_hub(monkeypatch, cache) as found:
        yield found
    results().clear()


def choose(app: AppTest, choice: str) -> AppTest:
    app.selectbox(key="backbone_choice").set_value(choice).run()
    assert not app.exception
    return app


def download_of(app: AppTest) -> Job:
    job = jobs().latest(app.session_state.session.number, "download")
    assert job is not None
    return job


def begun(job: Job) -> Job:
    """A download whose first bytes are here."""
    end = time.monotonic() + 30
    while job.done < 1 and time.monotonic() < end:
        time.sleep(0.01)
    assert job.is_running
    assert job.done >= 1
    return job


def in_use(app: AppTest) -> str:
    return str(app.session_state.session.settings.spec)


def test_the_picker_offers_models_with_size_and_licence() -> None:
    results().clear()
    options = opened().selectbox(key="backbone_choice").options
    assert options[:2] == ["lake-cnn", "lake-vit"]
    assert options[-1] == OTHER
    for one in OFFERED:
        assert f"{one.title} ↓ {one.n_megabytes / 1000:.1f} GB, {one.licence}" in options


def test_choosing_one_downloads_it_while_the_page_stays_and_then_takes_it(local_hub: LocalHub, small: Dataset) -> None:
    app = opened(Workspace(small.normals, small.tests, small.name))
    local_hub.may_send.clear()
    choose(app, SPEC)
    job = begun(download_of(app))
    assert in_use(app) == app.selectbox(key="backbone_choice").value == "lake-cnn"
    assert f"Downloading **{escaped(SPEC)}**. Licence: MIT-0. Until it is here, lake-cnn stays in use." in texts(app)
    assert UNTUNED not in texts(app)

    local_hub.may_send.set()
    assert over(job).status == "done"
    assert job.total == round(len(local_hub.files[f"{REPOSITORY}/open_clip_model.safetensors"]) / 1e6) == job.done
    app.run()
    assert not app.exception
    assert in_use(app) == app.selectbox(key="backbone_choice").value == SPEC
    assert SPEC in app.selectbox(key="backbone_choice").options
    assert "A tiny model of the tests. Licence: MIT-0." in texts(app)
    assert UNTUNED in texts(app)

    choose(app, "lake-vit")
    app.run()
    assert in_use(app) == "lake-vit"
    assert UNTUNED not in texts(app)


def test_a_download_can_be_cancelled_and_leaves_everything_as_it_was(local_hub: LocalHub, cache: Path) -> None:
    app = opened()
    local_hub.may_send.clear()
    choose(app, SPEC)
    job = begun(download_of(app))
    press(app, "Cancel")
    local_hub.may_send.set()
    assert over(job).status == "cancelled"
    app.run()
    assert in_use(app) == app.selectbox(key="backbone_choice").value == "lake-cnn"
    assert "was stopped; nothing of it was kept" in texts(app)
    assert partial_files(cache) == []
    assert models.offered_specs() == [SPEC]

    press(app, "Try again")
    assert over(download_of(app)).status == "done"
    app.run()
    assert in_use(app) == SPEC


def test_without_a_network_one_sentence_says_so_and_everything_stays(
    local_hub: LocalHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{filename}")
    app = choose(opened(), SPEC)
    assert over(download_of(app)).status == "failed"
    app.run()
    assert len(app.error) == 1
    assert "the hub cannot be reached" in app.error[0].value
    assert "\n" not in app.error[0].value
    assert "Traceback" not in texts(app)
    assert in_use(app) == app.selectbox(key="backbone_choice").value == "lake-cnn"
    assert not cache.exists()
    choose(app, "lake-vit")
    assert not app.error
    assert in_use(app) == "lake-vit"


def test_a_model_typed_that_is_not_here_is_downloaded_the_same_way(local_hub: LocalHub) -> None:
    spec = f"hf-hub:{REPOSITORY}"
    app = choose(opened(), OTHER)
    local_hub.may_send.clear()
    app.text_input(key="other_spec").set_value(spec).run()
    assert not app.exception
    assert in_use(app) == "lake-cnn"
    assert "lake-cnn stays in use" in texts(app)
    local_hub.may_send.set()
    assert over(download_of(app)).status == "done"
    app.run()
    assert not app.exception
    assert in_use(app) == spec
    assert jobs().latest(app.session_state.session.number, "download") is None


@pytest.mark.parametrize("spec", ["lake-rnn", "hf-hub:not a name/of a/repository", "local-dir:/no/such"])
def test_what_is_no_model_is_not_sought_on_the_hub(local_hub: LocalHub, spec: str) -> None:
    app = choose(opened(), OTHER)
    app.text_input(key="other_spec").set_value(spec).run()
    assert not app.exception
    assert len(app.error) == 1
    assert jobs().latest(app.session_state.session.number, "download") is None
    assert local_hub.asked == []


@pytest.mark.parametrize("query", [{"model": SPEC}, {"backbone_choice": SPEC}, {"other_spec": SPEC, "model": SPEC}])
def test_an_address_begins_no_download(local_hub: LocalHub, query: dict[str, str]) -> None:
    app = AppTest.from_file(str(Path(models.__file__).parents[1] / "app.py"), default_timeout=120)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    assert in_use(app) == "lake-cnn"
    assert jobs().latest(app.session_state.session.number, "download") is None
    assert SPEC not in texts(app)
    assert local_hub.asked == []


def test_a_download_waits_for_no_computation_and_no_computation_for_it(local_hub: LocalHub) -> None:
    local_hub.may_send.clear()
    job = begun(models.download("somebody", SPEC))
    beside = jobs().beside("somebody", "key", "Counting", lambda report: 7)
    assert over(beside).result == 7
    assert models.download("somebody", SPEC) is job
    local_hub.may_send.set()
    assert over(job).status == "done"
