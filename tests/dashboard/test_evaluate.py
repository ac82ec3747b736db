"""The page Evaluate: work in the background, numbers equal to the core's, and a threshold that moves counts."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.plots.evaluate import by_category, by_shots, curves
from dashboard.services.jobs import EvaluationRequest, Job, Jobs, jobs
from dashboard.services.models import model
from dashboard.services.registry import registry
from dashboard.settings import ModelKey
from dashboard.views.evaluate import sections
from dashboard.workspace import Workspace
from lake_core.config import LakeConfig
from lake_core.data.datasets import Dataset
from lake_core.data.samples import assets_folder, load_sample
from lake_core.detector.lake import Lake
from lake_core.errors import LakeError
from lake_core.evaluation.protocol import CategoryProgress, FewShotProtocol
from lake_core.evaluation.runner import evaluate_dataset
from lake_core.metrics.decision import counts
from lake_core.metrics.image_metrics import f1_max
from tests.dashboard.visit import forget_everything, opened, press, texts

REQUEST = EvaluationRequest("metal", None, FewShotProtocol())


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["app.py"])
    monkeypatch.delenv("LAKE_DATA", raising=False)


@pytest.fixture(scope="module")
def small() -> Iterator[Dataset]:
    """Four normal images of the metal sample, and two good and two defective ones."""
    metal = load_sample("metal")
    good = [example for example in metal.tests if example.label == "good"][:2]
    yield Dataset("metal", metal.normals[:4], (*good, metal.tests[0], metal.tests[-1]))
    forget_everything()


def wait(job: Job | None) -> Job:
    """Until a job is over."""
    assert job is not None
    end = time.monotonic() + 120
    while job.is_running and time.monotonic() < end:
        time.sleep(0.05)
    assert not job.is_running
    return job


def evaluated(app: AppTest) -> Job:
    press(app, "Evaluate")
    assert not app.exception
    job = wait(jobs().latest(app.session_state.session.number, "evaluation"))
    app.run()
    assert not app.exception
    return job


def test_the_workspace_is_measured_in_the_background_as_the_core_does(small: Dataset) -> None:
    app = opened(Workspace(small.normals, small.tests, "metal"), "evaluate")
    job = evaluated(app)
    assert job.status == "done", job.error
    store = model(ModelKey("lake-cnn", None))
    protocol = FewShotProtocol(shots=(1, 4), methods=("lake", "random", "all"), pixel=False)
    expected = evaluate_dataset(small, store, protocol=protocol)
    table = app.dataframe[0].value
    assert table.columns.tolist() == ["shots", "method", "image AUROC", "95% interval"]
    assert len(table) == 6
    auroc = [row.metrics["image_auroc"] for row in expected.summary if row.category == "metal"]
    assert table["image AUROC"].tolist() == [f"{one.mean:.3f} ± {one.std:.3f}" for one in auroc]
    assert job.result.config.top_k == 100


def test_the_threshold_moves_the_confusion_matrix_and_the_lists(small: Dataset) -> None:
    app = opened(Workspace(small.normals, small.tests, "metal"), "evaluate")
    evaluated(app)
    threshold = next(slider for slider in app.slider if slider.label == "Threshold")
    threshold.set_value(threshold.max)
    app.run()
    assert "0 found, 2 missed" in texts(app)
    assert "False negatives (2)" in texts(app)
    next(slider for slider in app.slider if slider.label == "Threshold").set_value(threshold.min)
    app.run()
    assert "2 found, 0 missed" in texts(app)
    assert "False positives (2)" in texts(app)
    assert not app.exception


def test_a_result_waits_for_a_new_session_with_the_link(small: Dataset) -> None:
    first = opened(Workspace(small.normals, small.tests, "metal"), "evaluate")
    evaluated(first)
    second = opened()
    second.session_state.session.number = first.session_state.session.number
    second.switch_page("app_pages/evaluate.py").run()
    assert any(heading.value == "Result: metal" for heading in second.subheader)


def test_without_a_data_folder_the_page_says_how_to_name_one() -> None:
    app = opened(page="evaluate")
    app.session_state.source_0 = "A folder on the server"
    app.run()
    assert not app.exception
    assert any("lake dashboard --data" in info.value for info in app.info)


def test_a_data_set_of_the_server_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small: Dataset) -> None:
    monkeypatch.setenv("LAKE_DATA", str(tmp_path))
    for path in sorted((assets_folder() / "samples" / "metal").rglob("*.jpg")):
        part = path.relative_to(assets_folder() / "samples")
        if path.stem in ("000", "001") and "ground_truth" not in part.parts:
            (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / part).write_bytes(path.read_bytes())
    app = opened(page="evaluate")
    app.session_state.source_0 = "A folder on the server"
    app.session_state.shots_32_0 = [1]
    app.session_state.methods_0 = ["lake"]
    app.run()
    job = evaluated(app)
    assert job.status == "done", job.error
    assert any(heading.value == "Result: metal" for heading in app.subheader)
    assert job.result.object_names == {"metal": "metal"}
    assert app.session_state[f"source_{job.number}"] == "A folder on the server"
    assert next(widget for widget in app.multiselect if widget.label == "Data sets").value == ["metal"]
    assert any("each data set's own name as the object name" in caption.value for caption in app.caption)

    # The way from a wrong image to its account: the run's normal images, configuration, and so its score.
    threshold = next(slider for slider in app.slider if slider.label == "Threshold")
    threshold.set_value(threshold.min)
    app.run()
    press(app, "Why this score?")
    assert not app.exception
    held = registry().find(app.session_state.session.number)
    assert held is not None
    assert tuple(e.image.name for e in held.workspace.normals) == job.result.normals[0].names
    assert {e.label for e in held.workspace.tests} == {"good"}
    assert held.settings.config.object_name == "metal"
    focused = next(e for e in held.workspace.tests if e.image.sha256 == app.session_state.session.focus.image)
    lake = Lake(model(ModelKey("lake-cnn", None)).backbone, LakeConfig(object_name="metal"))
    score = lake.fit([e.image for e in held.workspace.normals]).explain(focused.image).score
    row = next(row for row in job.result.scores if row.seed == 0 and row.path == focused.image.name)
    assert score == pytest.approx(row.score, rel=1e-4)


def test_one_job_at_a_time_and_cancelling_ends_it() -> None:
    held, go_on = Jobs(), threading.Event()

    def work(report: CategoryProgress) -> str:
        for step in range(1000):
            report("metal", step, 1000)
            go_on.wait(0.01)
        return "done"

    job = held.evaluate("me", REQUEST, work)
    with pytest.raises(LakeError, match="one at a time"):
        held.evaluate("you", REQUEST, work)
    assert held.latest("you", "evaluation") is None
    job.cancel()
    assert wait(job).status == "cancelled"
    go_on.set()
    assert wait(held.evaluate("you", REQUEST, work)).result == "done"


def test_a_job_that_fails_says_why_in_one_sentence() -> None:
    def work(_: CategoryProgress) -> None:
        raise LakeError("There is nothing to learn from.")

    job = wait(Jobs().evaluate("me", REQUEST, work))
    assert (job.status, job.error) == ("failed", "There is nothing to learn from.")


def test_axes_of_measures_end_at_one() -> None:
    row = {"category": "metal", "method": "lake", "shots": 4}
    row |= {"image_ap_mean": 1.0, "image_ap_std": 0.0, "image_ap_low": 1.0, "image_ap_high": 1.0}
    row |= {"image_auroc_mean": 0.6, "image_auroc_std": 0.1, "image_auroc_low": 0.4, "image_auroc_high": 0.9}
    unknown = {f"image_ap_{what}": None for what in ("mean", "std", "low", "high")}
    summary = pd.DataFrame([row, row | {"category": "none"} | unknown])
    assert by_category(summary, "image_ap").layout.xaxis.range == (0.9, 1.03)
    assert by_shots(summary, "image_auroc").layout.yaxis.range == pytest.approx((0.36, 1.03))


def test_the_first_threshold_has_few_digits_and_keeps_every_decision() -> None:
    digits = sections.in_few_digits
    assert digits(np.array([0.2, 0.7128]), 0.4564) == (0.456, 3)
    assert digits(np.array([0.5001, 0.5004, 0.5006, 0.5008]), 0.5005) == (0.5005, 4)
    assert digits(np.array([0.7004, 0.9]), 0.70039) == (0.7, 3)
    close = np.array([0.5, 0.5 + 1e-9])
    assert digits(close, 0.5 + 5e-10) == (0.5, 3)  # a score on the threshold is normal
    assert digits(close + 4e-8, float(close.mean()) + 4e-8) == (float(close.mean()) + 4e-8, 6)


def test_points_of_the_curves_name_thresholds_that_give_them() -> None:
    labels, scores = np.array([True, True, False, False, False]), np.array([3.0, 1.0, 2.0, 0.5, 1.0])
    figure = curves(labels, scores, 1.5)
    roc, precision_recall = (one for one in figure.data if one.customdata is not None)
    for false_share, true_share, threshold in zip(roc.x, roc.y, roc.customdata, strict=True):
        found = counts(labels, scores, threshold)
        assert (found.false_positives / 3, found.true_positives / 2) == pytest.approx((false_share, true_share))
    for recall, precision, threshold in zip(
        precision_recall.x, precision_recall.y, precision_recall.customdata, strict=True
    ):
        found = counts(labels, scores, threshold)
        assert found.true_positives / 2 == pytest.approx(recall)
        assert found.true_positives == pytest.approx(precision * (found.true_positives + found.false_positives))
    assert len(roc.x) == 5
    assert len(precision_recall.x) == 5


def test_the_evaluation_begins_with_the_threshold_of_the_best_f1(small: Dataset) -> None:
    app = opened(Workspace(small.normals, small.tests, "metal"), "evaluate")
    job = evaluated(app)
    of_run = [row for row in job.result.scores if (row.shots, row.seed, row.method) == (4, 0, "lake")]
    labels, scores = [row.label == "defective" for row in of_run], [row.score for row in of_run]
    threshold = next(slider for slider in app.slider if slider.label == "Threshold").value
    assert isinstance(threshold, float)
    found = counts(labels, scores, threshold)
    n_right, n_wrong = found.true_positives, found.false_negatives + found.false_positives
    assert 2 * n_right / (2 * n_right + n_wrong) == f1_max(labels, scores)
    assert min(abs(score - threshold) for score in scores) > 1e-6
    assert f"{found.true_positives} found, {found.false_negatives} missed" in texts(app)
