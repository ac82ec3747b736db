"""The page Selection: K moved from the page, the elbow, random draws beside the page, and the sweep's figure."""

import threading
import time

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.plots import checks, selection
from dashboard.services.analysis import all_selections, analyse
from dashboard.services.jobs import Jobs, jobs
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from lake_core.detector.lake import Lake
from lake_core.experiments.controls import random_control
from lake_core.experiments.ranking import elbow
from lake_core.sentences import sentence
from lake_core.types import Progress
from tests.dashboard.visit import full, over, press, run, texts, when_done

GLANCE = "Layers at a glance"


def view(app: AppTest, name: str) -> AppTest:
    app.session_state["selection_view"] = name
    app.run()
    assert not app.exception
    assert not app.error
    return app


@pytest.mark.parametrize(
    ("name", "says", "says_without_tests"),
    [
        (GLANCE, "Each row is a layer", "Each row is a layer"),
        ("Ranking", "Click a bar to open its neuron.", "Add test images to compare the selected neurons"),
        ("Watch it form", "in which they were added", "in which they were added"),
        (
            "Criteria",
            "neurons that both criteria",
            "neurons that both criteria",
        ),
        ("Other normal images", "always selected, whichever", "Add test images to see whether their scores"),
        ("Sweep over K", "three random draws", "Add test images to see what each K is worth."),
    ],
)
@pytest.mark.parametrize("with_tests", [True, False])
def test_every_view_opens_with_and_without_test_images(
    name: str, says: str, says_without_tests: str, with_tests: bool, small: Dataset
) -> None:
    dataset = small if with_tests else Dataset(small.name, small.normals, ())
    app = view(full(dataset, "selection"), name)
    assert (says if with_tests else says_without_tests) in texts(app)
    assert bool(app.get("plotly_chart")) == (name != "Watch it form" and (with_tests or name != "Sweep over K"))


@pytest.mark.parametrize("name", ["Layers at a glance", "Ranking", "Watch it form"])
def test_after_starting_over_each_view_says_what_is_missing(name: str, small: Dataset) -> None:
    app = view(full(small, "selection"), name)
    app.session_state.session.set_workspace(Workspace())
    run(app)
    assert "normal image" in texts(app) + "".join(one.value for one in app.info)


def test_the_glance_shows_what_a_fitted_detector_selects(small: Dataset) -> None:
    app = view(full(small, "selection"), GLANCE)
    workspace = Workspace(small.normals, small.tests, small.name)
    settings = app.session_state.session.settings
    found = analyse(settings, workspace, None)
    n_compared = 0
    for layer, chosen in all_selections(settings, workspace).items():
        assert len(chosen.neurons) == min(100, chosen.n_neurons)
        if layer in found.lake.selection_:
            np.testing.assert_array_equal(chosen.neurons, found.lake.selection_[layer].neurons)
            n_compared += 1
    assert n_compared == len(found.lake.selection_) == 1


def test_k_moved_on_the_page_moves_the_sidebars(small: Dataset) -> None:
    app = view(full(small, "selection"), GLANCE)
    app.slider(key="page_k").set_value(37).run()
    assert not app.exception
    assert app.sidebar.slider(key="top_k").value == 37
    assert app.session_state.session.settings.config.top_k == 37


def test_the_elbow_can_be_taken(small: Dataset) -> None:
    app = view(full(small, "selection"), "Ranking")
    workspace = Workspace(small.normals, small.tests, small.name)
    suggested = elbow(all_selections(app.session_state.session.settings, workspace)[15].sensitivity)
    press(app, f"Use K = {suggested} (elbow)")
    assert not app.exception
    assert app.session_state.session.settings.config.top_k == suggested


def test_with_a_k_for_each_layer_the_page_leaves_it_to_the_sidebar_and_takes_one_elbow(small: Dataset) -> None:
    app = full(small, "selection")
    app.sidebar.multiselect(key="layers_lake-cnn_mlp_hidden").set_value([9, 15])
    app.sidebar.slider(key="top_k").set_value(40)
    app.run()
    app.sidebar.toggle(key="k_by_layer").set_value(True).run()
    app.sidebar.slider(key="k_of_9").set_value(12).run()
    app = view(app, "Ranking")
    assert app.session_state.session.settings.config.top_k == (12, 40)
    assert "Each layer has its own K, set in the sidebar." in texts(app)
    assert "K is the same for every layer" not in texts(app)
    assert {f"{metric.value.split(' of')[0]}" for metric in app.metric if metric.label == "Neurons kept"} == {
        "12",
        "40",
    }
    button = next(one for one in app.button if one.key == "elbow_9")
    assert "every layer" not in button.label
    button.click().run()
    suggested = int(button.label.split(" = ")[1].split()[0])
    assert app.session_state.session.settings.config.top_k == (suggested, 40)
    app = view(app, GLANCE)
    assert "page_k" not in app.session_state
    app.sidebar.toggle(key="k_by_layer").set_value(False).run()
    assert app.session_state.session.settings.config.top_k == max(suggested, 40)


def test_one_k_for_all_layers_is_said_beside_the_elbow_of_each(small: Dataset) -> None:
    app = full(small, "selection")
    assert "K is the same for every layer" not in texts(app)
    layers = [9, 15]
    app.sidebar.multiselect[0].set_value(layers)
    app = view(app, "Ranking")
    assert "K is the same for every layer" in texts(app)
    workspace = Workspace(small.normals, small.tests, small.name)
    selections = all_selections(app.session_state.session.settings, workspace)
    suggested = [elbow(selections[layer].sensitivity) for layer in layers]
    table = app.dataframe[0].value
    assert table["layer"].tolist() == layers
    assert table["elbow"].tolist() == suggested
    assert table["kept"].tolist() == [100, 100]
    assert suggested[0] != suggested[1]
    press(app, f"Use K = {suggested[0]} (elbow) in every layer")
    assert not app.exception
    assert app.dataframe[0].value["kept"].tolist() == [suggested[0]] * 2
    every = view(app, GLANCE).dataframe[0].value
    assert every["layer"].tolist() == list(selections)
    assert every["elbow"].tolist() == [elbow(one.sensitivity) for one in selections.values()]


def test_random_draws_run_beside_the_page_and_equal_the_cores(small: Dataset) -> None:
    app = view(full(small, "selection"), "Ranking")
    when_done(app)
    found = analyse(app.session_state.session.settings, Workspace(small.normals, small.tests, small.name), None)
    control = random_control(found.lake, found.images, found.known_labels, 9)
    n_as_good = sum(draw >= control.selected for draw in control.draws)
    assert f"{n_as_good} of 9 random draws of the same size" in texts(app)
    assert f"reaches {control.selected:.3f}, the draws {control.draws.mean():.3f} on average" in texts(app)
    assert control.finding is not None
    assert f"**{sentence(control.finding)}**" in texts(app)


def test_cancelled_draws_can_be_started_again(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(lake: Lake, images: object, labels: object, n_draws: int, show: Progress) -> None:
        while True:
            show(0, n_draws)
            time.sleep(0.01)

    monkeypatch.setattr("dashboard.services.controls.random_control", endless)
    app = view(full(small, "selection"), "Ranking")
    app.sidebar.slider(key="top_k").set_value(23).run()  # nothing is there for it yet
    first = jobs().latest(app.session_state.session.number, "page")
    assert first is not None
    first.cancel()
    assert over(first).status == "cancelled"
    app.run()
    press(app, "Start again")
    second = jobs().latest(app.session_state.session.number, "page")
    assert second is not None
    assert second is not first
    assert second.is_running
    second.cancel()
    over(second)


def test_who_looks_elsewhere_cancels_what_they_looked_at() -> None:
    work, go = Jobs(), threading.Event()

    def slow(show: Progress) -> str:
        for n_done in range(1000):
            show(n_done, 1000)
            go.wait(0.01)
        return "slow"

    first = work.beside("one", "a", "A", slow)
    assert work.beside("one", "a", "A", slow) is first
    second = work.beside("one", "b", "B", lambda show: "quick")
    assert over(first).status == "cancelled"
    assert over(second).result == "quick"
    other = work.beside("two", "a", "A", lambda show: "theirs")
    assert over(other).result == "theirs"
    assert work.beside("one", "b", "B", slow) is second
    work.forget("one")
    assert work.beside("one", "b", "B", lambda show: "anew") is not second


def test_closing_ends_what_runs_and_what_waits() -> None:
    work = Jobs()

    def endless(show: Progress) -> None:
        while True:
            show(0, 1)
            time.sleep(0.01)

    jobs = [work.beside(owner, "a", "A", endless) for owner in ("one", "two", "three")]
    work.close()
    assert [job.status for job in jobs] == ["cancelled"] * 3


def test_outliers_of_the_sweep_are_told_and_do_not_set_its_scale() -> None:
    rows = pd.DataFrame(
        {
            "k": [1, 5, 30, 100, 700],
            "selected": [0.0, -40.0, 0.3, 0.35, 0.3],
            "random_mean": [0.1, 11.0, 0.2, 0.31, 0.3],
            "random_std": 0.1,
            "memory_bank_bytes": [1, 5, 30, 100, 700],
        }
    )
    assert checks.beyond(rows) == "selected at K = 5, -40; random at K = 5, 11"
    low, high = checks.sweep(rows, [100], "gap").layout.yaxis.range
    assert -0.2 < low < 0.0 < 0.35 < high < 0.6
    rows.loc[1, ["selected", "random_mean"]] = 0.2
    assert checks.beyond(rows) == ""


def test_squares_of_the_x_ray_hold_every_neuron_once(small: Dataset) -> None:
    app = view(full(small, "selection"), GLANCE)
    selections = all_selections(app.session_state.session.settings, Workspace(small.normals, small.tests, "m"))
    for chosen in selections.values():
        np.testing.assert_array_equal(np.concatenate(selection.bins(chosen)), chosen.order)


def test_random_draws_are_counted_beside_the_selection() -> None:
    figure = selection.control(0.97, [1.0, 0.93, 1.0, 1.0], "image AUROC")
    (bars,) = figure.data
    assert sum(bars.y) == 4
    assert (bars.y[0], bars.y[-1]) == (1, 3)
    assert figure.layout.shapes[0].x0 == 0.97
    assert selection.control(1.0, [1.0, 1.0], "image AUROC").data[0].y.tolist() == [2]
