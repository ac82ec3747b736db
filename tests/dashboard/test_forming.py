"""A selection that forms on the page Selection: the browser is told what the core has computed, and K moves at once."""

import json
import re
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.components.replay import NAME
from dashboard.plots.formation import Replay, arriving, growing, table
from dashboard.services.analysis import Analysis
from dashboard.views.selection.forming import sources
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from lake_core.detector.lake import Lake
from lake_core.experiments.formation import Formation, formation
from lake_core.sentences import sentence
from tests.dashboard.visit import component, full, run, texts

LAYER, K = 15, 100


@pytest.fixture
def formed(found: Analysis) -> Formation:
    return formation(found.lake, LAYER, found.lake.normals_)


def sent(app: AppTest) -> dict[str, Any]:
    """What the page has sent to the replay."""
    found: dict[str, Any] = json.loads(component(app, NAME).json)
    return found


def neurons(listed: list[dict[str, float]]) -> list[int]:
    return [int(one["neuron"]) for one in listed]


def forming(small: Dataset, **values: Any) -> AppTest:
    return run(full(small, "selection"), selection_view="Watch it form", **values)


def test_each_step_is_the_cores(small: Dataset, formed: Formation) -> None:
    app = forming(small)
    shown, steps = sent(app), formed.arriving(K)
    assert len(shown["steps"]) == len(steps) == len(small.normals)
    assert len(steps[1].entered) > 0
    for scene, step in zip(shown["steps"], steps, strict=True):
        assert (scene["k"], scene["share"], scene["chance"]) == (K, step.share_kept, step.by_chance)
        assert neurons(scene["entered"]) == step.entered.tolist()
        assert neurons(scene["left"]) == step.left.tolist()
        for one in (*scene["entered"], *scene["left"]):
            assert one["rank"] == step.selection.rank_of(one["neuron"]) <= shown["n_ranks"]
            assert (one["rank"] <= K) == (one in scene["entered"])
            value = shown["curves"][scene["curve"]][int(one["rank"]) - 1]
            assert value == one["value"] == pytest.approx(step.selection.sensitivity[one["neuron"]], rel=1e-3)
    assert [image["name"] for image in shown["images"]] == [example.image.name for example in small.normals]
    assert all(image["source"].startswith("data:image/jpeg;base64,") for image in shown["images"])
    assert sentence(formed.finding(K)) in texts(app)


def test_what_is_said_of_a_step_adds_up(formed: Formation) -> None:
    shown = arriving(formed.arriving(K))
    first, second, last = (shown.steps[at].says for at in (0, 1, -1))
    assert first == "The first normal image selects 100 of the layer's 720 neurons."
    n_entered, n_left, kept, chance, n_final = map(int, re.findall(r"\d+(?=%| enter| leave| of the 100)", second))
    assert n_entered == n_left == 100 - kept == len(shown.steps[1].entered)
    assert (chance, n_final) == (14, round(100 * formed.arriving(K)[1].share_final))
    assert "selected from all" not in last


def test_a_growing_k_has_a_step_at_the_k_in_use(small: Dataset, found: Analysis) -> None:
    shown = sent(forming(small, forming="K grows", top_k=37))
    ks = [scene["k"] for scene in shown["steps"]]
    assert ks == sorted(set(ks))
    assert {1, 37, 720} <= set(ks)
    assert not any(scene["left"] for scene in shown["steps"])
    assert [len(scene["entered"]) for scene in shown["steps"]] == [0, *np.diff(ks)]
    kept = found.lake.selection_[LAYER].cut(37)
    assert shown["steps"][ks.index(37)]["share"] == pytest.approx(kept.share_kept)
    assert (len(shown["curves"]), len(shown["images"]), shown["n_ranks"]) == (1, 0, 720)


def test_k_moves_without_ranking_anew(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    app = forming(small)

    def not_again(*_: object) -> None:
        raise AssertionError("ranked anew")

    monkeypatch.setattr("dashboard.views.selection.forming.formation", not_again)
    app.slider(key="page_k").set_value(61).run()
    assert not app.exception
    assert {scene["k"] for scene in sent(app)["steps"]} == {61}


def test_a_single_normal_image_makes_one_step(small: Dataset) -> None:
    app = forming(Dataset(small.name, small.normals[:1], small.tests))
    assert len(sent(app)["steps"]) == 1
    assert "add a second to compare" in texts(app)


def test_without_normal_images_the_page_says_so() -> None:
    app = run(full(Dataset("none", (), ()), "selection"), selection_view="Watch it form")
    assert "no normal images to learn from" in texts(app)
    assert not any(one.proto.component_name == NAME for one in app.get("bidi_component"))


def test_ranks_are_shown_as_far_as_neurons_have_left(formed: Formation) -> None:
    def lowest(shown: Replay) -> int:
        return max(int(one["rank"]) for scene in shown.steps for one in scene.left)

    shown = arriving(formed.arriving(K))
    assert shown.n_ranks == max(lowest(shown), 125)
    assert {len(curve) for curve in shown.curves} == {shown.n_ranks}
    assert shown.peak == pytest.approx(max(max(curve) for curve in shown.curves), rel=1e-3)
    assert arriving(formed.arriving(2)).n_ranks >= 7


def test_the_table_names_every_neuron_that_enters_or_leaves(formed: Formation) -> None:
    steps = formed.growing([5, 400])
    rows = table(steps)
    assert rows["enter"].tolist() == ["", ", ".join(map(str, steps[1].entered))]
    assert len(rows["enter"][1].split(", ")) == 395
    assert growing(steps).steps[1].says.startswith("395 neurons more, and none leaves: 400 of 720 neurons have ")


def test_random_neurons_stay_whatever_arrives(found: Analysis) -> None:
    lake = Lake(found.lake.backbone, found.lake.config, found.lake.store).set_params(criterion="random")
    shown = arriving(formation(lake, LAYER, found.lake.normals_).arriving(K))
    assert [scene.share for scene in shown.steps] == [None, 1.0, 1.0]
    assert shown.steps[1].says.startswith("None enters or leaves: 100% of the previous selection is kept")


def test_many_images_are_not_shown_one_by_one(small: Dataset, found: Analysis) -> None:
    workspace = Workspace(small.normals, small.tests, small.name)
    steps = formation(found.lake, LAYER, found.lake.normals_).arriving(K)
    assert len(sources(workspace, steps)) == 3
    assert sources(workspace, steps[:2]) == []
