"""Results: the report is prepared beside the page when asked for, can be cancelled, and says what the pages say."""

import time
from collections.abc import Iterable
from dataclasses import replace
from html import escape

import pytest

from dashboard.services.analysis import Analysis, analyse
from dashboard.services.cache import results
from dashboard.services.controls import control_key, known_control
from dashboard.services.jobs import jobs
from dashboard.services.report import report_key, report_of
from dashboard.settings import Settings
from dashboard.words import METHOD_NAMES
from lake_core.data.datasets import Dataset, Example
from lake_core.sentences import sentence
from lake_core.types import Progress
from tests.dashboard.visit import downloads, full, over, press, run, started_again, table, when_done

pytestmark = pytest.mark.usefixtures("fresh")
DOWNLOAD = "Download the report (HTML)"


@pytest.mark.usefixtures("nothing_at_once")
def test_it_is_prepared_on_demand_and_then_offered(small: Dataset) -> None:
    app = full(small, "results")
    assert DOWNLOAD not in downloads(app)
    app = when_done(press(app, "Report"), "report")
    assert DOWNLOAD in downloads(app)
    assert "Report" not in [button.label for button in app.button]


@pytest.mark.usefixtures("nothing_at_once")
def test_it_can_be_cancelled_and_started_again(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(found: Analysis, on_progress: Progress) -> None:
        while True:
            on_progress(3, 99)
            time.sleep(0.01)

    monkeypatch.setattr("dashboard.views.results.report.report_of", endless)
    app = press(full(small, "results"), "Report")
    first = jobs().latest(app.session_state.session.number, "report")
    assert first is not None
    press(app, "Cancel")
    second = started_again(app, first, "report")
    second.cancel()
    over(second)


@pytest.mark.usefixtures("nothing_at_once")
def test_it_does_not_end_the_baselines_that_are_computed_on_the_same_page(small: Dataset) -> None:
    app = press(run(full(small, "results"), results_section="Baselines"), "Report")
    app = when_done(when_done(app), "report")
    assert app.dataframe[0].value["method"].tolist()[0] == METHOD_NAMES["lake"]
    assert DOWNLOAD in downloads(app)


def test_it_has_the_scores_and_the_control_of_the_pages(found: Analysis) -> None:
    steps: list[tuple[int, int]] = []
    text = report_of(found, lambda done, total: steps.append((done, total)))
    assert steps[-1] == (3, 3)
    for one in found.scores:
        assert f"<td>{one.image.name}</td>" in text
        assert f">{one.score:.4f}</td>" in text
    assert "lake score --normal train/good --test test " in text
    control = known_control(found)
    assert control is not None
    assert control.finding is not None
    assert escape(sentence(control.finding)) in text
    assert text.count('type="text/plain"') == 3


def test_the_command_names_the_folder_of_test_images_alone(found: Analysis) -> None:
    """Where all images lie in one folder, as in an archive, that folder holds normal images and masks, too."""

    def below(folder: str, examples: Iterable[Example]) -> tuple[Example, ...]:
        return tuple(replace(one, image=replace(one.image, name=f"{folder}/{one.image.name}")) for one in examples)

    held = found.workspace
    workspace = replace(held, normals=below("parts", held.normals), tests=below("parts", held.tests))
    moved = analyse(Settings(found.key.model.spec, found.key.model.image_size, found.lake.config), workspace)
    assert "lake score --normal parts/train/good --test parts/test " in report_of(moved)


def test_a_control_that_is_known_is_not_measured_again(found: Analysis, monkeypatch: pytest.MonkeyPatch) -> None:
    report_of(found)
    held = results().get(control_key(found))
    monkeypatch.setattr("dashboard.services.report.measured_control", None)
    report_of(found)
    assert results().get(control_key(found)) is held


def test_another_threshold_is_another_report(found: Analysis) -> None:
    moved = replace(found, lake=found.lake.with_threshold(9.0))
    assert report_key(moved) != report_key(found)
    assert "0 of 3 test images are above the threshold." in report_of(moved)


def test_a_sample_says_whose_images_it_shows(found: Analysis) -> None:
    sample = replace(found, workspace=replace(found.workspace, sample="hazelnut"))
    said = report_of(sample)
    assert "Hazelnut Toy (https://github.com/openvinotoolkit/anomalib/releases" in said
    assert "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)" in said


def test_the_table_ends_with_anomalibs_columns(small: Dataset) -> None:
    shown = table(full(small, "results"))
    own = ["path", "score", "visual", "text", "threshold", "is_anomalous", "label"]
    assert list(shown.columns) == [*own, "image_path", "split", "label_index", "mask_path"]
    assert shown["image_path"].tolist() == shown["path"].tolist()
    assert shown["label_index"].tolist() == [{"good": "0", "defective": "1"}[label] for label in shown["label"]]
    assert set(shown["split"]) == {"test"}
    assert set(shown["mask_path"]) == {""}
