"""`lake score`: files with exactly what they should hold, one line for an error, and exit codes."""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import Result

import lake_core as lk
from lake_core.cli.score_maps import file_names
from lake_core.visualization.colours import ScoreScale
from lake_core.visualization.overlays import overlay
from tests.core.cli.commands import COLUMNS, error_line, lake, part, rows_of, score


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


def test_the_maps_lie_at_the_images_paths_on_one_scale(scored: tuple[Result, Path], woven_parts: Path) -> None:
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
        result = detector.explain(woven_parts / "test" / row["path"])
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


def test_a_preset_gives_way_to_what_is_typed_and_each_layer_has_its_k(woven_parts: Path, tmp_path: Path) -> None:
    options = ["--preset", "paper", "--layers", "15,12", "--top-k", "20,10", "--fusion-weight", "0.1"]
    options += ["--memory-bank-size", "30"]
    assert score(woven_parts, tmp_path / "out", *options).exit_code == 0
    config = json.loads((tmp_path / "out/config.json").read_text())["config"]
    expected = lk.LakeConfig.preset("paper", layers=(12, 15), top_k=(10, 20), fusion_weight=0.1, memory_bank_size=30)
    assert lk.LakeConfig.from_dict(config) == expected


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


def test_single_images_options_and_an_existing_folder(woven_parts: Path, tmp_path: Path) -> None:
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
        result = score(woven_parts, tmp_path, *options, normal="normal/1.png", test="test/bad spot/a.jpg")
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
        assert [row["path"] for row in rows_of(tmp_path / "new")] == ["x.png"]


def test_a_test_image_that_was_learned_from_is_told(woven_parts: Path, tmp_path: Path) -> None:
    result = score(woven_parts, tmp_path, normal="normal", test="normal/1.png")
    assert result.exit_code == 0
    assert "1 of the test images is also among the normal ones, such as 1.png: such a score says nothing" in " ".join(
        result.stderr.split()
    )


def test_nothing_to_score_is_exit_code_1(woven_parts: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/x.png").write_bytes(b"not an image")
    (tmp_path / "empty").mkdir()
    assert "holds no images" in error_line(score(woven_parts, tmp_path / "o", test=str(tmp_path / "empty")), code=1)
    assert "holds no images" in error_line(score(woven_parts, tmp_path / "o", normal=str(tmp_path / "empty")), code=1)
    unreadable = score(woven_parts, tmp_path / "o", normal=str(tmp_path / "bad"))
    assert "normal images" in error_line(unreadable, code=1)
    assert "Skipped: x.png" in unreadable.stderr
    assert "test images" in error_line(score(woven_parts, tmp_path / "o", test=str(tmp_path / "bad")), code=1)


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
        (["--top-k", "many"], "--top-k is 'many'"),
        (["--top-k", "60,100"], "one for each of the layers 15"),
        (["--preset", "papers"], "--preset is 'papers'; it must be one of paper."),
        (["--fusion-weight", "1.5"], "fusion_weight is 1.5"),
        (["--site", "neuron"], "site is 'neuron'"),
        (["--criterion", "best"], "criterion is 'best'"),
        (["--image-size", "100"], "the size 100 is not usable"),
        (["--resize", "crop"], "--resize is 'crop'"),
        (["--device", "abacus"], "device 'abacus' is not known"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    woven_parts: Path, tmp_path: Path, options: Sequence[str], words: str
) -> None:
    assert words in error_line(score(woven_parts, tmp_path / "out", *options), code=2)
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_results_is_wrong_usage(woven_parts: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    assert "cannot be made" in error_line(score(woven_parts, tmp_path / "taken"), code=2)


def test_missing_options_are_wrong_usage(woven_parts: Path) -> None:
    assert lake("score", "--normal", woven_parts).exit_code == 2


def test_images_that_differ_in_their_suffix_only_get_maps_of_their_own() -> None:
    assert file_names(["a/1.png", "a/1.jpg", "a/2.jpg", "b.bmp", "b.tif"], ".png") == [
        "a/1.png",
        "a/1.jpg.png",
        "a/2.png",
        "b.bmp.png",
        "b.tif.png",
    ]


def test_settings_under_which_nothing_is_selected_or_calibrated_are_told(woven_parts: Path, tmp_path: Path) -> None:
    one = next(path for path in sorted((woven_parts / "normal").iterdir()) if path.suffix == ".png")
    result = score(woven_parts, tmp_path, "--top-k", 5000, normal=f"normal/{one.name}")
    assert result.exit_code == 0, result.output
    notes = json.loads((tmp_path / "config.json").read_text())["notes"]
    assert any("720 neurons of layer 15 are kept: nothing is selected" in note for note in notes)
    assert any("With a single normal image the threshold is a rough guess" in note for note in notes)
