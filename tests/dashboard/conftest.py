"""What the dashboard's tests share: no command-line arguments, and a small set of images."""

from collections.abc import Iterator
from functools import cache

import pytest
from streamlit import config
from streamlit.components.v2 import manifest_scanner

from dashboard.services.analysis import Analysis, analyse
from dashboard.services.models import model
from dashboard.settings import ModelKey, Settings
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from lake_core.data.samples import load_sample
from tests.dashboard.visit import forget_everything


@pytest.fixture(scope="session", autouse=True)
def packages_read_once() -> Iterator[None]:
    """Streamlit reads the metadata of every installed package for each `AppTest`: half a second, always the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["app.py"])


@pytest.fixture(autouse=True)
def on_this_machine() -> Iterator[None]:
    """The server listens where only this machine reaches it, as `lake dashboard` does unless told otherwise."""
    config.set_option("server.address", "127.0.0.1")
    yield
    config.set_option("server.address", None)


@pytest.fixture(scope="session", autouse=True)
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Sessions are kept in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAKE_STORE", str(tmp_path_factory.mktemp("store")))
        yield


@pytest.fixture
def nothing_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results on demand are asked for, however fast this machine is."""
    monkeypatch.setattr("dashboard.components.progress.AT_ONCE_SECONDS", 0.0)


@pytest.fixture
def fresh() -> None:
    """Nothing is known yet."""
    forget_everything()


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Selection draws 9 random selections instead of 99."""
    monkeypatch.setattr("lake_core.experiments.controls.N_DRAWS", 9)


@pytest.fixture(scope="module")
def small() -> Iterator[Dataset]:
    """Three normal images of the metal sample, and one good and two defective ones."""
    metal = load_sample("metal")
    good = next(example for example in metal.tests if example.label == "good")
    yield Dataset("metal", metal.normals[:3], (good, metal.tests[0], metal.tests[-1]))
    forget_everything()


@pytest.fixture
def found(small: Dataset) -> Analysis:
    """The analysis of these images by the core, all hook points computed."""
    workspace = Workspace(small.normals, small.tests, small.name)
    store = model(ModelKey("lake-cnn", 384))
    store.ensure(workspace.images, store.backbone.hook_points)
    return analyse(Settings(), workspace, None)
