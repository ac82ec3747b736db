"""The page Interventions: what changes without neurons, patches or normal images, on screen against the core."""

import re

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.services.analysis import Analysis
from dashboard.services.jobs import jobs
from dashboard.services.models import model
from dashboard.settings import ModelKey, Pin
from lake_core.data.datasets import Dataset
from lake_core.experiments.ablation import ablate, ablate_tests, ablation_control
from lake_core.experiments.contamination import contaminate
from lake_core.experiments.neuron_sets import top_contributing_neurons
from lake_core.sentences import sentence
from tests.dashboard.visit import full, highest, over, run, started_again, texts, when_done

pytestmark = pytest.mark.usefixtures("nothing_at_once")
EXPERIMENTS = {
    "Ablate (from the score)": "The chosen neurons are ablated from the distances",
    "Activation patching / causal ablation": "inside the running network",
    "Deletion / insertion": "FeatureAblation covers one region at a time",
    "Reference-set contamination": "What if a defective image were among the normal ones?",
    "Stability of the score": "Does the score hold with other or fewer",
}
"""What each says of itself, and no other does."""


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label.startswith(label)).click().run()
    assert not app.exception
    return app


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_opens(experiment: str, small: Dataset) -> None:
    said = texts(run(full(small, "interventions"), experiment=experiment))
    assert [name for name, words in EXPERIMENTS.items() if words in said] == [experiment]


def test_neurons_off_says_what_the_core_says(small: Dataset, found: Analysis) -> None:
    app = run(full(small, "interventions"), off_n=5)
    score = highest(found)
    expected = ablate(found.lake, top_contributing_neurons(score, 5), score.image)
    assert sentence(expected.finding) in texts(app)
    press(app, "Compare with 20 random draws")
    assert "random draws of as many selected neurons" not in texts(app)
    when_done(app)
    labels = found.known_labels
    control = ablation_control(found.lake, top_contributing_neurons(score, 5), score, found.scores, labels)
    assert sentence(control.finding) in texts(app)
    assert "Of 20 random draws of as many selected neurons" in sentence(control.finding)
    table = ablate_tests(found.lake, top_contributing_neurons(score, 5), found.scores, labels)
    assert f"{table.auroc_before:.3f} before, **{table.auroc_after:.3f}** after" in texts(app)
    assert any("anomalous_at_kept_threshold" in one.value and one.value.equals(table.table) for one in app.dataframe)


def test_cancelled_draws_of_neurons_off_start_again_and_go_on_when_one_comes_back(small: Dataset) -> None:
    app = press(run(full(small, "interventions")), "Compare with 20 random draws")
    first = jobs().latest(app.session_state.session.number, "page")
    assert first is not None
    first.cancel()
    second = started_again(app, first)
    run(app, experiment="Reference-set contamination")
    assert over(second).status == "cancelled"
    when_done(app)
    run(app, experiment="Ablate (from the score)")
    when_done(app)
    assert "Of 20 random draws of as many selected neurons" in texts(app)


def test_experiments_keep_a_threshold_that_was_moved(small: Dataset) -> None:
    app = run(full(small, "interventions"), own_threshold=9.0)
    assert "is not above the threshold, as before (9.00)" in texts(app)
    run(app, experiment="Reference-set contamination")
    when_done(app)
    assert "the threshold stays 9.00" in texts(app)
    app.switch_page("app_pages/text_prompts.py").run()
    run(app, prompt_section="Prompt sensitivity")
    assert texts(app).count("none turns the decision") == 2


def test_neurons_off_needs_no_forward_pass(small: Dataset) -> None:
    app = run(full(small, "interventions"))
    store = model(ModelKey("lake-cnn", 384))
    n_before = store.n_forwards
    run(app, off_n=7)
    assert store.n_forwards == n_before


def test_a_causal_ablation_stands_beside_random_draws(small: Dataset) -> None:
    app = run(full(small, "interventions"), experiment="Activation patching / causal ablation", causal_n=3)
    press(app, "Run the network")
    labels = {metric.label for metric in app.metric}
    assert {"Change of the score", "Change of layer 21"} <= labels
    assert "Of 20 random draws" in texts(app)
    shown = re.findall(r"layer (\d+): \d+\.\d% in all", texts(app))
    assert (shown[0], shown[-1], len(shown)) == ("15", "21", 6)
    run(app, own_threshold=9.0)
    assert texts(app).count("▽ not above threshold 9.000") == 2


def test_a_pinned_neuron_outside_of_the_score_is_ablated_among_all_of_its_layer(small: Dataset) -> None:
    app = full(small, "interventions")
    run(
        app,
        experiment="Activation patching / causal ablation",
        causal_way="pinned neurons",
        pins=(Pin(ModelKey("lake-cnn", 384), 18, "mlp_hidden", 5),),
    )
    offered = {group.label: list(group.options) for group in app.button_group}
    assert offered["Random draws from"] == ["all neurons of the layer"]
    assert offered["Their new value"] == ["their normal mean"]
    press(app, "Run the network")
    assert "random draws of as many neurons of the same layer" in texts(app)
    run(app, experiment="Ablate (from the score)", off_way="pinned neurons")
    assert "None of your pinned neurons is selected" in texts(app)


def test_a_image_among_the_normals_is_no_longer_scored(small: Dataset, found: Analysis) -> None:
    app = when_done(run(full(small, "interventions"), experiment="Reference-set contamination"))
    score = highest(found)
    expected = contaminate(found.lake, [score.image], found.scores, found.known_labels)
    assert sentence(expected.finding) in texts(app)
    assert "With one more image among the normal ones" in sentence(expected.finding)
    threshold = next(metric for metric in app.metric if metric.label == "Threshold")
    assert (threshold.value, threshold.delta) == (
        f"{expected.scores.threshold_after:.3f}",
        f"was {found.lake.threshold_:.3f}",
    )
    assert threshold.value != threshold.delta.removeprefix("was ")


def test_contaminated_normals_answer_to_the_users_threshold(small: Dataset, found: Analysis) -> None:
    app = when_done(run(full(small, "interventions"), experiment="Reference-set contamination"))
    own = round(0.8 * found.lake.threshold_, 3)
    run(app, own_threshold=own)
    when_done(app)
    threshold = next(metric for metric in app.metric if metric.label == "Threshold")
    assert threshold.delta == f"was {own:.3f}"


def test_pinned_neurons_that_are_not_selected_are_explained(small: Dataset) -> None:
    app = run(full(small, "interventions"), off_way="pinned neurons")
    assert "None of your pinned neurons is selected" in texts(app)


def test_the_curve_of_one_image_and_the_areas_of_all(small: Dataset) -> None:
    app = run(full(small, "interventions"), experiment="Deletion / insertion")
    press(app, "Compute the curve")
    assert "In the order of the map the score falls sooner than in" in texts(app)
    press(app, "Over all")
    assert "random on" in texts(app)
    assert any("area" in table.value for table in app.dataframe)
