"""The frame with progress and a way to cancel: any number of them in one run of a page."""

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.services import models
from dashboard.services.cache import results
from dashboard.services.jobs import Job
from dashboard.settings import Settings
from dashboard.workspace import Workspace
from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig
from lake_core.data.datasets import Dataset
from tests.dashboard.visit import opened


def two_of_one_title() -> None:
    from functools import partial

    import streamlit as st

    from dashboard import session
    from dashboard.components.progress import computed
    from dashboard.services.registry import registry
    from lake_core.types import Progress

    session.start(registry())

    def work(key: str, show: Progress) -> str:
        show(1, 2)
        return f"made {key}"

    for key in ("first", "second"):
        st.markdown(computed(key, "Counting", partial(work, key)))


def test_two_results_of_one_title_are_made_in_one_run() -> None:
    results().clear()
    app = AppTest.from_function(two_of_one_title, default_timeout=60).run()
    assert not app.exception
    assert [text.value for text in app.markdown] == ["made first", "made second"]
    assert not app.button


def test_set_ups_that_need_other_places_run_the_model_one_after_the_other(
    small: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with so many images that the activations of all layers do not fit."""
    monkeypatch.setattr(FeatureStore, "hook_points_that_fit", lambda self, n, needed: frozenset(needed))
    models._model.clear()
    app = opened(Workspace(small.normals, small.tests, "metal"))
    app.session_state.session.registry.keep(
        app.session_state.session.number,
        configurations=(
            Settings(config=LakeConfig(site="mlp_hidden", layers=(15,))),
            Settings(config=LakeConfig(site="residual_channel", layers=(15,))),
        ),
    )
    app.switch_page("app_pages/compare.py").run()
    assert not app.exception
    assert "Cost" in [heading.value for heading in app.subheader]
    assert not [button for button in app.button if button.label == "Cancel"]


def test_every_job_has_a_number_of_its_own() -> None:
    first, second = Job("Random draws", "a"), Job("Random draws", "b")
    assert 0 < first.number < second.number
