"""The command `lake evaluate`: its options, tables and files, and its errors for wrong usage."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.opening import Opening
from lake_core.cli import app
from lake_core.cli.lists import joined_lists
from lake_core.config import LakeConfig
from lake_core.evaluation import runner
from lake_core.evaluation.protocol import DEFAULT_METHODS, METHODS, FewShotProtocol
from lake_core.evaluation.runner import evaluate
from lake_core.evaluation.tasks import run_task
from tests.core.stains import write_category


@pytest.fixture(autouse=True)
def small_backbone(small_cnn: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small backbone, and a wide terminal."""
    monkeypatch.setattr(Opening, "open", lambda _: small_cnn)
    monkeypatch.setenv("COLUMNS", "160")


def lake_evaluate(*typed: object) -> Result:
    return CliRunner().invoke(app.app, ["evaluate", *map(str, typed)], catch_exceptions=False)


def test_the_command_prints_tables_and_writes_the_document(
    stained: list[Path], small_cnn: Backbone, tmp_path: Path
) -> None:
    report = evaluate(stained, small_cnn, LakeConfig(top_k=20), FewShotProtocol(shots=(1, 3), seeds=(0, 1)))
    out = tmp_path / "result.json"
    options = ["--shots", "1,3", "--seeds", "0 1", "--top-k", "20", "--json", str(out)]
    result = lake_evaluate(str(stained[0].parent), *options)
    assert result.exit_code == 0
    assert all(
        word in result.stdout for word in (*DEFAULT_METHODS, "red_stain", "unmasked", "mean", "Image AUROC", "AUPRO")
    )
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["summary"] == report.rows("summary")
    assert "scores" not in written


def test_help_lists_every_method() -> None:
    shown = " ".join(lake_evaluate("--help").stdout.replace("│", " ").split())
    assert ", ".join(METHODS) in shown


def test_the_criterion_and_the_scores_reach_the_document(stained: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    options = ["--shots", "1", "--seeds", "0", "--methods", "visual", "--no-pixel", "--json", out]
    options += ["--criterion", "robust", "--memory-bank-size", 40]
    assert lake_evaluate(stained[0], *options, "--scores").exit_code == 0
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["config"]["criterion"] == "robust"
    assert written["config"]["memory_bank_size"] == 40
    assert len(written["scores"]) == written["results"][0]["n_test"]


def test_a_preset_and_what_overrides_it_reach_the_document(stained: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    options = ["--shots", "1", "--seeds", "0", "--methods", "lake", "--no-pixel", "--json", out, "--preset", "paper"]
    assert lake_evaluate(stained[0], *options).exit_code == 0
    expected = LakeConfig.preset("paper", object_name="red stain")
    written = LakeConfig.from_dict(json.loads(out.read_text(encoding="utf-8"))["config"])
    assert written == replace(expected, layers=(15,))
    assert lake_evaluate(stained[0], *options, "--top-k", 9).exit_code == 0
    assert json.loads(out.read_text(encoding="utf-8"))["config"]["top_k"] == 9


def test_lists_are_written_with_spaces_or_commas() -> None:
    for typed, read in (
        ("data --shots 1 2 4 --seeds 0,1 --json out", "data --shots 1,2,4 --seeds 0,1 --json out"),
        ("--shots 1 2 data --no-pixel", "--shots 1,2 data --no-pixel"),
        ("data --categories a b --methods lake text", "data --categories a,b --methods lake,text"),
        ("--methods lake data --seeds 3", "--methods lake,data --seeds 3"),  # a folder only where there is one
        ("--methods lake text samples --seeds 3", "--methods lake,text samples --seeds 3"),
        ("--categories a b . --shots 1 few", "--categories a,b . --shots 1,few"),
        ("--top-k 60 100 data", "--top-k 60,100 data"),
        ("data --json out.json --csv --resume", "data --json out.json --csv out.csv --resume"),
        ("data --csv --json out", "data --csv out.csv --json out"),
        ("data --csv rows --json out", "data --csv rows --json out"),
    ):
        assert joined_lists(typed.split()) == read.split()


def test_one_class_is_said_where_the_tables_would_be(tmp_path: Path) -> None:
    folder = write_category(tmp_path / "set", 0, False)
    for path in (folder / "test/stain").iterdir():
        path.unlink()
    typed = [str(folder), "--shots", "1", "--seeds", "0", "--methods", "text"]
    printed = lake_evaluate(*typed).stdout
    assert "every metric is null" in printed
    assert "Note: set: all 4 test images are good: AUROC, AP and F1 need both labels." in printed


def test_the_rows_are_written_as_csv(stained: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    options = ["--categories", "unmasked", "--shots", "1", "2", "--seeds", "0", "--csv", str(out)]
    lake_evaluate(str(stained[0].parent), *options)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(DEFAULT_METHODS)
    assert all(row["pixel_auroc"] == "" and 0 <= float(row["image_auroc"]) <= 1 for row in rows)


def test_ctrl_c_says_how_to_resume(stained: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(task: Any, *rest: Any) -> Any:
        if task.category == "unmasked":
            raise KeyboardInterrupt
        return run_task(task, *rest)

    out = tmp_path / "out.json"
    typed = [str(stained[0].parent), "--shots", "1", "--seeds", "0", "--methods", "text", "--no-pixel"]
    with monkeypatch.context() as patch:
        patch.setattr(runner, "run_task", interrupted)
        stopped = lake_evaluate(*typed, "--json", str(out))
        assert stopped.exit_code == 130
        assert "1 of 2 data sets are finished" in stopped.stderr
        assert "--resume" in stopped.stderr
        assert "Nothing was kept" in lake_evaluate(*typed).stderr
    resumed = lake_evaluate(*typed, "--json", str(out), "--resume")
    assert resumed.exit_code == 0
    assert set(json.loads(out.read_text())["object_names"]) == {"red_stain", "unmasked"}


def test_the_command_takes_some_categories_and_methods(stained: list[Path]) -> None:
    options = ["--categories", "unmasked", "--methods", "lake,visual", "--shots", "1", "--seeds", "0", "--no-pixel"]
    result = lake_evaluate(str(stained[0].parent), *options)
    assert "unmasked" in result.stdout
    assert not any(word in result.stdout for word in ("red_stain", "random", "AUPRO"))


def test_names_of_categories_may_hold_spaces(tmp_path: Path) -> None:
    for name in ("red stain", "plate", "cup"):
        write_category(tmp_path / name, 0, False)
    options = ["--methods", "text", "--shots", "1", "--seeds", "0", "--no-pixel", "--json", str(tmp_path / "out.json")]
    for names in (["red stain", "plate"], ["plate,red stain"], ["plate, red stain"]):
        lake_evaluate(str(tmp_path), "--categories", *names, *options)
        assert set(json.loads((tmp_path / "out.json").read_text())["object_names"]) == {"plate", "red stain"}
        (tmp_path / "out.json").unlink()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--categories", "nothing"], "no data set 'nothing'"),
        (["--shots", "few"], "--shots is 'few'"),
        (["--shots", "1", "few"], "--shots is '1,few'; give whole numbers, separated by commas or spaces"),
        (["--methods", "magic"], "magic"),
        (["--json", "/nowhere/at/all.json"], "does not exist"),
        (["--csv", "/nowhere/at/all.csv"], "does not exist"),
        (["--json", "/"], "/ is a folder; give the name of a file"),
        (["--csv", "/"], "/ is a folder; give the name of a file"),
        (["--csv", "one.txt", "--json", "one.txt"], "--json and --csv name the same file"),
        (["--resume"], "--resume needs --json"),
        (["--engine", "steam"], "--engine is 'steam'"),
        (["--address", "head:6379"], "--address"),
        (["--precision", "fp8"], "--precision is 'fp8'"),
        (["--criterion", "best"], "criterion is 'best'; it must be one of variance, "),
    ],
)
def test_the_command_says_what_is_wrong(stained: list[Path], options: list[str], words: str) -> None:
    result = lake_evaluate(stained[0].parent, *options)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_full_disk_is_told_in_a_sentence(stained: list[Path], tmp_path: Path) -> None:
    options = ["--categories", "unmasked", "--shots", "1", "--seeds", "0", "--methods", "lake"]
    result = lake_evaluate(stained[0].parent, *options, "--csv", "/dev/full")
    assert result.exit_code == 1
    assert "/dev/full cannot be written (No space left on device)" in result.stderr
