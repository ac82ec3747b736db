"""Opens the dashboard through Streamlit's AppTest, in a session that already has images."""

import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard.services import registry
from dashboard.services.analysis import Analysis
from dashboard.services.jobs import Job, Lane, jobs
from dashboard.session import Session
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from lake_core.detector.result import ImageResult

FIELDS = {"pins", "own_threshold"} | {field.name for field in fields(Session)}
APP = Path(__file__).parents[2] / "dashboard" / "app.py"


def opened(workspace: Workspace | None = None, page: str = "images", **session: Any) -> AppTest:
    """The app on a page, in a session of its own that already has images."""
    app = AppTest.from_file(str(APP), default_timeout=120)
    number = registry.registry().create()
    if workspace is not None:
        registry.registry().keep(number, workspace=workspace)
    app.query_params["w"] = number
    put(app, **{key: value for key, value in session.items() if key not in FIELDS})
    app.run()
    put(app, **{key: value for key, value in session.items() if key in FIELDS})
    if page != "images":
        app.switch_page(f"app_pages/{page}.py").run()
    return app


def put(app: AppTest, **values: Any) -> None:
    """Sets values of widgets, and fields of the session, which the first run makes."""
    for key, value in values.items():
        if key in FIELDS:
            setattr(app.session_state.session, key, value)
        else:
            app.session_state[key] = value


def forget_everything() -> None:
    """As a server that has just started: work of an earlier test that still goes on would fill the new caches."""
    jobs().close()
    st.cache_resource.clear()


def run(app: AppTest, **values: Any) -> AppTest:
    """The page drawn anew with these values, without a complaint."""
    put(app, **values)
    app.run()
    assert not app.exception
    assert not app.error
    return app


def full(small: Dataset, page: str) -> AppTest:
    return opened(Workspace(small.normals, small.tests, small.name), page)


def table(app: AppTest) -> pd.DataFrame:
    """The table of the page Results."""
    shown: pd.DataFrame = run(app, results_section="Table").dataframe[0].value
    return shown


def press(app: AppTest, label: str) -> AppTest:
    """Presses a button and draws the page anew."""
    next(button for button in app.button if button.label == label).click()
    return app.run()


def component(app: AppTest, name: str) -> Any:
    """What the page hands to a component of its own."""
    (found,) = [one.proto for one in app.get("bidi_component") if one.proto.component_name == name]
    return found


def highest(found: Analysis) -> ImageResult:
    """The result of the test image that the pages show first."""
    return max(found.scores, key=lambda one: one.score)


def over(job: Job) -> Job:
    """A job when it is over."""
    end = time.monotonic() + 120
    while job.is_running and time.monotonic() < end:
        time.sleep(0.02)
    assert not job.is_running
    return job


def when_done(app: AppTest, lane: Lane = "page") -> AppTest:
    """The page once the work beside it is done, if its result was not there from the start."""
    job = jobs().latest(app.session_state.session.number, lane)
    assert job is None or over(job).status == "done"
    app.run()
    assert not app.exception
    return app


def started_again(app: AppTest, first: Job, lane: Lane = "page") -> Job:
    """Another job for the same, once the first was cancelled and its button pressed."""
    assert over(first).status == "cancelled"
    app.run()
    assert "Stopped." in texts(app)
    press(app, "Start again")
    second = jobs().latest(app.session_state.session.number, lane)
    assert second is not None
    assert second is not first
    return second


def downloads(app: AppTest) -> list[str]:
    """What the page's buttons for downloads say."""
    return [str(getattr(button, "label", "")) for button in app.get("download_button")]


def texts(app: AppTest) -> str:
    """All that the page says in words."""
    sites = ("markdown", "caption", "info", "error", "success", "warning")
    return "\n".join(str(getattr(element, "value", "")) for site in sites for element in app.get(site))
