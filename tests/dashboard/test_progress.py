"""The frame with progress and a way to cancel: any number of them in one run of a page."""

import gc
import threading
import weakref
from concurrent.futures import wait as wait_for

import pytest
from streamlit.errors import FragmentStorageKeyError
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_run_context import ScriptRunContext
from streamlit.testing.v1 import AppTest

from dashboard.components.progress import Estimate
from dashboard.services import models
from dashboard.services.analysis import Analysis, analyse, fitted, patch_scores, patch_scores_key
from dashboard.services.cache import results
from dashboard.services.estimates import Steps, seconds_of
from dashboard.services.jobs import EvaluationRequest, Job, Jobs, jobs
from dashboard.settings import Settings
from dashboard.workspace import Workspace
from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig
from lake_core.data.datasets import Dataset
from lake_core.errors import LakeError
from lake_core.evaluation.protocol import FewShotProtocol
from lake_core.types import Progress
from tests.dashboard.visit import full, opened, over, press, texts


def two_of_one_title() -> None:
    from functools import partial

    import streamlit as st

    from dashboard.components.arrival import start
    from dashboard.components.progress import computed
    from dashboard.services.registry import registry
    from lake_core.types import Progress

    start(registry())

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


def on_demand() -> None:
    import streamlit as st

    from dashboard.components.arrival import start
    from dashboard.components.progress import Estimate, computed_on_demand
    from dashboard.services.registry import registry

    start(registry())
    for name, seconds in (("quick", 1.9), ("slow", 2.1), ("unknown", None)):
        estimate = Estimate(seconds, f"May be {name}.")
        st.markdown(computed_on_demand(name, f"Ask for {name}", ":material/tune:", name, lambda _: "made", estimate))


def test_what_takes_less_than_two_seconds_is_made_at_once_and_the_rest_says_how_long_it_takes() -> None:
    results().clear()
    app = AppTest.from_function(on_demand, default_timeout=60).run()
    assert not app.exception
    assert [button.label for button in app.button] == ["Ask for slow", "Ask for unknown"]
    assert [text.value for text in app.markdown] == ["made", "None", "None"]
    assert [text.value for text in app.caption] == [
        "Takes about 2 s, an estimate from what the same steps took on this server. May be slow.",
        "How long it takes is not known yet. May be unknown.",
    ]
    app.button[0].click().run()
    assert [button.label for button in app.button] == ["Ask for unknown"]
    assert [text.value for text in app.markdown] == ["made", "made", "None"]


@pytest.mark.parametrize(
    ("seconds", "about"),
    [(0.2, "1 s"), (12.4, "12 s"), (89, "89 s"), (91, "2 minutes"), (600, "10 minutes")],
)
def test_a_duration_is_rounded(seconds: float, about: str) -> None:
    assert Estimate(seconds, "").duration.startswith(f"Takes about {about}, an estimate")


def test_an_estimate_counts_what_the_same_steps_have_taken(found: Analysis, monkeypatch: pytest.MonkeyPatch) -> None:
    store, n_tests = found.lake.store, len(found.images)
    scoring, fitting = patch_scores(found.key, found.workspace).seconds, fitted(found.key, found.workspace).seconds
    monkeypatch.setattr(store, "n_forwards", 8)
    monkeypatch.setattr(store, "forward_seconds", 2.0)
    assert seconds_of(found, Steps(n_passes=20)) == pytest.approx(5.0)
    each = 5.0 + 30 * scoring / n_tests + 4 * fitting
    assert seconds_of(found, Steps(n_passes=20, n_scored=30, n_fits=4)) == pytest.approx(each)
    monkeypatch.setattr(store, "n_forwards", 0)
    assert seconds_of(found, Steps(n_passes=20)) is None


def test_every_job_has_a_number_of_its_own() -> None:
    first, second = Job("Random draws", "a"), Job("Random draws", "b")
    assert 0 < first.number < second.number


def test_many_visitors_leave_a_running_evaluation_alone() -> None:
    work, go = Jobs(max_owners=2), threading.Event()
    request = EvaluationRequest("metal", None, FewShotProtocol())
    first = work.evaluate("first", request, lambda report: go.wait(60))
    for number in range(5):
        over(work.beside(f"visitor {number}", "key", "Counting", lambda show: None))
    assert first.is_running
    assert [work.latest(f"visitor {number}", "page") is None for number in range(5)] == [True] * 3 + [False] * 2
    go.set()
    assert over(first).status == "done"
    assert work.latest("first", "evaluation") is first


@pytest.mark.parametrize("ends_with", [LakeError, None])
def test_a_job_that_was_cancelled_or_failed_holds_nothing_of_its_work(ends_with: type[LakeError] | None) -> None:
    started, cancelled = threading.Event(), threading.Event()
    made: list[weakref.ref[Dataset]] = []

    def work(report: Progress) -> None:
        large = Dataset("large", (), ())
        made.append(weakref.ref(large))
        started.set()
        cancelled.wait(60)
        if ends_with is not None:
            raise ends_with("of itself")
        report(1, 2)

    job = Jobs().beside("a", "what", "Work", work)
    assert started.wait(60)
    if ends_with is None:
        job.cancel()
    cancelled.set()
    wait_for([job.future], 60)
    gc.collect()
    assert job.status == ("cancelled" if ends_with is None else "failed")
    assert made[0]() is None


def test_two_windows_of_a_session_do_not_take_turns_in_cancelling(
    small: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each asks for something else beside its page: the later one has it, the other says so and waits to be asked."""
    go = threading.Event()
    monkeypatch.setattr("dashboard.services.controls.random_control", lambda *_: go.wait(60))
    first = full(small, "selection")
    number = first.session_state.session.number
    other = jobs().beside(number, "of the other window", "Counting", lambda show: go.wait(60))
    first.run()
    assert "another window of this session has begun something else" in texts(first)
    assert jobs().latest(number, "page") is other
    press(first, "Start again")
    assert jobs().latest(number, "page") is not other
    go.set()


def test_many_test_images_are_scored_with_progress_and_can_be_cancelled(
    small: Dataset, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.components.analysis.MANY_TESTS", 2)
    shown: list[tuple[int, int]] = []

    def count(done: int, total: int) -> None:
        shown.append((done, total))
        if len(shown) == 2:
            raise KeyboardInterrupt

    app = full(small, "images")
    found = analyse(app.session_state.session.settings, app.session_state.session.workspace)
    with pytest.raises(KeyboardInterrupt):
        patch_scores(found.key, found.workspace, count)
    assert shown == [(1, 3), (2, 3)]
    key = patch_scores_key(found.key, found.workspace)
    assert results().get(key) is None
    app.session_state.session.stopped = key
    app.switch_page("app_pages/results.py").run()
    assert "Stopped." in texts(app)
    assert not [button for button in app.button if button.label == "Why this score?"]
    press(app, "Start again")
    assert len([button for button in app.button if button.label == "Why this score?"]) == 3
    assert results().get(key) is not None
    assert not app.exception


def test_what_watched_on_the_run_before_is_forgotten_by_a_page_that_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit itself forgets fragments only where a page is drawn to its end."""
    seen: list[ScriptRunContext] = []

    def with_two_fragments() -> ScriptRunContext | None:
        context = get_script_run_ctx()
        if context is not None:
            for name in ("old", "new"):
                context.fragment_storage.register(name, lambda: None)
            context.shared.new_fragment_ids.check_and_add("new")
            seen.append(context)
        return context

    app = opened(page="results")  # without images, which ends it
    monkeypatch.setattr("dashboard.entry.get_script_run_ctx", with_two_fragments)
    app.run()
    assert callable(seen[-1].fragment_storage.lookup("new"))
    with pytest.raises(FragmentStorageKeyError):
        seen[-1].fragment_storage.lookup("old")
