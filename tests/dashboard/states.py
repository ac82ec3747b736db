"""A visitor's state with all that there may be, and the app as somebody opens it by an address."""

from dataclasses import replace
from typing import Any

from streamlit.testing.v1 import AppTest

from dashboard.services.snapshot import Snapshot
from dashboard.session import Session
from dashboard.settings import ModelKey, Note, Pin, Settings
from dashboard.workspace import Workspace
from lake_core.config import LakeConfig
from lake_core.data.datasets import Dataset
from lake_core.prompts import PromptEnsemble
from tests.dashboard.visit import APP

PIN, OTHER_PIN = (Pin(ModelKey("lake-cnn", 384), 15, "mlp_hidden", neuron) for neuron in (3, 276))


def snapshot(small: Dataset, **changes: Any) -> Snapshot:
    """A visitor's state with all that there may be."""
    prompts = PromptEnsemble(normal_states=("perfect {}",), anomalous_states=("scratched {}",))
    settings = Settings("lake-cnn", 384, LakeConfig(top_k=40, object_name="flange", prompts=prompts))
    held = Snapshot(
        Workspace(small.normals, small.tests, "metal", "metal"),
        settings=settings,
        configurations=(settings, Settings(config=LakeConfig(fusion_weight=0.0))),
        pins=(PIN, OTHER_PIN),
        notes={PIN: Note("Scratches", "Bright edges.")},
        own_threshold=1.5,
    )
    return replace(held, **changes)


def visited(**params: str) -> AppTest:
    """The app as somebody opens it by an address."""
    app = AppTest.from_file(str(APP), default_timeout=120)
    for name, value in params.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def session(app: AppTest) -> Session:
    found: Session = app.session_state.session
    return found


def shas(workspace: Workspace) -> tuple[list[str], list[str]]:
    return [e.image.sha256 for e in workspace.normals], [e.image.sha256 for e in workspace.tests]
