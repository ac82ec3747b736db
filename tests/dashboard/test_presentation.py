"""A presentation: six steps with the image's own numbers and nothing around them; and the microscope alone."""

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.services import registry
from dashboard.services.analysis import Analysis
from dashboard.views.explain.presentation import STEPS
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from tests.dashboard.visit import APP, full, highest, press, run, texts


@pytest.fixture
def begun(small: Dataset) -> AppTest:
    """The first step."""
    return press(full(small, "explain"), "Present")


def at(app: AppTest, step: int) -> str:
    """What a step says."""
    return texts(run(app, presented_step=step))


def by_address(small: Dataset, **params: str) -> AppTest:
    """The app as a new tab opens it by an address."""
    app = AppTest.from_file(str(APP), default_timeout=120)
    number = registry.registry().create()
    registry.registry().keep(number, workspace=Workspace(small.normals, small.tests, small.name))
    for name, value in {"w": number, **params}.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def step_of(app: AppTest) -> Any:
    return app.session_state.session.presented_step


def test_the_keys_go_through_the_steps_and_stop_at_both_ends(begun: AppTest) -> None:
    assert [button.label for button in begun.button] == ["◀", "▶", "✕"]
    assert [button.proto.shortcut for button in begun.button] == ["left", "right", "escape"]
    for step, title in enumerate(STEPS, start=1):
        assert begun.title[0].value == title
        assert step_of(begun) == step
        assert begun.session_state.session.link["present"] == str(step)
        back, on, _ = list(begun.button)[-3:]  # above them, work beside the page can be cancelled
        assert (back.disabled, on.disabled) == (step == 1, step == len(STEPS))
        if step < len(STEPS):
            press(begun, "▶")
    press(begun, "◀")
    assert step_of(begun) == len(STEPS) - 1


def test_leaving_leads_back_to_the_page_with_its_controls_as_they_were(small: Dataset) -> None:
    app = full(small, "explain")
    app.sidebar.slider(key="top_k").set_value(30).run()
    press(app, "Present")
    assert not app.sidebar.slider
    press(app, "✕")
    assert step_of(app) is None
    assert app.title[0].value == "Explain"
    assert app.sidebar.slider(key="top_k").value == 30
    assert "present" not in app.session_state.session.link


def test_the_steps_say_the_images_numbers(begun: AppTest, small: Dataset, found: Analysis) -> None:
    score = highest(found)
    assert f"**{len(small.normals)} normal images**" in at(begun, 1)
    said = at(begun, 2)
    assert f"score **{score.score:.2f}**" in said
    assert f"the threshold **{score.threshold:.2f}**" in said
    rows, cols = score.map.shape
    said = at(begun, 3)
    assert f"**{rows} × {cols} patches**" in said
    assert f"**{int((score.map > score.threshold).sum())}** of {score.map.size} patches" in said
    assert f"row **{score.patch // cols + 1}**, column **{score.patch % cols + 1}**" in said
    top = score.contributions().query("part == 'visual'").head(4)
    said = at(begun, 4)
    for row in top.to_dict("records"):
        assert f"Neuron **{row['neuron']}**, layer {row['layer']}" in said
        assert f"adds **{row['contribution']:.2f}**" in said
    parts = score.contributions(level="part").set_index("part")["contribution"]
    said = at(begun, 5)
    for part in ("visual", "text"):
        assert f"**{parts[part] / score.score:.0%}** {part}" in said


def test_a_threshold_set_by_hand_is_called_that(begun: AppTest) -> None:
    assert "quantile of the normal images" in at(begun, 2)
    run(begun, own_threshold=0.5)
    said = texts(begun)
    assert "**0.50**" in said
    assert "set by hand" in said
    assert "quantile of the normal images" not in said


def test_an_address_opens_a_step_and_a_number_too_high_the_last(small: Dataset) -> None:
    assert by_address(small, present="3").title[0].value == list(STEPS)[2]
    assert by_address(small, present="99").title[0].value == list(STEPS)[-1]
    assert by_address(small, present="x").title[0].value == "Images"
    assert by_address(small, present="0").title[0].value == "Images"


@pytest.mark.parametrize("value", ["1", "true"])
def test_in_a_frame_there_is_the_microscope_and_nothing_else(value: str, small: Dataset) -> None:
    app = by_address(small, embed=value)
    names = [one.proto.component_name for one in app.get("bidi_component")]
    assert "lake_microscope" in names
    assert not [*app.title, *app.button, *app.selectbox, *app.sidebar.slider, *app.caption]


def test_a_frame_without_images_says_so() -> None:
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.query_params["embed"] = "1"
    app.run()
    assert "There is no image to show" in texts(app)
    assert not app.button
