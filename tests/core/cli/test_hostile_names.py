"""Names of files and folders that look like markup, formulas or commands to a terminal: shown, and nothing more."""

import csv
import io
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.opening import Opening
from lake_core.cli.terminal import plain
from lake_core.tables import csv_cell, csv_of, original_cell
from tests.core.cli.commands import error_line, lake, part

NAMES = (
    "[red]x[/red]",
    "a\x1b[31mred\x1b]0;title\x07",
    "two\nlines",
    "right\u202eleft",
    "=1+1",
    "@SUM(A1)",
    "-x",
    "+x",
    "\tx",
)
DANGEROUS = ("=", "+", "-", "@", "\t", "\r")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of that kind of name, with a kind of defect and images of that kind of name, and one broken image."""
    root = tmp_path_factory.mktemp("sets") / "[bold]set\x1b[2J"
    for i in range(3):
        save(root / "train/good" / f"{i}.png", i)
    for i, name in enumerate(NAMES):
        save(root / "test/good" / f"{name}.png", 10 + i)
        save(root / f"test/=kind{name}" / f"{name}.png", 30 + i, with_defect=True)
    (root / "test/good/[red]broken\x1b[5m.png").write_bytes(b"no image")
    return root


def save(path: Path, seed: int, with_defect: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part(seed, with_defect).save(path, "PNG")


def checked(output: str, *shown: str) -> None:
    """That the output steers no terminal and shows what it should as it is."""
    assert all(one.isprintable() for one in output.replace("\n", ""))
    for text in shown:
        assert text in output


def test_a_data_set_is_inspected(hostile: Path) -> None:
    result = lake("datasets", "inspect", hostile)
    assert result.exit_code == 0
    checked(result.output, "[bold]set\\x1b[2J: MVTec AD", "[red]broken\\x1b[5m.png is a text file")
    document = json.loads(lake("datasets", "inspect", hostile, "--json").stdout)
    assert document["categories"][0]["name"] == "[bold]set\x1b[2J"


def test_tables_show_names_as_they_are(
    hostile: Path, tmp_path: Path, small_cnn: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Opening, "open", lambda _: small_cnn)
    monkeypatch.setenv("COLUMNS", "160")
    options = ("--shots", 2, "--seeds", 0, "--methods", "lake", "--no-pixel", "--json", tmp_path / "r.json", "--csv")
    result = lake("evaluate", hostile, *options)
    assert result.exit_code == 0, result.output
    checked(result.output, "[bold]set\\x1b[2J", "[red]broken")
    (row,) = csv.DictReader((tmp_path / "r.csv").open(newline=""))
    assert row["category"] == "[bold]set\x1b[2J"
    assert 0 <= float(row["image_auroc"]) <= 1


def test_scores_are_written_so_that_no_spreadsheet_runs_a_name(hostile: Path, tmp_path: Path) -> None:
    shutil.copytree(hostile / "test/good", tmp_path / "test")
    options = ("--normal", hostile / "train/good", "--test", tmp_path / "test", "--image-size", 128, "--top-k", 20)
    result = lake("score", *options, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    checked(result.stderr, "Skipped: [red]broken\\x1b[5m.png is a text file")
    with (tmp_path / "out/scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert not any(row["path"].startswith(DANGEROUS) for row in rows)
    assert {original_cell(row["path"]) for row in rows} == {f"{name}.png" for name in NAMES}
    assert all(row["text"] == str(float(row["text"])) for row in rows)


def test_errors_show_names_as_they_are(hostile: Path, tmp_path: Path) -> None:
    for name in NAMES:
        result = lake("datasets", "inspect", tmp_path / name)
        assert result.exit_code == 2
        checked(result.stderr, "Error: ")
        assert result.stderr.count("\n") == 1


def test_a_cell_is_read_back_as_it_was() -> None:
    texts = [*NAMES, "", "'", "''", "'=x", "''=x", "x=1", "'x", "-1.5", "é", "\r", "a,b", 'q"q', "＝x"]
    for text in texts:
        assert not csv_cell(text).startswith(DANGEROUS)
        assert original_cell(csv_cell(text)) == text
    assert len({csv_cell(text) for text in texts}) == len(texts)
    for number in (-1.5, -3, True, None, float("nan")):
        assert csv_cell(number) is number


def test_a_table_keeps_its_numbers() -> None:
    table = pd.DataFrame({"name": ["=a", None, "b"], "score": [-0.5, 2.0, None], "n": [-1, 2, 3], "=x": [True] * 3})
    table["own"] = pd.array([1, None, -2], dtype="Int64")
    text = csv_of(table)
    assert text.splitlines() == ["name,score,n,'=x,own", "'=a,-0.5,-1,True,1", ",2.0,2,True,", "b,,3,True,-2"]
    again = pd.read_csv(io.StringIO(text))
    assert again["score"].dtype == float
    assert table["name"][0] == "=a", "the table itself stays"


def test_what_is_not_printed_is_written_out() -> None:
    assert plain("a\x1b[31m\u202eb\u2066\n\u200b\udcff°…") == "a\\x1b[31m\\u202eb\\u2066\\n\\u200b\\udcff°…"


def test_what_is_no_file_is_named_and_the_others_are_scored(tmp_path: Path) -> None:
    for i in range(2):
        save(tmp_path / "normal" / f"{i}.png", i)
    save(tmp_path / "test/a.png", 9)
    os.mkfifo(tmp_path / "test/pipe.png")
    (tmp_path / "test/loop.png").symlink_to("loop.png")
    (tmp_path / "test/zero.png").symlink_to("/dev/zero")
    (tmp_path / "test/round").symlink_to(tmp_path)
    options = ("--normal", tmp_path / "normal", "--image-size", 128, "--top-k", 20)
    result = lake("score", *options, "--test", tmp_path / "test", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for said in (
        "pipe.png is a pipe or a device",
        "loop.png cannot be read",
        "zero.png is a pipe",
        "round is a link to",
    ):
        assert said in result.stderr
    assert "1 of 4 images scored" in result.stdout
    pipe = lake("score", *options, "--test", tmp_path / "test/pipe.png", "--out", tmp_path / "other")
    assert "pipe.png is neither a folder nor a file" in error_line(pipe, code=2)
    for command in (("project", "verify"), ("project", "open", "--no-browser")):
        for path in ("test/pipe.png", "test/zero.png"):
            assert "is not a file: give the file of a project" in error_line(lake(*command, tmp_path / path), code=2)


# A disk without room -------------------------------------------------------------------------------------------------


@contextmanager
def no_file_grows(n_bytes: int) -> Iterator[None]:
    """As on a full disk: what is written beyond so many bytes of a file fails."""
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, kept[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)


@pytest.mark.parametrize(
    "command",
    [
        ["datasets", "inspect", "samples"],
        ["datasets", "inspect", "samples", "--json"],
        ["models", "list"],
        ["project", "list"],
        ["--version"],
    ],
)
def test_a_full_disk_behind_the_output_is_told_in_a_sentence(command: list[str], tmp_path: Path) -> None:
    program = [sys.executable, "-c", "import sys; from lake_core.cli.app import main; main()", *command]
    with open("/dev/full", "w") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "Error: The output cannot be written (No space left on device)." in done.stderr


def test_a_disk_that_fills_up_in_a_run_is_told_in_a_sentence(hostile: Path, tmp_path: Path) -> None:
    options = ("--normal", hostile / "train/good", "--test", hostile / "test/good", "--image-size", 128, "--top-k", 20)
    results = []
    for n_bytes in (0, 300, 3000, 30_000):
        out = tmp_path / str(n_bytes)
        with no_file_grows(n_bytes):
            results.append(lake("score", *options, "--contributions", "--html", "--out", out))
            more = ("--json", tmp_path / "n.json", "--layer", 15)
            results.append(lake("neurons", *options[:4], "--image-size", 128, *more))
            results.append(lake("project", "save", *options, "--out", tmp_path / "p.lake"))
    for result in results:
        assert result.exit_code == 1, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert "cannot be written (File too large)" in result.stderr


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried ..."),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    ],
)
def test_memory_that_runs_out_is_told_in_a_sentence(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(*_: object) -> None:
        raise fault

    monkeypatch.setattr("lake_core.cli.datasets.run", raising)
    result = lake("datasets", "inspect", "samples")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: There is not enough memory; ")
    monkeypatch.setattr("lake_core.cli.datasets.run", lambda *_: 1 / 0)
    assert isinstance(lake("datasets", "inspect", "samples").exception, ZeroDivisionError)
