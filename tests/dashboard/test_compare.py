"""The page Compare: configurations kept and named, scores equal to the core's, and what cannot be compared said."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.plots.compare import scores_against_scores
from dashboard.services import configurations
from dashboard.services.analysis import analyse, filled
from dashboard.services.models import model
from dashboard.services.registry import registry
from dashboard.settings import ModelKey, Settings
from dashboard.workspace import Workspace
from lake_core.config import LakeConfig
from lake_core.data.datasets import Dataset
from lake_core.data.samples import assets_folder, load_sample
from lake_core.detector.lake import Lake
from tests.dashboard.visit import forget_everything, opened, press, texts


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["app.py"])


@pytest.fixture(scope="module")
def small() -> Iterator[Dataset]:
    """Three normal images of the metal sample, and two good and two defective ones."""
    metal = load_sample("metal")
    good = [example for example in metal.tests if example.label == "good"][:2]
    yield Dataset("metal", metal.normals[:3], (*good, metal.tests[0], metal.tests[-1]))
    forget_everything()


def compare(small: Dataset, *pair: str) -> AppTest:
    app = opened(Workspace(small.normals, small.tests, "metal"), "compare")
    for title in pair:
        press(app, title)
    assert not app.exception
    return app


@pytest.mark.parametrize(("scores", "site"), [((0.0, 3.0), "linear"), ((0.7, 1.6), "linear"), ((0.3, 4.0), "log")])
def test_an_axis_has_several_numbers_whatever_its_range(scores: tuple[float, float], site: str) -> None:
    points = pd.DataFrame({"name": "a", "sha256": "b", "mark": "none", "x": scores, "y": scores})
    axis = scores_against_scores(points, ("A", "B"), (1.0, 1.1), "99th percentile").layout.xaxis
    assert axis.type == site
    low, high = np.power(10, axis.range) if site == "log" else axis.range
    assert low <= scores[0]
    assert high > scores[1]
    assert site == "linear" or sum(low <= tick <= high for tick in axis.tickvals) >= 3


def held(app: AppTest) -> tuple[Settings, ...]:
    found = registry().find(app.session_state.session.number)
    assert found is not None
    return found.configurations


def test_one_click_compares_selected_with_random_neurons(small: Dataset) -> None:
    app = compare(small, "Selected vs random")
    assert not app.error
    assert [s.config.criterion for s in held(app)] == ["variance", "random"]
    assert app.dataframe[0].value["configuration"].tolist() == ["A · top 100", "B · 100 random"]
    assert "Jaccard" in texts(app)
    store = model(ModelKey("lake-cnn", None))
    rows = app.dataframe[1].value.set_index("image")
    decided = []
    for letter, criterion in (("A", "variance"), ("B", "random")):
        lake = Lake(store.backbone, LakeConfig(criterion=criterion), store)
        lake.fit([example.image for example in small.normals])
        scores = [lake.explain(example.image) for example in small.tests]
        decided.append([score.is_anomalous for score in scores])
        for example, score in zip(small.tests, scores, strict=True):
            shown, sign = str(rows.loc[example.image.name, letter]).split()
            assert float(shown) == pytest.approx(score.score, abs=6e-4)
            assert sign == ("▲" if score.is_anomalous else "▽")
    n_changed = sum(a != b for a, b in zip(*decided, strict=True))
    says = f"**{n_changed} of 4** test images are decided differently by" if n_changed else "agree on all 4 test images"
    assert says in texts(app)


def test_set_ups_are_added_from_the_sidebar_once_and_removed(small: Dataset) -> None:
    app = compare(small, "Add the current configuration")
    assert next(b for b in app.button if b.label == "Add the current configuration").disabled
    next(w for w in app.slider if w.label == "Fusion weight (w)").set_value(0.0)
    app.run()
    press(app, "Add the current configuration")
    assert [s.config.fusion_weight for s in held(app)] == [0.3, 0.0]
    assert app.dataframe[0].value["configuration"].tolist() == ["A · w = 0.30", "B · w = 0.00"]
    next(b for b in app.button if b.key == "use_A").click()
    app.run()
    assert next(w for w in app.slider if w.label == "Fusion weight (w)").value == 0.3
    next(b for b in app.button if b.key == "remove_A").click()
    app.run()
    assert [s.config.fusion_weight for s in held(app)] == [0.0]
    assert not app.exception


def test_of_three_set_ups_any_two_are_set_against_each_other(small: Dataset) -> None:
    app = compare(small, "Top 100 vs all")
    next(w for w in app.slider if w.label == "Fusion weight (w)").set_value(0.0)
    app.run()
    press(app, "Add the current configuration")
    assert not app.exception
    assert app.dataframe[0].value["configuration"].tolist() == [
        "A · top 100, w = 0.30",
        "B · all neurons, w = 0.30",
        "C · top 100, w = 0.00",
    ]
    assert {"A", "B"} <= set(app.dataframe[1].value.columns)
    pick = next(w for w in app.button_group if w.label == "Pair to compare")
    assert pick.options == ["A and B", "A and C", "B and C"]
    app.session_state.pair_of_3 = 2
    app.run()
    assert not app.exception
    assert {"B", "C"} <= set(app.dataframe[1].value.columns)
    assert any(heading.value == "Shared neurons, B and C" for heading in app.subheader)


def test_neurons_of_different_kinds_are_not_matched_and_it_is_said(small: Dataset) -> None:
    app = compare(small, "MLP hidden vs residual channel")
    assert any("MLP hidden neurons and residual channels are different neurons" in info.value for info in app.info)


def test_set_ups_survive_a_new_session_with_the_link(small: Dataset) -> None:
    first = compare(small, "Top 100 vs all")
    second = opened(page="images")
    second.session_state.session.number = first.session_state.session.number
    second.switch_page("app_pages/compare.py").run()
    assert second.dataframe[0].value["configuration"].tolist() == ["A · top 100", "B · all neurons"]


def test_one_scale_serves_all_set_ups(small: Dataset) -> None:
    workspace = Workspace(small.normals, small.tests, "metal")
    settings = [filled(Settings(config=LakeConfig(criterion=criterion))) for criterion in ("variance", "random")]
    found = [analyse(one, workspace, None) for one in settings]
    scales = configurations.shared_scales(found)
    assert len({(scale.vmax, scale.fades_at) for scale in scales}) == 1
    assert [scale.threshold for scale in scales] == [one.lake.threshold_ for one in found]
    assert configurations.cost(found[0]).memory_bank_bytes == 3 * 24 * 24 * 100 * 4
    assert all(cost is not None and cost > 0 for cost in configurations.cost(found[0]))
    halves = (assets_folder() / "lake-cnn" / "open_clip_model.safetensors").stat().st_size  # in the file, not in memory
    assert configurations.cost(found[0]).weight_bytes == pytest.approx(2 * halves, rel=0.02)


def test_names_say_what_differs_and_nothing_else() -> None:
    one = Settings("lake-cnn", 384, LakeConfig(layers=(15,), site="mlp_hidden", normalise="unit", smooth=3))
    assert configurations.names([one, one.having(top_k=20)]) == ["top 100", "top 20"]
    assert configurations.names([one, one.having(layers=(12, 15), fusion_weight=0.0)]) == [
        "layer 15, w = 0.30",
        "layers 12, 15, w = 0.00",
    ]
    other = replace(one.having(layers=(8,), site="residual_channel"), spec="lake-vit", image_size=None)
    assert configurations.names([one, other]) == ["lake-cnn", "lake-vit"]
    assert configurations.names([one, one.having(layers=(12,)), other]) == [
        "lake-cnn, 384 px, MLP hidden, layer 15",
        "lake-cnn, 384 px, MLP hidden, layer 12",
        "lake-vit, residual channel, layer 8",
    ]


def test_a_k_for_each_layer_is_named_and_stays_with_its_layers() -> None:
    config = LakeConfig(layers=(12, 15), site="mlp_hidden", normalise="unit", smooth=3, top_k=(30, 60))
    one = Settings("lake-cnn", 384, config)
    assert configurations.names([one, one.having(top_k=20)]) == ["top 30, 60", "top 20"]
    assert one.having(layers=(15,)).config.top_k == one.having(layers=None).config.top_k == 60
    assert one.having(layers=(12, 15), fusion_weight=0.0).config.top_k == (30, 60)
    pairs = configurations.pairs(one, model(one.model).backbone)
    assert [two.config.ks for two in pairs["MLP hidden vs residual channel"]] == [(30, 60), (30, 60)]
    assert [filled(two).config.ks for two in pairs["lake-cnn vs lake-vit"]] == [(30, 60), (60,)]
    assert filled(one.having(top_k=(30, 9999))).config.top_k == (30, 720)
