"""What a server makes before its first visitor comes: once, for all of them, and only what the page takes from it."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.services import warm_up
from dashboard.services.jobs import Job
from dashboard.services.models import model
from dashboard.settings import Settings
from lake_core.backbones.feature_store import FeatureStore
from lake_core.data.datasets import Dataset
from lake_core.detector.lake import Lake
from lake_core.errors import DatasetError
from tests.dashboard.visit import APP, over, texts

ROOT = Path(__file__).parents[2]
SLOW = ("sklearn", "scipy.stats", "scipy.ndimage", "matplotlib", "captum", "torch._dynamo", "ray")
"""Libraries that take long to import, and that the first page does not use."""


def visited(sample: str, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setattr("sys.argv", ["app.py", "--sample", sample])
    return AppTest.from_file(str(APP), default_timeout=120).run()


def warmed(sample: str | None) -> Job:
    return over(warm_up.begin(sample))


def imported_by(code: str) -> set[str]:
    """The modules that are there after some code, in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return set(ran.stdout.split())


def test_what_comes_before_the_first_heading_waits_for_no_network() -> None:
    assert not {"torch", "open_clip", "pandas", "scipy"} & imported_by("import dashboard.services.warm_up")


def test_the_first_page_waits_for_nothing_that_it_does_not_use() -> None:
    code = "import runpy, dashboard.entry; from dashboard.views.explain import layers, sections"
    code += "; import dashboard.components.film_strip, dashboard.services.first_page"
    assert not set(SLOW) & imported_by(code)


@pytest.mark.usefixtures("fresh")
def test_the_first_visitor_finds_everything_made(monkeypatch: pytest.MonkeyPatch) -> None:
    assert warmed("metal").status == "done"
    store = model(Settings().model)
    n_images = store.n_forwards

    def again(*args: object, **options: object) -> None:
        raise AssertionError("made twice")

    monkeypatch.setattr(FeatureStore, "_compute", again)
    for function in ("fit", "compute_maps", "with_own_text"):
        monkeypatch.setattr(Lake, function, again)
    monkeypatch.setattr("dashboard.services.images.encode", again)
    monkeypatch.setattr("dashboard.services.images.Sprite", again)
    monkeypatch.setattr("dashboard.views.explain.layers.beside", lambda *args: None)
    for _ in range(2):
        app = visited("metal", monkeypatch)
        assert not app.exception
        assert [title.value for title in app.title] == ["Explain"]
    assert store.n_forwards == n_images == 26  # those of the sample, each once


@pytest.mark.usefixtures("fresh")
def test_without_a_sample_the_backbone_is_opened_and_nothing_runs() -> None:
    assert warmed(None).status == "done"
    assert model(Settings().model).n_forwards == 0


@pytest.mark.usefixtures("fresh")
def test_a_sample_that_cannot_be_read_gives_its_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Dataset:
        raise DatasetError(f"{name} cannot be read; install it again.")

    monkeypatch.setattr("dashboard.services.models.load_sample", broken)
    monkeypatch.setattr("dashboard.components.analysis.sample_cards", lambda page_after: None)
    job = warmed("metal")
    assert (job.status, job.error) == ("failed", "metal cannot be read; install it again.")
    app = visited("metal", monkeypatch)
    assert not app.exception
    assert "metal cannot be read; install it again." in texts(app)


def test_a_visitor_who_has_to_wait_is_told_what_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ImportError("no torch")

    monkeypatch.setattr(warm_up, "is_loaded", lambda: False)
    monkeypatch.setattr(warm_up, "load", broken)
    app = AppTest.from_file(str(APP)).run()
    assert [title.value for title in app.title] == ["LAKE Explorer"]
    assert app.exception[0].message == "no torch"


@pytest.mark.usefixtures("fresh")
def test_the_warm_up_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    is_begun = threading.Event()
    monkeypatch.setattr(warm_up, "load", lambda report: is_begun.wait())
    job = warm_up.begin("metal")
    job.cancel()  # as the server does that ends
    is_begun.set()
    assert over(job).status == "cancelled"
    assert 0 < model(Settings().model).n_forwards <= 8
