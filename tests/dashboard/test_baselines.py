"""LAKE beside a baseline on the page Compare, and baselines on the page Evaluate."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from plotly.colors import hex_to_rgb
from streamlit.testing.v1 import AppTest

from dashboard.plots import evaluate
from dashboard.services.analysis import Analysis
from dashboard.services.baselines import baseline_key, baseline_scores
from dashboard.views.evaluate.misclassified import OTHERWISE
from dashboard.words import METHOD_NAMES
from lake_core.backbones.backbone import Backbone
from lake_core.baselines import BASELINES
from lake_core.baselines.winclip import WinClip
from lake_core.data.datasets import Dataset
from lake_core.evaluation.protocol import METHODS
from lake_core.metrics.image_metrics import auroc
from tests.dashboard.visit import full, run, texts, when_done


def beside(small: Dataset, name: str) -> AppTest:
    app = run(full(small, "compare"), compare_section="LAKE beside a baseline")
    return when_done(run(app, compared_baseline=name))


@pytest.mark.parametrize("name", BASELINES)
def test_scores_stand_beside_lakes_with_both_aurocs(small: Dataset, found: Analysis, name: str) -> None:
    app = beside(small, name)
    title = METHOD_NAMES[name]
    expected = baseline_scores(found, name, lambda *_: None)
    summary, scores = (frame.value for frame in app.dataframe)
    assert summary["method"].tolist() == ["LAKE (sidebar)", title]
    labels = [example.label == "defective" for example in small.tests]
    lake = [score.score for score in found.scores]
    aurocs = [auroc(labels, lake), auroc(labels, expected.scores)]
    assert summary["image AUROC"].astype(float).tolist() == pytest.approx(aurocs, abs=6e-4)
    assert f"minus that of {title}" in texts(app)
    rows = scores.set_index("image")
    for example, score, own in zip(small.tests, expected.scores, lake, strict=True):
        row = rows.loc[example.image.name].to_dict()
        assert float(row[title]) == pytest.approx(score, rel=1e-3)
        assert float(row["LAKE"].split()[0]) == pytest.approx(own, abs=6e-4)
        assert row[f"rank, {title}"] == 1 + (expected.scores > score).sum()


def test_results_has_all_baselines_in_one_table(small: Dataset, found: Analysis) -> None:
    table = when_done(run(full(small, "results"), results_section="Baselines")).dataframe[0].value
    assert table["method"].tolist() == [METHOD_NAMES[name] for name in ("lake", *BASELINES)]
    labels = [example.label == "defective" for example in small.tests]
    scores = [[one.score for one in found.scores]]
    scores += [baseline_scores(found, name, lambda *_: None).scores.tolist() for name in BASELINES]
    aurocs = [auroc(labels, own) for own in scores]
    assert table["image AUROC"].astype(float).tolist() == pytest.approx(aurocs, abs=6e-4)
    assert table["LAKE less this"].tolist()[0] == "–"
    differences = [float(one.split()[0]) for one in table["LAKE less this"].tolist()[1:]]
    assert differences == pytest.approx([(aurocs[0] or 0) - (one or 0) for one in aurocs[1:]], abs=6e-4)


def test_results_needs_labels_of_both_classes_for_baselines(small: Dataset) -> None:
    defective = tuple(example for example in small.tests if example.label == "defective")
    app = run(full(Dataset("metal", small.normals, defective), "results"), results_section="Baselines")
    assert "Label good and defective test images" in texts(app)


def test_what_lake_alone_decides_computes_no_baseline_anew(found: Analysis) -> None:
    key = baseline_key(found, "patchcore")
    changed: tuple[dict[str, Any], ...] = ({"top_k": 7, "criterion": "robust"}, {"layers": (12,)})
    fits = [found.key._replace(fit=replace(found.key.fit, **one)) for one in changed]
    keys = [baseline_key(replace(found, key=one), "patchcore") for one in fits]
    assert keys[0] == key
    assert keys[1] != key


def test_a_backbone_that_cannot_serve_a_baseline_is_named(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(cls: type[WinClip], backbone: Backbone) -> str:
        return "it has no patch directions in the joint space"

    monkeypatch.setattr(WinClip, "why_not", classmethod(lacking))
    app = beside(small, "winclip")
    assert "gives no scores with lake-cnn: it has no patch directions" in texts(app)
    assert not app.dataframe


def test_every_method_has_a_name_and_a_look_of_its_own() -> None:
    assert set(METHOD_NAMES) == set(METHODS)
    looks = [evaluate.style_of(method) for method in METHODS]
    for part in ("color", "symbol", "dash"):
        assert len({look[part] for look in looks}) == len(METHODS), part
    assert evaluate.style_of("another") == evaluate.OTHER_STYLE
    assert all(name in OTHERWISE for name in BASELINES)


@pytest.mark.parametrize("dichromacy", ["deuteranopia", "protanopia"])
def test_baselines_are_told_apart_by_people_who_do_not_see_red_or_green(dichromacy: str) -> None:
    """Simulated after Machado et al. 2009, with differences in CIE L*a*b* (2.3 is just noticeable)."""
    seen = {method: lab(SEEN[dichromacy] @ linear(evaluate.style_of(method)["color"])) for method in METHODS}
    for name in BASELINES:
        assert min(np.linalg.norm(seen[name] - seen[other]) for other in METHODS if other != name) > 15


SEEN = {
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}


def linear(colour: str) -> np.ndarray:
    shares = np.array(hex_to_rgb(colour)) / 255
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / (0.9505, 1, 1.089)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


SPREAD = {"image_auroc_mean": 0.8, "image_auroc_low": 0.7, "image_auroc_high": 0.9}


def test_rows_of_many_methods_stay_within_their_category() -> None:
    rows = [
        {"category": category, "shots": 4, "method": method, **SPREAD}
        for category in ("one", "two")
        for method in METHODS
    ]
    figure = evaluate.by_category(pd.DataFrame(rows), "image_auroc")
    first, second = (np.array([trace.y[i] for trace in figure.data]) for i in range(2))
    assert first.max() < 0.5 < second.min()
