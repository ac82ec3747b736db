"""Selection with other normal images: asked for, computed beside the page, shown with its ranges, cancelled."""

import time

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.plots.other_normals import score_ranges
from dashboard.services.analysis import Analysis
from dashboard.services.jobs import jobs
from dashboard.text import escaped
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from lake_core.detector.lake import Lake
from lake_core.experiments.other_normals import other_normals
from lake_core.sentences import sentence
from lake_core.types import Progress
from tests.dashboard.visit import full, opened, over, press, run, texts, when_done

ASK = "Fit on other normal images"
pytestmark = pytest.mark.usefixtures("nothing_at_once", "fresh")


def at_view(app: AppTest) -> AppTest:
    return run(app, selection_view="Other normal images")


def test_it_is_computed_on_demand_and_says_what_the_core_found(small: Dataset, found: Analysis) -> None:
    app = at_view(full(small, "selection"))
    assert "decisions change" not in texts(app)
    assert len(app.get("download_button")) == 0
    app = when_done(press(app, ASK))
    result = other_normals(found.lake, found.images, found.known_labels)
    assert escaped(sentence(result.finding)) in texts(app)
    assert [metric.label for metric in app.metric] == [
        "Decisions that change, one left out",
        "Decisions that change, bootstrap draws",
    ]
    n_changed = int(result.refits.loc[result.refits["refits"] == "bootstrap", "n_changed"].sum())
    assert app.metric[1].delta == f"{n_changed} of {20 * 3}"
    assert len(app.get("download_button")) == 2
    images, refits = (app.dataframe[i].value for i in (0, 1))
    assert (len(images), len(refits)) == (3, 3)
    assert images["score"].is_monotonic_decreasing
    app = run(app, other_normals="bootstrap")
    assert len(app.dataframe[1].value) == 20


def test_one_normal_image_is_told_to_be_too_few(small: Dataset) -> None:
    app = opened(Workspace(small.normals[:1], small.tests, small.name), "selection")
    app = when_done(press(at_view(app), ASK))
    assert "One normal image cannot tell what others would have changed" in texts(app)
    assert len(app.get("download_button")) == 0


def test_it_can_be_cancelled_and_started_again(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(lake: Lake, images: object, labels: object, on_progress: Progress) -> None:
        while True:
            on_progress(0, 1)
            time.sleep(0.01)

    monkeypatch.setattr("dashboard.views.selection.other_normals.other_normals", endless)
    app = press(at_view(full(small, "selection")), ASK)
    job = jobs().latest(app.session_state.session.number, "page")
    assert job is not None
    press(app, "Cancel")
    assert over(job).status == "cancelled"
    app.run()
    assert "Stopped." in texts(app)
    assert "Start again" in [button.label for button in app.button]


def test_the_figure_sets_images_whose_decision_changes_apart() -> None:
    rows = pd.DataFrame(
        {
            "image": ["a", "b <i>", "c"],
            "score": [3.0, 2.0, 1.0],
            "lowest": [2.5, 0.5, 1.0],
            "highest": [3.5, 2.5, 1.25],
            "n_changed": [0, 2, 0],
            "n_refits": 4,
        }
    )
    figure = score_ranges(rows, 1.5)
    same, changed = figure.data
    assert (list(same.x), list(changed.x)) == ([1, 3], [2])
    assert (list(same.error_y.array), list(same.error_y.arrayminus)) == ([0.5, 0.25], [0.5, 0.0])
    assert same.marker.symbol != changed.marker.symbol
    assert "<i>" not in changed.text[0]
    assert list(changed.customdata[0]) == [0.5, 2.5, 2, 4]
    assert figure.layout.shapes[0].y0 == 1.5
    assert figure.layout.yaxis.title.text == "image score"
