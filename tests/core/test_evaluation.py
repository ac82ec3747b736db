"""The few-shot protocol: nested choices, one forward pass per picture, honest gaps, figures that can be recomputed."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from lake_core import cli_evaluate, evaluation, trials
from lake_core.backbones import Backbone, Opening, open_backbone
from lake_core.config import LakeConfig
from lake_core.datasets import index_folder, read_folder
from lake_core.detector import Lake
from lake_core.errors import ConfigError, DatasetError, LakeError
from lake_core.evaluation import evaluate
from lake_core.features import FeatureStore
from lake_core.journal import Journal
from lake_core.metrics import auroc
from lake_core.plan import METHODS, METRICS, choose_normals
from lake_core.trials import run_task
from tests.core.running import without_times
from tests.core.tiny import write

SIDE = 96
N_NORMAL, N_GOOD, N_BAD = 5, 4, 5


def surface(seed: int) -> np.ndarray:
    """A grey surface with fine grain."""
    rng = np.random.default_rng(seed)
    return np.clip(130 + rng.normal(0, 8, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def write_category(root: Path, seed: int, with_masks: bool) -> Path:
    def save(path: str, pixels: np.ndarray) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / path)

    for i in range(N_NORMAL):
        save(f"train/good/{i:03}.png", surface(seed + i))
    for i in range(N_GOOD):
        save(f"test/good/{i:03}.png", surface(seed + 100 + i))
    for i in range(N_BAD):
        pixels, mask = surface(seed + 200 + i), np.zeros((SIDE, SIDE), np.uint8)
        at = slice(20 + 8 * i, 44 + 8 * i)
        pixels[at, at] = (200, 40, 40)
        mask[at, at] = 255
        save(f"test/stain/{i:03}.png", pixels)
        if with_masks:
            save(f"ground_truth/stain/{i:03}_mask.png", mask)
    return root


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("sets")
    return [write_category(root / "red_stain", 0, True), write_category(root / "unmasked", 1000, False)]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.set_num_threads(1)
    return open_backbone("lake-cnn", image_size=128)


@pytest.fixture(scope="module")
def document(folders: list[Path], backbone: Backbone) -> dict[str, Any]:
    return evaluate(folders, backbone, LakeConfig(top_k=20), shots=(1, 3), seeds=(0, 1))


def one(rows: list[dict[str, Any]], **wanted: object) -> dict[str, Any]:
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    assert len(found) == 1
    return found[0]


def test_the_document_is_complete_and_plain(document: dict[str, Any]) -> None:
    assert json.loads(json.dumps(document, allow_nan=False)) == json.loads(json.dumps(document))
    assert document["schema"] == 1
    assert document["model"] == "lake-cnn"
    assert document["input_size"] == [128, 128]
    assert LakeConfig.from_dict(document["config"]).top_k == 20
    assert document["object_names"] == {"red_stain": "red stain", "unmasked": "unmasked"}
    assert document["problems"] == [
        "unmasked: 5 of 5 defective pictures have no usable mask: pixel metrics leave them out."
    ]
    assert "torch" in document["environment"]
    assert document["environment"]["device"] == "cpu"
    assert len(document["results"]) == 2 * 2 * 2 * len(METHODS)
    assert len(document["summary"]) == 3 * 2 * len(METHODS)
    assert {row["n_test"] for row in document["results"]} == {N_GOOD + N_BAD}
    assert {row["n_defective"] for row in document["results"]} == {N_BAD}
    assert all(row["n_normal"] == row["shots"] and row["seconds"] > 0 for row in document["results"])


def test_an_obvious_stain_is_found_and_located(document: dict[str, Any]) -> None:
    row = one(document["results"], category="red_stain", shots=3, seed=0, method="lake")
    assert row["image_auroc"] == 1.0
    assert row["pixel_auroc"] > 0.9
    assert row["pixel_aupro"] > 0.5


def test_figures_are_those_of_the_detector_itself(
    folders: list[Path], backbone: Backbone, document: dict[str, Any]
) -> None:
    entries = index_folder(folders[1])
    normals = [entry.path for entry in choose_normals(entries, seed=1)[:3]]
    tests = read_folder(folders[1]).tests
    labels = [example.label == "defective" for example in tests]
    store = FeatureStore(backbone)
    own = LakeConfig(top_k=20, object_name="unmasked")
    for method, config in (
        ("lake", own),
        ("all", replace(own, criterion="all")),
        ("visual", replace(own, text_weight=0.0)),
        ("text", replace(own, text_weight=1.0)),
    ):
        lake = Lake(backbone, config, store).fit(normals)
        expected = auroc(labels, [lake.score(example.picture).score for example in tests])
        row = one(document["results"], category="unmasked", shots=3, seed=1, method=method)
        assert row["image_auroc"] == pytest.approx(expected, abs=1e-6)


def test_the_scores_of_each_picture_give_the_figures(
    folders: list[Path], backbone: Backbone, document: dict[str, Any]
) -> None:
    found = evaluate(folders[:1], backbone, LakeConfig(top_k=20), shots=(1, 3), seeds=(0, 1), with_scores=True)
    assert "scores" not in document
    assert found["results"][0].keys() == document["results"][0].keys()
    assert len(found["scores"]) == 2 * 2 * len(METHODS) * (N_GOOD + N_BAD)
    for row in found["results"]:
        keys = ("category", "shots", "seed", "method")
        own = [score for score in found["scores"] if all(score[key] == row[key] for key in keys)]
        assert all((folders[0] / score["path"]).is_file() for score in own)
        assert [score["label"] == "defective" for score in own] == ["stain" in score["path"] for score in own]
        if row["method"] != "random":  # whose figure is the mean of those of its draws
            expected = auroc([score["label"] == "defective" for score in own], [score["score"] for score in own])
            assert row["image_auroc"] == pytest.approx(expected, abs=1e-6)


def test_choices_of_normal_pictures_are_nested_seeded_and_told(document: dict[str, Any]) -> None:
    for seed in (0, 1):
        few = one(document["normals"], category="red_stain", shots=1, seed=seed)["names"]
        more = one(document["normals"], category="red_stain", shots=3, seed=seed)["names"]
        assert more[:1] == few
        assert len(set(more)) == 3
        assert all(name.startswith("train/good/") for name in more)
    assert (
        one(document["normals"], category="red_stain", shots=3, seed=0)["names"]
        != one(document["normals"], category="red_stain", shots=3, seed=1)["names"]
    )


def test_missing_masks_give_null(document: dict[str, Any]) -> None:
    for row in document["results"]:
        assert (row["pixel_auroc"] is None) == (row["category"] == "unmasked")
    mean = one(document["summary"], category="mean", shots=3, method="lake")
    assert mean["pixel_auroc_mean"] is None
    assert mean["image_auroc_mean"] is not None


def test_the_text_alone_depends_on_no_normal_picture(document: dict[str, Any]) -> None:
    for category, has_masks in (("red_stain", True), ("unmasked", False)):
        rows = [row for row in document["results"] if (row["category"], row["method"]) == (category, "text")]
        assert len(rows) == 4
        assert len({tuple(row[metric] for metric in METRICS) for row in rows}) == 1
        assert (rows[0]["pixel_auroc"] is not None) == has_masks


def test_the_summary_is_the_mean_over_seeds_then_over_categories(document: dict[str, Any]) -> None:
    by_category = []
    for category in ("red_stain", "unmasked"):
        own = [
            row["image_auroc"]
            for row in document["results"]
            if (row["category"], row["shots"], row["method"]) == (category, 1, "text")
        ]
        summary = one(document["summary"], category=category, shots=1, method="text")
        assert summary["image_auroc_mean"] == pytest.approx(np.mean(own), abs=1e-6)
        assert summary["image_auroc_std"] == pytest.approx(np.std(own), abs=1e-6)
        for metric in METRICS[:3] if category == "unmasked" else METRICS:
            assert summary[f"{metric}_low"] <= summary[f"{metric}_mean"] <= summary[f"{metric}_high"]
        by_category.append(own)
    mean = one(document["summary"], category="mean", shots=1, method="text")
    assert (mean["pixel_aupro_low"], mean["pixel_aupro_high"]) == (None, None)
    assert mean["image_auroc_mean"] == pytest.approx(np.mean(by_category), abs=1e-6)
    assert mean["image_auroc_std"] == pytest.approx(np.std(np.mean(by_category, axis=0)), abs=1e-6)


def test_the_network_runs_once_per_picture(
    folders: list[Path], backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_forwards: list[int] = []
    forward = Backbone.forward

    def watched(self: Backbone, pixels: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        n_forwards.append(len(pixels))
        return forward(self, pixels, *args, **kwargs)

    monkeypatch.setattr(Backbone, "forward", watched)
    seen: list[tuple[str, int, int]] = []
    evaluate(
        folders[:1],
        backbone,
        shots=(1, 4),
        seeds=(0, 1, 2),
        pixel=False,
        on_progress=lambda *progress: seen.append(progress),
    )
    assert sum(n_forwards) == N_NORMAL + N_GOOD + N_BAD
    assert seen[-1] == ("red_stain", N_NORMAL + N_GOOD + N_BAD, N_NORMAL + N_GOOD + N_BAD)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_without_pixel_metrics_the_picture_metrics_stay_the_same(
    folders: list[Path], backbone: Backbone, document: dict[str, Any]
) -> None:
    quick = evaluate(
        folders[:1], backbone, LakeConfig(top_k=20), shots=(3,), seeds=(1,), methods=("random", "visual"), pixel=False
    )
    for row in quick["results"]:
        full = one(document["results"], category="red_stain", shots=3, seed=1, method=row["method"])
        assert {k: v for k, v in row.items() if k.startswith("image")} == {
            k: v for k, v in full.items() if k.startswith("image")
        }
        assert row["pixel_auroc"] is None


def test_a_category_that_is_a_number_gives_no_object_name(tmp_path: Path, backbone: Backbone) -> None:
    btad = write_category(tmp_path / "01", 0, False)
    asked: dict[str, Any] = {"shots": (1,), "seeds": (0,), "methods": ("text",), "pixel": False}
    assert evaluate([btad], backbone, **asked)["object_names"] == {"01": "object"}


def test_a_given_object_name_is_used(folders: list[Path], backbone: Backbone) -> None:
    options: dict[str, Any] = {"shots": (1,), "seeds": (0,), "methods": ("text",), "pixel": False}
    named = evaluate(folders, backbone, LakeConfig(object_name="tile"), object_names={"unmasked": "plate"}, **options)
    assert named["object_names"] == {"red_stain": "tile", "unmasked": "plate"}


def test_pictures_that_cannot_be_read_are_left_out_and_told(tmp_path: Path, backbone: Backbone) -> None:
    folder = write_category(tmp_path / "set", 0, True)
    (folder / "test/stain/000.png").write_bytes(b"no picture")
    for name in ("000", "001"):
        (folder / f"train/good/{name}.png").write_bytes(b"no picture")
    found = evaluate([folder], backbone, shots=(3,), seeds=(0, 1), methods=("lake",))
    assert {row["n_test"] for row in found["results"]} == {N_GOOD + N_BAD - 1}
    assert sum("000.png" in problem for problem in found["problems"]) == 2
    assert all(len(row["names"]) == 3 for row in found["normals"])
    with pytest.raises(DatasetError, match="only 3 different"):
        evaluate([folder], backbone, shots=(4,), seeds=(0,), methods=("lake",))


def test_a_mask_of_another_size_is_fitted_and_one_of_another_shape_told(tmp_path: Path, backbone: Backbone) -> None:
    folder = write_category(tmp_path / "set", 0, True)
    options: dict[str, Any] = {"shots": (2,), "seeds": (0,), "methods": ("lake",)}
    before = evaluate([folder], backbone, **options)["results"][0]
    masks = folder / "ground_truth/stain"
    for path in sorted(masks.iterdir()):
        with Image.open(path) as drawn:
            drawn.resize((2 * SIDE, 2 * SIDE), Image.Resampling.NEAREST).save(path)
    assert without_time(evaluate([folder], backbone, **options)["results"][0]) == without_time(before)
    Image.fromarray(np.zeros((SIDE, 2 * SIDE), np.uint8)).save(masks / "000_mask.png")
    found = evaluate([folder], backbone, **options)
    assert found["problems"] == [
        "set: test/stain/000.png is compared without its mask: ground_truth/stain/000_mask.png is "
        "192 x 96 pixels, another aspect than its picture of 96 x 96: use the mask that was drawn on this picture.",
        "set: 1 of 5 defective pictures have no usable mask: pixel metrics leave them out.",
    ]
    Image.new("L", (SIDE, SIDE)).save(masks / "001_mask.png")
    said = evaluate([folder], backbone, **options)["problems"]
    assert said[2:] == ["set: 1 of 5 defective pictures have an empty mask: all their pixels count as good."]
    row = found["results"][0]
    assert (row["n_test"], row["image_auroc"]) == (N_GOOD + N_BAD, before["image_auroc"])
    assert row["pixel_auroc"] != before["pixel_auroc"]


def without_time(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "seconds"}


def test_an_empty_folder_and_unreadable_tests_are_told(tmp_path: Path, backbone: Backbone) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no pictures"):
        evaluate([tmp_path / "empty"], backbone)
    folder = write_category(tmp_path / "set", 0, False)
    for path in (folder / "test").rglob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="None of the 9 test pictures of set can be read"):
        evaluate([folder], backbone, shots=(1,), seeds=(0,), methods=("text",))


def test_a_test_picture_that_was_learned_from_runs_once(
    tmp_path: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_category(tmp_path / "set", 0, False)
    (folder / "test/good/copy.png").write_bytes((folder / "train/good/000.png").read_bytes())
    n_forwards: list[int] = []
    forward = Backbone.forward

    def watched(self: Backbone, pixels: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        n_forwards.append(len(pixels))
        return forward(self, pixels, *args, **kwargs)

    monkeypatch.setattr(Backbone, "forward", watched)
    found = evaluate([folder], backbone, shots=(N_NORMAL,), seeds=(0,), methods=("visual",), with_scores=True)
    assert sum(n_forwards) == N_NORMAL + N_GOOD + N_BAD
    assert one(found["scores"], path="test/good/copy.png")["score"] == pytest.approx(0, abs=1e-4)
    assert "set: test/good/copy.png is also among the normal pictures" in found["problems"][0]


def test_activations_of_test_pictures_are_let_go(
    folders: list[Path], backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores: list[FeatureStore] = []

    class Watched(FeatureStore):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            stores.append(self)

    monkeypatch.setattr(trials, "FeatureStore", Watched)
    evaluate(folders[:1], backbone, shots=(N_NORMAL,), seeds=(0,), methods=("lake",))
    places = Lake(backbone, LakeConfig()).places
    assert [store.n_bytes for store in stores] == [N_NORMAL * stores[0].bytes_per_picture(places)]


def test_the_size_of_batches_changes_nothing_but_rounding(
    folders: list[Path], backbone: Backbone, document: dict[str, Any]
) -> None:
    options: dict[str, Any] = {"shots": (1, 3), "seeds": (0, 1), "batch_size": 7}
    found = evaluate(folders, backbone, LakeConfig(top_k=20), **options)
    for row, expected in zip(found["results"], document["results"], strict=True):
        for metric in METRICS:
            assert row[metric] == pytest.approx(expected[metric], abs=1e-3)


def test_one_class_gives_null_metrics(tmp_path: Path, backbone: Backbone) -> None:
    folder = write_category(tmp_path / "set", 0, True)
    for path in (folder / "test/good").iterdir():
        path.unlink()
    found = evaluate([folder], backbone, shots=(1,), seeds=(0,), methods=("lake",))
    row = found["results"][0]
    assert [row[metric] for metric in METRICS[:3]] == [None] * 3
    assert row["pixel_auroc"] > 0.5
    summary = found["summary"][0]
    assert summary["image_auroc_low"] is None
    assert summary["pixel_auroc_low"] <= summary["pixel_auroc_mean"] <= summary["pixel_auroc_high"]
    assert found["problems"] == ["set: all 5 test pictures are defective: AUROC, AP and F1 need both kinds."]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"shots": ()}, ConfigError, "shots"),
        ({"shots": (0,)}, ConfigError, "at least 1"),
        ({"seeds": ()}, ConfigError, "seeds"),
        ({"methods": ("magic",)}, ConfigError, "magic"),
        ({"shots": (N_NORMAL + 1,)}, DatasetError, "red_stain has 5 normal pictures and 6 shots"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_network_runs(
    folders: list[Path], backbone: Backbone, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        evaluate(folders, backbone, **options)


def test_a_folder_without_labelled_tests_is_refused(tmp_path: Path, backbone: Backbone) -> None:
    (tmp_path / "set/train/good").mkdir(parents=True)
    Image.fromarray(surface(0)).save(tmp_path / "set/train/good/a.png")
    with pytest.raises(DatasetError, match="no labelled test picture"):
        evaluate([tmp_path / "set"], backbone, shots=(1,))
    with pytest.raises(DatasetError, match="no data set"):
        evaluate([], backbone)


@pytest.fixture
def command(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """`lake evaluate` with the small backbone, on a wide terminal."""
    monkeypatch.setattr(Opening, "open", lambda _: backbone)
    monkeypatch.setenv("COLUMNS", "160")
    app = typer.Typer()
    cli_evaluate.register(app)
    return app


def test_the_command_prints_tables_and_writes_the_document(
    command: typer.Typer, folders: list[Path], document: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "result.json"
    options = ["--shots", "1,3", "--seeds", "0 1", "--top-k", "20", "--json", str(out)]
    result = CliRunner().invoke(command, [str(folders[0].parent), *options], catch_exceptions=False)
    assert result.exit_code == 0
    assert all(word in result.stdout for word in (*METHODS, "red_stain", "unmasked", "mean", "Image AUROC", "AUPRO"))
    written = json.loads(out.read_text(encoding="utf-8"))
    for row, expected in zip(written["summary"], document["summary"], strict=True):
        assert row == expected


def test_lists_are_written_with_spaces_or_commas() -> None:
    for typed, read in (
        ("data --shots 1 2 4 --seeds 0,1 --json out", "data --shots 1,2,4 --seeds 0,1 --json out"),
        ("--shots 1 2 data --no-pixel", "--shots 1,2 data --no-pixel"),
        ("data --categories a b --methods lake text", "data --categories a,b --methods lake,text"),
        ("--methods lake data --seeds 3", "--methods lake,data --seeds 3"),  # a folder only where there is one
        ("--methods lake text samples --seeds 3", "--methods lake,text samples --seeds 3"),
        ("--categories a b . --shots 1 few", "--categories a,b . --shots 1,few"),
        ("data --json out.json --csv --resume", "data --json out.json --csv out.csv --resume"),
        ("data --csv --json out", "data --csv out.csv --json out"),
        ("data --csv rows --json out", "data --csv rows --json out"),
    ):
        assert cli_evaluate.joined_lists(typed.split()) == read.split()


def test_one_class_is_said_where_the_tables_would_be(command: typer.Typer, tmp_path: Path) -> None:
    folder = write_category(tmp_path / "set", 0, False)
    for path in (folder / "test/stain").iterdir():
        path.unlink()
    typed = [str(folder), "--shots", "1", "--seeds", "0", "--methods", "text"]
    told = CliRunner().invoke(command, typed, catch_exceptions=False).stdout
    assert "every figure is null" in told
    assert "Note: set: all 4 test pictures are good: AUROC, AP and F1 need both kinds." in told


def test_the_rows_are_written_as_csv(command: typer.Typer, folders: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    options = ["--categories", "unmasked", "--shots", "1", "2", "--seeds", "0", "--csv", str(out)]
    CliRunner().invoke(command, [str(folders[0].parent), *options], catch_exceptions=False)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(METHODS)
    assert all(row["pixel_auroc"] == "" and 0 <= float(row["image_auroc"]) <= 1 for row in rows)


def test_an_interrupted_run_goes_on_and_repeats_nothing(
    folders: list[Path], backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.json"
    options: dict[str, Any] = {"shots": (1, 2), "seeds": (0,), "methods": ("lake", "text")}
    whole = evaluate(folders, backbone, **options)

    def stop(name: str, done: int, total: int) -> None:
        if name == "unmasked" and done > 3:
            raise KeyboardInterrupt

    first = Journal(out, resume=False)
    with pytest.raises(KeyboardInterrupt):
        evaluate(folders, backbone, **options, journal=first, on_progress=stop)
    assert first.n_kept == 1
    assert not out.exists()
    with pytest.raises(ConfigError, match="go on with --resume, or remove it"):
        evaluate(folders, backbone, **options, journal=Journal(out, resume=False))
    with first.path.open("a") as file:
        file.write('{"category": "unma')  # killed while it wrote

    read: list[str] = []
    monkeypatch.setattr(evaluation, "run_task", lambda task, *rest: read.append(task.category) or run_task(task, *rest))
    second = Journal(out, resume=True)
    document = evaluate(folders, backbone, **options, journal=second)
    assert read == ["unmasked"]
    assert without_times(document) == without_times(whole)
    second.finish(document)
    assert without_times(json.loads(out.read_text())) == without_times(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json"]


def test_another_plan_does_not_go_on_with_old_work(folders: list[Path], backbone: Backbone, tmp_path: Path) -> None:
    options: dict[str, Any] = {"shots": (1,), "seeds": (0,), "methods": ("text",), "pixel": False}
    own = write_category(tmp_path / "set", 0, False)
    out = tmp_path / "out.json"
    evaluate([own], backbone, **options, journal=Journal(out, resume=False))
    for changes, words in (
        ({"shots": (2,)}, r"whose shots differed \(then \[1\], now \[2\]\)"),
        ({"methods": ("lake",)}, "whose methods differed"),
        ({"config": LakeConfig(top_k=7)}, "whose configuration differed"),
    ):
        with pytest.raises(ConfigError, match=words):
            evaluate([own], backbone, **(options | changes), journal=Journal(out, resume=True))
    Image.fromarray(surface(77)).save(own / "test/good/000.png")
    with pytest.raises(ConfigError, match="whose files of the data sets differed"):
        evaluate([own], backbone, **options, journal=Journal(out, resume=True))


def test_other_weights_in_the_same_place_do_not_go_on_with_old_work(tmp_path: Path) -> None:
    options: dict[str, Any] = {"shots": (1,), "seeds": (0,), "methods": ("visual",), "pixel": False}
    own, out = write_category(tmp_path / "set", 0, False), tmp_path / "out.json"
    spec = f"local-dir:{write('native-vit', tmp_path / 'tiny')}"
    evaluate([own], open_backbone(spec), **options, journal=Journal(out, resume=False))
    assert evaluate([own], open_backbone(spec), **options, journal=Journal(out, resume=True))["results"]
    weights = tmp_path / "tiny" / "open_clip_model.safetensors"
    os.utime(weights, (0, 0))
    with pytest.raises(ConfigError, match="whose model differed"):
        evaluate([own], open_backbone(spec), **options, journal=Journal(out, resume=True))


def test_ctrl_c_says_how_to_go_on(
    command: typer.Typer, folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(task: Any, *rest: Any) -> Any:
        if task.category == "unmasked":
            raise KeyboardInterrupt
        return run_task(task, *rest)

    out = tmp_path / "out.json"
    typed = [str(folders[0].parent), "--shots", "1", "--seeds", "0", "--methods", "text", "--no-pixel"]
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "run_task", interrupted)
        stopped = CliRunner().invoke(command, [*typed, "--json", str(out)])
        assert stopped.exit_code == 130
        assert "1 of 2 data sets are finished" in stopped.stderr
        assert "--resume" in stopped.stderr
        assert "Nothing was kept" in CliRunner().invoke(command, typed).stderr
    resumed = CliRunner().invoke(command, [*typed, "--json", str(out), "--resume"], catch_exceptions=False)
    assert resumed.exit_code == 0
    assert set(json.loads(out.read_text())["object_names"]) == {"red_stain", "unmasked"}


def test_the_command_takes_some_categories_and_methods(command: typer.Typer, folders: list[Path]) -> None:
    options = ["--categories", "unmasked", "--methods", "lake,visual", "--shots", "1", "--seeds", "0", "--no-pixel"]
    result = CliRunner().invoke(command, [str(folders[0].parent), *options], catch_exceptions=False)
    assert "unmasked" in result.stdout
    assert not any(word in result.stdout for word in ("red_stain", "random", "AUPRO"))


def test_names_of_categories_may_hold_spaces(command: typer.Typer, tmp_path: Path) -> None:
    for name in ("red stain", "plate", "cup"):
        write_category(tmp_path / name, 0, False)
    options = ["--methods", "text", "--shots", "1", "--seeds", "0", "--no-pixel", "--json", str(tmp_path / "out.json")]
    for names in (["red stain", "plate"], ["plate,red stain"], ["plate, red stain"]):
        CliRunner().invoke(command, [str(tmp_path), "--categories", *names, *options], catch_exceptions=False)
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
        (["--resume"], "--resume needs --json"),
        (["--engine", "steam"], "--engine is 'steam'"),
        (["--address", "head:6379"], "--address"),
        (["--precision", "fp8"], "--precision is 'fp8'"),
    ],
)
def test_the_command_says_what_is_wrong(
    command: typer.Typer, folders: list[Path], options: list[str], words: str
) -> None:
    with pytest.raises(LakeError, match=words):
        CliRunner().invoke(command, [str(folders[0].parent), *options], catch_exceptions=False)
