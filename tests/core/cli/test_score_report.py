"""`lake score --report`: one file on the whole run, made of a few images whatever their number, also after --resume."""

import re
from pathlib import Path

import pytest

from lake_core.cli import score_report
from lake_core.cli.console import list_sources
from lake_core.cli.known import known_of
from lake_core.detector.lake import Lake
from tests.core.cli.commands import error_line, rows_of, score


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lake_core.experiments.controls.N_DRAWS", 5)


def text_of(report: Path) -> str:
    """Its words, without marks and scripts."""
    whole = report.read_text(encoding="utf-8")
    kept = re.sub(r"<(script|style)[^>]*>.*?</\1>", " ", whole, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", kept).split())


def test_the_report_has_the_scores_of_the_table(woven_parts: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    result = score(woven_parts, tmp_path, "--top-k", 30, "--object", "cloth", "--report", report)
    assert result.exit_code == 0, result.output
    assert str(report) in result.stdout
    text = text_of(report)
    for row in rows_of(tmp_path):
        assert f"{row['path']} {float(row['score']):.4f} {float(row['visual']):.4f}" in text
    assert "4 (2 labelled good, 2 labelled defective)" in text
    assert "5 random draws of the same size (30 neurons)" in text
    assert "Skipped: good/torn.png is damaged" in text.replace("&#x27;", "'")
    assert "lake score --normal normal --test test --model lake-cnn" in text
    assert str(woven_parts) not in report.read_text(encoding="utf-8")
    assert report.read_text(encoding="utf-8").count('type="text/plain"') == 3


def test_only_a_few_images_are_drawn_and_read_for_the_control(
    woven_parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_report, "MOST_SHOWN", 2)
    monkeypatch.setattr(score_report, "MOST_EXPLAINED", 1)
    monkeypatch.setattr(score_report, "MOST_CONTROLLED", 3)
    report = tmp_path / "report.html"
    assert score(woven_parts, tmp_path, "--top-k", 30, "--report", report).exit_code == 0
    text = text_of(report)
    assert "2 of 4 test images, those with the highest scores." in text
    assert "Measured on 3 images of 4, evenly spread." in text
    assert report.read_text(encoding="utf-8").count('type="text/plain"') == 1


def test_a_resumed_run_reports_on_all_images(
    woven_parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object) -> None:
        raise KeyboardInterrupt

    report = tmp_path / "report.html"
    with monkeypatch.context() as patch:
        patch.setattr("lake_core.cli.score.report_of", ended)
        assert score(woven_parts, tmp_path, "--top-k", 30, "--report", report).exit_code != 0
    assert not (tmp_path / "config.json").exists()
    again = score(woven_parts, tmp_path, "--top-k", 30, "--report", report, "--resume")
    assert again.exit_code == 0, again.output
    assert "4 test images" in again.stderr or "5 of 5 test images are done already" in again.stderr
    text = text_of(report)
    assert all(row["path"] in text for row in rows_of(tmp_path))
    assert (tmp_path / "config.json").exists()


def test_a_report_that_cannot_be_written_is_told_before_anything_runs(
    woven_parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lake, "fit", None)
    line = error_line(score(woven_parts, tmp_path / "out", "--report", tmp_path / "none/r.html"), code=2)
    assert "none/r.html does not exist; make it first." in line
    line = error_line(score(woven_parts, tmp_path / "out", "--report", tmp_path / "out/scores.csv"), code=2)
    assert "it must be the name of a file that ends in .html." in line
    assert not (tmp_path / "out").exists()


def test_the_table_tells_masks_labels_and_files_as_anomalib_does(woven_parts: Path, tmp_path: Path) -> None:
    assert score(woven_parts, tmp_path, "--top-k", 30).exit_code == 0
    rows = {row["path"]: row for row in rows_of(tmp_path)}
    assert {row["split"] for row in rows.values()} == {"test"}
    assert {path: row["label_index"] for path, row in rows.items()} == {
        "bad spot/a.jpg": "1",
        "bad spot/deep/b.png": "1",
        "good/2.png": "0",
        "good/10.png": "0",
    }
    assert all(Path(row["image_path"]) == woven_parts / "test" / path for path, row in rows.items())
    mask = woven_parts / "test/ground_truth/bad spot/a_mask.png"
    assert rows["bad spot/a.jpg"]["mask_path"] == str(mask)
    assert {row["mask_path"] for path, row in rows.items() if path != "bad spot/a.jpg"} == {""}


def test_masks_beside_the_folder_and_several_of_one_image_are_found(tmp_path: Path) -> None:
    names = ["test/good/0.png", "test/hole/1.png", "test/hole/2.png", "ground_truth/hole/1_mask.png"]
    names += ["ground_truth/hole/2/000.png", "ground_truth/hole/2/001.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    given = tmp_path / "test"
    known = known_of(given, list_sources(given, "--test"))
    assert {name: one.mask_path for name, one in known.items()} == {
        "good/0.png": "",
        "hole/1.png": str(tmp_path / "ground_truth/hole/1_mask.png"),
        "hole/2.png": str(tmp_path / "ground_truth/hole/2"),
    }
    assert {name: one.label for name, one in known.items()} == {
        "good/0.png": "good",
        "hole/1.png": "defective",
        "hole/2.png": "defective",
    }
    single = tmp_path / "test/hole/1.png"
    assert known_of(single, list_sources(single, "--test"))["1.png"].mask_path == ""
