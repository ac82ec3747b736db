"""The guided tour: offered on the first visit, six steps, left and found again."""

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.components.tour import STEPS
from dashboard.session import Session, Tour
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from lake_core.data.samples import measured_sample, sample_names
from tests.dashboard.visit import APP, full, opened, press, run, texts


def new_visit() -> AppTest:
    return AppTest.from_file(str(APP), default_timeout=120).run()


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def session(app: AppTest) -> Session:
    found: Session = app.session_state.session
    return found


def at_step(small: Dataset, number: int) -> AppTest:
    app = full(small, STEPS[number - 1].page)
    session(app).tour = Tour(step=number)
    return run(app)


def test_the_tour_is_offered_on_the_first_visit_until_it_is_declined() -> None:
    app = new_visit()
    assert "New here?" in texts(app)
    press(app, "No, thanks")
    assert "New here?" not in texts(app)
    assert "Guided tour" in labels(app), "it can be taken later"
    assert "New here?" not in texts(opened()), "who comes back by a link is not new"


def test_the_tour_opens_a_sample_where_there_is_nothing_to_look_at() -> None:
    app = press(new_visit(), "Start the tour")
    assert session(app).workspace.sample == sample_names()[0]
    assert "step 1 of 6" in texts(app)


def test_the_tour_asks_for_what_is_missing_and_keeps_what_is_there(small: Dataset) -> None:
    app = press(opened(Workspace(small.normals, (), "mine")), "Guided tour")
    assert session(app).workspace.n_images == len(small.normals)
    assert "The tour needs normal and test images" in "".join(warning.value for warning in app.warning)
    assert session(app).tour.step is None


def test_the_tour_leaves_the_visitors_images_alone(small: Dataset) -> None:
    app = opened(Workspace(small.normals, small.tests, "mine"))
    press(app, "Guided tour")
    assert session(app).workspace.name == "mine"
    assert f"{len(small.normals)} images of good parts" in texts(app)


@pytest.mark.parametrize("number", range(1, len(STEPS) + 1))
def test_each_step_speaks_on_its_page_and_outlines_something(number: int, small: Dataset) -> None:
    app = at_step(small, number)
    assert f"step {number} of 6: {STEPS[number - 1].question}" in texts(app)
    styles = "".join(str(one.proto.body) for one in app.get("html"))
    assert "outline" in STEPS[number - 1].style
    assert STEPS[number - 1].style in styles


def test_next_goes_to_the_page_of_the_next_step_and_to_what_it_speaks_of(small: Dataset) -> None:
    app = press(at_step(small, 1), "Next")
    assert session(app).tour.step == 2
    assert [title.value for title in app.title] == ["Explain"]
    app.switch_page("app_pages/selection.py").run()
    run(app, selection_view="Other normal images")
    press(app, "Go there")
    press(app, "Next")
    assert [title.value for title in app.title] == ["Selection"]
    assert app.session_state.selection_view == "Ranking"
    assert not app.warning


def test_a_tour_that_was_left_goes_on_where_it_was(small: Dataset) -> None:
    app = press(at_step(small, 3), "Leave the tour")
    assert "step 3 of 6" not in texts(app)
    app.switch_page("app_pages/images.py").run()
    press(app, "Continue the tour (step 3)")
    assert "step 3 of 6" in texts(app)
    assert [title.value for title in app.title] == ["Selection"]


def test_on_another_page_the_tour_says_where_it_goes_on(small: Dataset) -> None:
    app = at_step(small, 3)
    app.switch_page("app_pages/images.py").run()
    assert "This step is on the page Selection" in texts(app)
    press(app, "Go there")
    assert [title.value for title in app.title] == ["Selection"]


def test_the_last_step_shows_a_sample_where_the_selection_is_ahead_and_one_where_it_is_behind(small: Dataset) -> None:
    found = {name: one for name in sample_names() if (one := measured_sample(name)) is not None}
    leads = {name: one.methods["lake"].mean - one.methods["random"].mean for name, one in found.items()}
    best, worst = max(leads, key=lambda name: leads[name]), min(leads, key=lambda name: leads[name])
    assert leads[best] > 0 > leads[worst]
    said = texts(at_step(small, 6))
    assert f"**{best}**: the selection is ahead of random neurons" in said
    assert f"**{worst}**: the selection is behind random neurons" in said
    for name in (best, worst):
        methods = found[name].methods
        assert f"**{methods['lake'].mean:.2f}**, random {methods['random'].mean:.2f}" in said
    n_won = sum(lead > 0 for lead in leads.values())
    assert f"ahead of random neurons on {n_won} of {len(leads)} samples" in said
