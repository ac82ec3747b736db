"""Every page with nothing, with little and with enough pictures; labels, thresholds and results."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from lake_core.backbones import open_backbone
from lake_core.config import LakeConfig
from lake_core.datasets import Dataset
from lake_core.detector import Lake
from lake_core.features import FeatureStore
from tests.dashboard.visit import PAGES, go_to, metrics, names, said, store, visit, workspace_of

ANALYSES = [page for page in PAGES if page != "workspace"]


def assert_sound(app: AppTest) -> None:
    assert [exception.value for exception in app.exception] == []
    assert [error.value for error in app.error] == []


@pytest.fixture(scope="module")
def own_store() -> FeatureStore:
    """Activations that the test computes itself, beside the app's."""
    return FeatureStore(open_backbone("lake-cnn"))


def scores_of(dataset: Dataset, features: FeatureStore, **config: object) -> list[float]:
    """The scores without the dashboard."""
    lake = Lake(features.backbone, LakeConfig(**config), features)  # type: ignore[arg-type]
    lake.fit([example.picture for example in dataset.normals])
    return [score.score for score in lake.score_all([example.picture for example in dataset.tests])]


def table(app: AppTest) -> pd.DataFrame:
    """The table of the page Scores."""
    return next(frame.value for frame in app.dataframe if "is_anomalous" in frame.value)


def test_there_are_pages_to_test() -> None:
    assert {"workspace", "scores", "selection", "neurons", "score_split"} <= set(PAGES)


@pytest.mark.parametrize("page", ANALYSES)
def test_an_empty_page_says_what_is_missing_and_offers_the_samples(page: str) -> None:
    app = visit(page)
    assert_sound(app)
    assert len(app.info) == 1
    assert app.info[0].value.startswith("There are no normal pictures to learn from yet.")
    assert {button.label for button in app.button} >= {"Open metal", "Open textile", "Open gravel"}


def test_the_empty_workspace_offers_samples_and_three_ways_to_upload() -> None:
    app = visit()
    assert_sound(app)
    assert len(app.file_uploader) == 3
    assert {button.label for button in app.button} >= {"Open metal", "Open textile", "Open gravel"}


@pytest.mark.parametrize("page", PAGES)
def test_a_full_page_is_drawn_without_errors_or_warnings(page: str, metal: Dataset) -> None:
    app = visit(page, metal)
    assert_sound(app)
    assert app.title[0].value
    assert said(app) == []
    assert "There are no" not in " ".join(info.value for info in app.info)


@pytest.mark.parametrize("n_tests", [0, 1])
@pytest.mark.parametrize("page", PAGES)
def test_one_normal_picture_is_enough(page: str, n_tests: int, metal: Dataset) -> None:
    app = visit(page, replace(metal, normals=metal.normals[:1], tests=metal.tests[:n_tests]))
    assert_sound(app)
    wants_tests = n_tests == 0 and page in ("scores", "score_split", "layer")
    assert any("no test pictures" in info.value for info in app.info) == wants_tests
    if page == "scores" and n_tests:
        assert metrics(app)["Above threshold"] in ("0 of 1", "1 of 1")
        assert any("a single normal picture" in info.value.lower() for info in app.info)


@pytest.mark.parametrize("page", ANALYSES)
def test_without_normal_pictures_nothing_is_computed(page: str, metal: Dataset) -> None:
    before = store().n_forwards
    app = visit(page, replace(metal, normals=()))
    assert_sound(app)
    assert app.info[0].value.startswith("There are no normal pictures to learn from yet.")
    assert store().n_forwards == before


def test_one_click_opens_a_sample_and_names_its_object() -> None:
    app = visit()
    app.button(key="sample_metal").click().run()
    assert_sound(app)
    assert app.title[0].value == "Scores"
    assert metrics(app)["Test pictures"] == "18"
    assert float(metrics(app)["Image AUROC"]) > 0.9
    assert app.text_input(key="object_name").value == "metal flange"
    assert app.slider(key="text_weight").value == pytest.approx(0.3)
    assert app.slider(key="top_k").value == 100


def test_without_a_defect_the_page_says_that_nothing_stands_out(metal: Dataset) -> None:
    app = visit("scores", replace(metal, tests=metal.tests[2:]))
    app.slider(key="threshold_slider").set_value(app.slider(key="threshold_slider").max).run()
    assert_sound(app)
    assert metrics(app)["Above threshold"] == "0 of 2"
    assert "Image AUROC" not in metrics(app)
    assert app.success[0].value.startswith("No test picture is above the threshold")


def test_the_scores_are_those_of_the_core(metal: Dataset, own_store: FeatureStore) -> None:
    app = visit("scores", metal)
    assert table(app)["score"].tolist() == pytest.approx(scores_of(metal, own_store), abs=1e-6)
    assert table(app)["path"].tolist() == names(metal.tests)


def test_moving_the_threshold_changes_decisions_and_nothing_else(metal: Dataset) -> None:
    app = visit("scores", metal)
    before = table(app)
    middle = round(float(np.sort(before["score"])[-2:].mean()), 2)
    app.slider(key="threshold_slider").set_value(middle).run()
    after = table(app)
    assert after["score"].tolist() == before["score"].tolist()
    assert after["threshold"].tolist() == pytest.approx([middle] * 4)
    assert after["is_anomalous"].tolist() == (after["score"] > middle).tolist()
    assert after["is_anomalous"].sum() == 1
    assert metrics(app)["Above threshold"] == "1 of 4"
    next(button for button in app.button if button.label == "From the normals").click().run()
    assert table(app)["threshold"].tolist() == before["threshold"].tolist()


def test_the_best_f1_threshold_parts_good_from_defective(metal: Dataset) -> None:
    app = visit("scores", metal)
    next(button for button in app.button if button.label == "Best F1").click().run()
    assert metrics(app)["Defects found"] == "2 of 2"
    assert metrics(app)["False alarms"] == "0 of 2"


def test_a_changed_label_changes_what_the_scores_are_compared_with(metal: Dataset) -> None:
    app = visit("workspace", metal)
    good = metal.tests[2].picture.sha256
    app.selectbox(key=f"label_{good}").select("defective").run()
    assert_sound(app)
    assert [example.label for example in workspace_of(app).tests] == ["defective", "defective", "defective", "good"]
    app.selectbox(key=f"label_{good}").select(None).run()
    assert workspace_of(app).tests[2].label is None
    assert "Image AUROC" not in metrics(go_to(app, "scores"))


def test_a_removed_picture_is_gone_from_the_scores(metal: Dataset) -> None:
    app = visit("workspace", metal)
    app.button(key=f"remove_tests_{metal.tests[1].picture.sha256}").click().run()
    app.button(key=f"remove_normals_{metal.normals[0].picture.sha256}").click().run()
    assert_sound(app)
    go_to(app, "scores")
    assert_sound(app)
    assert table(app)["path"].tolist() == names((metal.tests[0], *metal.tests[2:]))
    assert metrics(app)["Normal pictures"] == "2"


def test_starting_over_leaves_an_empty_workspace(metal: Dataset) -> None:
    app = visit("scores", metal)
    go_to(app, "workspace")
    next(button for button in app.button if button.label == "Remove all pictures").click().run()
    assert_sound(app)
    assert workspace_of(app).is_empty
    assert "Open metal" in [button.label for button in app.button]
    assert go_to(app, "scores").info[0].value.startswith("There are no normal pictures")


def test_a_threshold_moved_by_hand_does_not_outlive_its_pictures(metal: Dataset) -> None:
    app = visit("scores", metal)
    learned = table(app)["threshold"][0]
    app.slider(key="threshold_slider").set_value(0.05).run()
    assert table(app)["threshold"][0] == pytest.approx(0.05)
    go_to(app, "workspace")
    app.button(key=f"remove_tests_{metal.tests[3].picture.sha256}").click().run()
    assert table(go_to(app, "scores"))["threshold"][0] == pytest.approx(learned)


def test_the_split_page_draws_bars_that_add_up(metal: Dataset) -> None:
    app = visit("score_split", metal)
    shown = metrics(app)
    specs = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    bars = next(spec["data"][0] for spec in specs if "score" in list(spec["data"][0].get("x", [])))
    assert sum(bars["y"][:-1]) == pytest.approx(bars["y"][-1], abs=1e-5)
    assert bars["y"][-1] == pytest.approx(float(shown["Image score"]), abs=6e-4)
