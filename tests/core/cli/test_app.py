"""What `lake` promises: files with exactly what they should hold, one line for an error, and exit codes."""

import base64
import csv
import hashlib
import inspect
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import loky
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner, Result

import lake_core as lk
from lake_core.backbones import process, registry
from lake_core.cli import app, dashboard
from lake_core.cli.score import file_names
from lake_core.errors import ConfigError
from lake_core.visualization.colours import ScoreScale
from lake_core.visualization.overlays import overlay
from tests.core.visualization.blob import read_blob

COLUMNS = ["path", "score", "visual", "text", "threshold", "is_anomalous"]
ROOT = Path(__file__).resolve().parents[3]


def part(seed: int, with_defect: bool = False) -> Image.Image:
    """A woven texture, 96 x 80, and on it, if asked for, a bright blot in the right half."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:80, :96]
    weave = 110 + 40 * np.sin(x * 0.8 + seed) * np.cos(y * 0.7) + ndimage.gaussian_filter(rng.normal(0, 25, x.shape), 1)
    rgb = np.repeat(weave[..., None], 3, axis=2)
    if with_defect:
        rgb[30:52, 60:84] = (250, 240, 60)
    return Image.fromarray(rgb.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """normal/ with three images, test/ with two good ones, two bad ones, a broken file, a text and a mask."""
    root = tmp_path_factory.mktemp("parts")
    hook_points: dict[str, Image.Image] = {f"normal/{i}.png": part(i) for i in range(3)}
    hook_points |= {f"test/good/{i}.png": part(i) for i in (10, 2)}
    hook_points |= {"test/bad spot/a.jpg": part(20, True), "test/bad spot/deep/b.png": part(21, True)}
    hook_points |= {"test/ground_truth/bad spot/a_mask.png": Image.new("L", (96, 80), 255)}
    for name, image in hook_points.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / name)
    (root / "test/good/torn.png").write_bytes((root / "test/good/2.png").read_bytes()[:300])
    (root / "test/readme.txt").write_text("no image")
    return root


def lake(*arguments: object) -> Result:
    return CliRunner().invoke(app.app, [str(argument) for argument in arguments])


def score(root: Path, out: Path, *more: object, normal: str = "normal", test: str = "test") -> Result:
    return lake("score", "--normal", root / normal, "--test", root / test, "--image-size", 128, "--out", out, *more)


@pytest.fixture(scope="module")
def scored(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    out = tmp_path_factory.mktemp("scored") / "not there yet"
    return score(parts, out, "--object", "woven cloth", "--top-k", 50), out


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def error_line(result: Result, *, code: int) -> str:
    """The one line on stderr."""
    assert result.exit_code == code, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.output
    return lines[0]


def test_the_table_has_exactly_the_columns_and_the_readable_test_images(
    scored: tuple[Result, Path],
) -> None:
    result, out = scored
    assert result.exit_code == 0, result.output
    rows = rows_of(out)
    assert list(rows[0]) == COLUMNS
    assert [row["path"] for row in rows] == ["bad spot/a.jpg", "bad spot/deep/b.png", "good/2.png", "good/10.png"]
    weight = 0.3
    for row in rows:
        fused = (1 - weight) * float(row["visual"]) + weight * float(row["text"])
        assert float(row["score"]) == pytest.approx(fused, rel=1e-5)
        assert row["is_anomalous"] == str(float(row["score"]) > float(row["threshold"]))
    scores = {row["path"]: float(row["score"]) for row in rows}
    assert min(scores["bad spot/a.jpg"], scores["bad spot/deep/b.png"]) > max(
        scores["good/2.png"], scores["good/10.png"]
    )


def test_a_broken_file_is_named_in_one_line_and_skipped(scored: tuple[Result, Path]) -> None:
    result, out = scored
    named = [line for line in result.stderr.splitlines() if "torn.png" in line]
    assert len(named) == 1
    assert named[0].startswith("Skipped: good/torn.png is damaged")
    skipped = json.loads((out / "config.json").read_text())["skipped"]
    assert [(item["side"], item["path"]) for item in skipped] == [("test", "good/torn.png")]
    assert "damaged" in skipped[0]["reason"]
    assert "1 skipped" in result.stdout
    assert str(out) in result.stdout


def test_the_maps_lie_at_the_images_paths_on_one_scale(scored: tuple[Result, Path], parts: Path) -> None:
    _, out = scored
    found = sorted(path.relative_to(out / "maps").as_posix() for path in (out / "maps").rglob("*.png"))
    assert found == ["bad spot/a.png", "bad spot/deep/b.png", "good/10.png", "good/2.png"]
    assert (out / "scale.png").is_file()
    document = json.loads((out / "config.json").read_text())
    scale = ScoreScale(**document["scale"])
    rows = rows_of(out)
    assert scale.is_open == (scale.vmax < max(float(row["score"]) for row in rows))
    assert scale.threshold == document["threshold"] == float(rows[0]["threshold"])
    detector = refit(document)
    for row, name in zip(rows, ("bad spot/a.png", "bad spot/deep/b.png", "good/2.png", "good/10.png"), strict=True):
        result = detector.explain(parts / "test" / row["path"])
        drawn = overlay(result.image, result.map, result.patch_scores.grid, result.patch_scores.placement, scale)
        with Image.open(out / "maps" / name) as file:
            difference = np.abs(np.asarray(file).astype(int) - np.asarray(drawn).astype(int))
        assert difference.max() <= 2


def refit(document: dict[str, Any]) -> lk.Lake:
    backbone = lk.open_backbone(
        document["spec"],
        image_size=document["image_size"],
        resize=document["resize"],
        device=document["device"],
    )
    config = lk.LakeConfig.from_dict(document["config"])
    return lk.Lake(backbone, config).fit([Path(document["normal"], item["path"]) for item in document["normals"]])


def test_the_settings_repeat_the_run(scored: tuple[Result, Path]) -> None:
    _, out = scored
    document = json.loads((out / "config.json").read_text())
    assert set(document["versions"]) == {"lake-explorer", "torch", "open_clip_torch", "timm"}
    assert document["versions"]["torch"] == torch.__version__
    assert document["image_size"] == 128
    assert document["config"]["object_name"] == "woven cloth"
    assert document["config"]["top_k"] == 50
    assert document["config"]["layers"]
    assert document["command"] == [Path(sys.argv[0]).name, *sys.argv[1:]]
    assert [item["path"] for item in document["normals"]] == ["0.png", "1.png", "2.png"]
    for item in document["normals"]:
        assert item["sha256"] == hashlib.sha256(Path(document["normal"], item["path"]).read_bytes()).hexdigest()
    detector = refit(document)
    assert detector.threshold_ == pytest.approx(document["threshold"], abs=1e-5)
    for row in rows_of(out):
        result = detector.explain(Path(document["test"], row["path"]))
        assert result.score == pytest.approx(float(row["score"]), abs=1e-5)
        assert result.visual == pytest.approx(float(row["visual"]), abs=1e-5)
        assert result.text == pytest.approx(float(row["text"]), abs=1e-5)


def test_single_images_options_and_an_existing_folder(parts: Path, tmp_path: Path) -> None:
    options = [
        "--layers",
        "12, 15",
        "--site",
        "residual_channel",
        "--criterion",
        "random",
        "--seed",
        3,
        "--fusion-weight",
        0,
    ]
    options += ["--resize", "letterbox", "--device", "auto"]
    for _ in range(2):
        result = score(parts, tmp_path, *options, normal="normal/1.png", test="test/bad spot/a.jpg")
        assert result.exit_code == 0, result.output
    (row,) = rows_of(tmp_path)
    assert row["path"] == "a.jpg"
    assert row["score"] == row["visual"]
    document = json.loads((tmp_path / "config.json").read_text())
    config = document["config"]
    assert (config["layers"], config["site"], config["criterion"]) == ([12, 15], "residual_channel", "random")
    assert (config["seed"], config["fusion_weight"], document["resize"]) == (3, 0.0, "letterbox")
    assert (tmp_path / "maps/a.png").is_file()


def test_results_written_among_the_test_images_are_not_scored_the_next_time(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    part(1).save(tmp_path / "ok.png")
    part(5).save(tmp_path / "new/x.png")
    for _ in range(2):
        result = score(tmp_path, tmp_path / "new", normal="ok.png", test="new")
        assert result.exit_code == 0, result.output
        (tmp_path / "new/scale.png").unlink()
        assert [row["path"] for row in rows_of(tmp_path / "new")] == ["x.png"]


def test_a_test_image_that_was_learned_from_is_told(parts: Path, tmp_path: Path) -> None:
    result = score(parts, tmp_path, normal="normal", test="normal/1.png")
    assert result.exit_code == 0
    assert "1.png: their scores say nothing about new images" in " ".join(result.stderr.split())


def test_nothing_to_score_is_exit_code_1(parts: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/x.png").write_bytes(b"not an image")
    (tmp_path / "empty").mkdir()
    assert "holds no images" in error_line(score(parts, tmp_path / "o", test=str(tmp_path / "empty")), code=1)
    assert "holds no images" in error_line(score(parts, tmp_path / "o", normal=str(tmp_path / "empty")), code=1)
    unreadable = score(parts, tmp_path / "o", normal=str(tmp_path / "bad"))
    assert "normal images" in error_line(unreadable, code=1)
    assert "Skipped: x.png" in unreadable.stderr
    assert "test images" in error_line(score(parts, tmp_path / "o", test=str(tmp_path / "bad")), code=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--normal", "nowhere"], "--normal nowhere does not exist"),
        (["--test", "nowhere"], "--test nowhere does not exist"),
        (["--model", "no-such-model"], "no-such-model"),
        (["--model", "lake-cmn"], "Did you mean lake-cnn?"),
        (["--layers", "999"], "no layer 999"),
        (["--layers", "twelve"], "--layers is 'twelve'"),
        (["--top-k", "0"], "top_k is 0"),
        (["--fusion-weight", "1.5"], "fusion_weight is 1.5"),
        (["--site", "neuron"], "site is 'neuron'"),
        (["--criterion", "best"], "criterion is 'best'"),
        (["--image-size", "100"], "the size 100 is not usable"),
        (["--resize", "crop"], "--resize is 'crop'"),
        (["--device", "abacus"], "--device is 'abacus'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    parts: Path, tmp_path: Path, options: Sequence[str], words: str
) -> None:
    assert words in error_line(score(parts, tmp_path / "out", *options), code=2)
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_results_is_wrong_usage(parts: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    assert "cannot be made" in error_line(score(parts, tmp_path / "taken"), code=2)


def test_missing_options_are_wrong_usage(parts: Path) -> None:
    assert lake("score", "--normal", parts).exit_code == 2


def test_images_that_differ_in_their_suffix_only_get_maps_of_their_own() -> None:
    assert file_names(["a/1.png", "a/1.jpg", "a/2.jpg", "b.bmp", "b.tif"], ".png") == [
        "a/1.png",
        "a/1.jpg.png",
        "a/2.png",
        "b.bmp.png",
        "b.tif.png",
    ]


def test_version_and_help() -> None:
    assert re.fullmatch(r"LAKE Explorer \d+\.\d+\.\d+\S*\n", lake("--version").stdout)
    text = lake("--help").stdout
    assert all(command in text for command in ("score", "models", "dashboard"))
    assert inspect.signature(app.score).parameters["model"].default == registry.DEFAULT_BACKBONE


def test_the_commands_module_needs_neither_networks_nor_streamlit() -> None:
    code = (
        "import sys, types; package = types.ModuleType('lake_core'); package.__path__ = ['lake_core']; "
        "sys.modules['lake_core'] = package; import lake_core.cli.app, lake_core.cli.dashboard; "
        "sys.exit(bool({'torch', 'open_clip', 'streamlit', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(("cores", "set_by_user", "expected"), [(8, None, [4, 4]), (1, None, [1, 1]), (8, "3", [])])
def test_threads_are_half_of_the_cores_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, cores: int, set_by_user: str | None, expected: list[int]
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(loky, "cpu_count", lambda: cores)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr(process, "_limit_matrix_products", asked.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if set_by_user:
        monkeypatch.setenv("OMP_NUM_THREADS", set_by_user)
    assert process.limit_threads() == torch.get_num_threads()
    assert asked == expected


def test_matrix_products_of_numpy_and_scipy_are_limited_too() -> None:
    code = (
        "import os; os.cpu_count = lambda: 2; from lake_core.backbones.process import limit_threads; limit_threads(); "
        "from threadpoolctl import threadpool_info; "
        "found = [one['num_threads'] for one in threadpool_info() if one['user_api'] == 'blas']; "
        "print(found); assert found and set(found) == {1}"
    )
    free = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, env=free).returncode == 0


def free_pair() -> int:
    """A port that is free, as is the one after it."""
    for port in range(20000 + os.getpid() % 20000, 65000, 7):
        if dashboard.free_port("127.0.0.1", port) == port:
            with socket.create_server(("127.0.0.1", port)):
                if dashboard.free_port("127.0.0.1", port) == port + 1:
                    return port
    raise AssertionError("no free pair of ports")


def test_a_taken_port_gives_the_next_free_one() -> None:
    first = free_pair()
    assert dashboard.free_port("127.0.0.1", first) == first
    with socket.create_server(("127.0.0.1", first)):
        assert dashboard.free_port("127.0.0.1", first) == first + 1
        assert dashboard.free_port("0.0.0.0", first) == first + 1


def test_no_free_port_and_no_such_host_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_pair()
    monkeypatch.setattr(dashboard, "_TRIES", 1)
    with socket.create_server(("127.0.0.1", first)), pytest.raises(ConfigError, match=f"No port from {first}"):
        dashboard.free_port("127.0.0.1", first)
    with pytest.raises(ConfigError, match="cannot listen at 192\\.0\\.2\\.1"):
        dashboard.free_port("192.0.2.1", first)


def test_the_port_comes_from_the_option_else_the_environment_else_8501(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PORT", raising=False)
    assert dashboard.wanted_port() == 8501
    monkeypatch.setenv("PORT", "9123")
    assert dashboard.wanted_port() == 9123
    for wrong in ("http", "0", "70000", "-1"):
        monkeypatch.setenv("PORT", wrong)
        with pytest.raises(ConfigError, match="PORT is"):
            dashboard.wanted_port()
    assert dashboard.address("0.0.0.0", 8501) == "http://127.0.0.1:8501"
    assert dashboard.address("::1", 8501) == "http://[::1]:8501"


def test_an_unknown_sample_is_wrong_usage() -> None:
    assert "There is no sample 'moon'" in error_line(lake("dashboard", "--sample", "moon", "--headless"), code=2)


def test_streamlit_gets_the_flags_and_the_script_its_sample() -> None:
    arguments = dashboard.streamlit_arguments(Path("x/app.py"), "127.0.0.1", 8502, "metal")
    assert arguments[:2] == ["run", str(Path("x/app.py"))]
    assert arguments[-3:] == ["--", "--sample", "metal"]
    flags = dict(zip(arguments[2:-3:2], arguments[3:-3:2], strict=True))
    assert flags == {
        "--server.address": "127.0.0.1",
        "--server.port": "8502",
        "--server.headless": "true",
        "--server.fileWatcherType": "none",
        "--server.maxUploadSize": "300",
        "--browser.gatherUsageStats": "false",
        "--client.showErrorDetails": "none",
        "--client.toolbarMode": "minimal",
        "--runner.magicEnabled": "false",
    }


def test_the_dashboard_answers_at_the_address_that_is_printed(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import streamlit as st\nst.write('hello')\n")
    first = free_pair()
    code = (
        "from pathlib import Path; from lake_core.cli.dashboard import launch; "
        f"launch({first}, open_browser=False, app=Path({str(tmp_path / 'app.py')!r}))"
    )
    with socket.create_server(("127.0.0.1", first)):
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", code],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == f"LAKE Explorer: http://127.0.0.1:{first + 1}"
            assert _answer(f"http://127.0.0.1:{first + 1}/_stcore/health", process) == "ok"
        finally:
            process.terminate()
            process.wait(30)


def _answer(url: str, process: "subprocess.Popen[str]") -> str:
    for _ in range(150):
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                return str(response.read().decode())
        except OSError:
            assert process.poll() is None, "the dashboard stopped"
            time.sleep(0.2)
    raise AssertionError("the dashboard does not answer")


def test_contributions_add_up_to_the_scores_of_the_table(parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "with contributions"
    result = score(parts, out, "--top-k", 30, "--layers", "12,15", "--contributions")
    assert result.exit_code == 0, result.output
    document = json.loads((out / "contributions.json").read_text(encoding="utf-8"))
    assert str(out / "contributions.json") in result.output
    assert document["schema"] == 2
    rows = rows_of(out)
    assert [item["path"] for item in document["images"]] == [row["path"] for row in rows]
    lake_again = lk.Lake(lk.open_backbone("lake-cnn", image_size=128), lk.LakeConfig(top_k=30, layers=(12, 15)))
    lake_again.fit(sorted((parts / "normal").iterdir()))
    for item, row in zip(document["images"], rows, strict=True):
        for name in ("score", "threshold", "visual", "text"):
            assert item[name] == float(row[name])
        assert sum(item["parts"].values()) == pytest.approx(item["score"], rel=1e-4)
        assert sum(layer["contribution"] for layer in item["layers"]) == pytest.approx(item["parts"]["visual"])
        assert [layer["layer"] for layer in item["layers"]] == [12, 15]
        again = lake_again.explain(parts / "test" / item["path"])
        assert item["patch"] == again.patch
        assert [item["grid"]["rows"], item["grid"]["cols"]] == list(again.map.shape)
        for layer in item["layers"]:
            assert (len(layer["neurons"]), layer["rest"]["n_neurons"]) == (10, 20)
            named = sum(neuron["contribution"] for neuron in layer["neurons"])
            assert named + layer["rest"]["contribution"] == pytest.approx(layer["contribution"])
            top_neurons = again.top_neurons(None, layer["layer"], top=10)
            assert [neuron["neuron"] for neuron in layer["neurons"]] == top_neurons["neuron"].tolist()


def test_contributions_and_pages_are_written_only_when_asked_for(scored: tuple[Result, Path]) -> None:
    assert not (scored[1] / "contributions.json").exists()
    assert not (scored[1] / "html").exists()


def test_html_writes_a_page_with_the_score_of_each_image(parts: Path, tmp_path: Path) -> None:
    result = score(parts, tmp_path, "--top-k", 20, "--html")
    assert result.exit_code == 0, result.output
    assert str(tmp_path / "html") in result.output
    pages = {path.relative_to(tmp_path / "html").as_posix(): path for path in (tmp_path / "html").rglob("*.html")}
    rows = {Path(row["path"]).with_suffix(".html").as_posix(): row for row in rows_of(tmp_path)}
    assert pages.keys() == rows.keys()
    for name, path in pages.items():
        assert path.stat().st_size <= 3_000_000
        payload = re.search(r'id="payload">([^<]+)<', path.read_text(encoding="utf-8"))
        assert payload is not None
        header = read_blob(base64.b64decode(payload[1])).header
        assert header["score"] == float(rows[name]["score"])
        assert header["threshold"] == float(rows[name]["threshold"])
        assert len(header["layers"][0]["neurons"]) == 20


def test_pages_that_cannot_be_written_are_one_line(parts: Path, tmp_path: Path) -> None:
    (tmp_path / "html").write_text("in the way")
    assert "cannot be made" in error_line(score(parts, tmp_path, "--html"), code=1)
