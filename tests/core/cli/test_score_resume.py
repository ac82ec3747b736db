"""`lake score --resume`: whatever ended a run, the files are in the end those of a run that nothing ended."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from lake_core.cli.score_maps import Drawing
from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from tests.core.cli.commands import error_line, part, rows_of, score

OPTIONS = ("--top-k", 20, "--contributions", "--html")
N_TESTS = 14
KILLED = """
import os, signal, sys
from lake_core.cli import app
from lake_core.cli.score_maps import Drawing
draw, n_drawn = Drawing.draw, 0
def torn(self, names, results):
    global n_drawn
    n_drawn += 1
    if n_drawn == 5:
        (self.out / "maps" / self.maps[names[0]]).write_bytes(b"half a map")
        os.kill(os.getpid(), signal.SIGKILL)
    draw(self, names, results)
Drawing.draw = torn
app.app([*sys.argv[1:]])
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three normal images and 14 others, of which the second is broken and the last is a normal one."""
    root = tmp_path_factory.mktemp("many")
    for folder in ("normal", "test"):
        (root / folder).mkdir()
    for i in range(3):
        part(i).save(root / f"normal/{i}.png")
    for i in range(N_TESTS - 1):
        part(10 + i, with_defect=i % 3 == 0).save(root / f"test/{i:02}.png")
    (root / "test/01.png").write_bytes((root / "test/00.png").read_bytes()[:200])
    part(0).save(root / "test/13.png")
    return root


@pytest.fixture(scope="module")
def whole(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that nothing ended."""
    out = tmp_path_factory.mktemp("whole")
    assert score(parts, out, *OPTIONS).exit_code == 0
    assert len(rows_of(out)) == N_TESTS - 1
    return files_in(out)


def files_in(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def interrupted(parts: Path, out: Path, monkeypatch: pytest.MonkeyPatch, n_chunks: int = 4) -> Result:
    """A run that is ended by the keyboard when so many chunks are kept."""
    draw, n_drawn = Drawing.draw, 0

    def ended(self: Drawing, names: Sequence[str], results: Sequence[ImageResult]) -> None:
        nonlocal n_drawn
        n_drawn += 1
        if n_drawn > n_chunks:
            raise KeyboardInterrupt
        draw(self, names, results)

    with monkeypatch.context() as patch:
        patch.setattr(Drawing, "draw", ended)
        return score(parts, out, *OPTIONS)


def test_an_interrupted_run_has_written_what_it_finished_and_ends_as_if_nothing_had_been(
    parts: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert interrupted(parts, tmp_path, monkeypatch).exit_code != 0
    assert [row["path"] for row in rows_of(tmp_path)] == [f"{i:02}.png" for i in range(8) if i != 1]
    assert {f"{i:02}.png" for i in range(8) if i != 1} <= {path.name for path in (tmp_path / "maps").iterdir()}
    assert not (tmp_path / "config.json").exists()
    left = tmp_path / "scores.part.jsonl"
    with left.open("a") as file:
        file.write('{"scored": [{"path": "08.p')  # killed while it wrote

    scored_now: list[str] = []
    of_maps = Lake.compute_maps_from

    def noted(self: Lake, image: Any, acts: Any) -> Any:
        scored_now.append(image.name)
        return of_maps(self, image, acts)

    monkeypatch.setattr(Lake, "compute_maps_from", noted)
    result = score(parts, tmp_path, *OPTIONS, "--resume")
    assert result.exit_code == 0, result.output
    assert "8 of 14 test images are done already" in result.stderr
    assert f"13 of 14 images scored, {whole['scores.csv'].count(b'True')} above" in result.stdout
    assert scored_now == [f"{i:02}.png" for i in range(8, 14)]
    assert files_in(tmp_path) == whole


def test_a_run_that_was_killed_goes_on(parts: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    folders = ["--normal", parts / "normal", "--test", parts / "test", "--image-size", "128", "--out", tmp_path]
    command = [sys.executable, "-c", KILLED, "score", *map(str, (*folders, *OPTIONS))]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "maps/08.png").read_bytes() == b"half a map"
    assert score(parts, tmp_path, *OPTIONS, "--resume").exit_code == 0
    assert files_in(tmp_path) == whole


def test_only_the_same_run_goes_on(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, own = tmp_path / "out", tmp_path / "parts"
    shutil.copytree(parts, own)
    interrupted(own, out, monkeypatch, n_chunks=2)
    left = (out / "scores.part.jsonl").read_bytes()
    assert "scores.part.jsonl holds what an interrupted run finished: go on with --resume, or remove it." in error_line(
        score(own, out, *OPTIONS), code=2
    )

    def refused(words: str, *more: object) -> None:
        line = error_line(score(own, out, *OPTIONS, "--resume", *more), code=2)
        assert f"scores.part.jsonl is of a run whose {words}" in line
        assert line.endswith(": ask for the same, or choose another OUT.")
        assert (out / "scores.part.jsonl").read_bytes() == left

    refused("configuration differed", "--top-k", 21)
    refused("model differed", "--resize", "letterbox")
    part(30).save(own / "test/00.png")
    refused("test images differed")
    part(31).save(own / "normal/0.png")
    refused("normal images differed")


def test_a_finished_run_is_replaced_but_not_resumed(parts: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    assert score(parts, tmp_path, *OPTIONS, "--resume").exit_code == 0
    assert files_in(tmp_path) == whole
    assert "config.json is finished: choose another OUT" in error_line(
        score(parts, tmp_path, *OPTIONS, "--resume"), code=2
    )
    assert score(parts, tmp_path, "--top-k", 20).exit_code == 0
    assert not (tmp_path / "contributions.json").exists()


def test_a_damaged_line_is_named_and_its_removal_is_the_remedy(
    parts: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(parts, tmp_path, monkeypatch)
    left = tmp_path / "scores.part.jsonl"
    lines = left.read_text().splitlines(keepends=True)
    left.write_text("".join([*lines[:2], "{}\n"]))
    assert "is damaged in line 3: remove that line" in error_line(score(parts, tmp_path, *OPTIONS, "--resume"), code=2)
    left.write_text("".join(lines[:2]))
    assert score(parts, tmp_path, *OPTIONS, "--resume").exit_code == 0
    assert files_in(tmp_path) == whole


def test_the_scale_does_not_depend_on_the_test_images(parts: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Maps are drawn before the other images are seen."""
    assert score(parts, tmp_path, *OPTIONS, test="test/02.png").exit_code == 0
    alone, among = (json.loads(files["config.json"])["scale"] for files in (files_in(tmp_path), whole))
    assert (alone["vmax"], alone["is_open"], among["is_open"]) == (among["vmax"], False, True)
    assert files_in(tmp_path)["maps/02.png"] == whole["maps/02.png"]
