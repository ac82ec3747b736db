"""`lake reproduce`: the numbers of `lake evaluate --preset paper` beside the paper's, with what is not known."""

import inspect
import json
import re
from pathlib import Path

import pytest
from typer.testing import Result

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.opening import Opening
from lake_core.cli import evaluate_commands
from lake_core.config import LakeConfig
from lake_core.evaluation.published import PUBLISHED
from lake_core.evaluation.report import EvaluationReport
from tests.core.cli.commands import error_line, lake
from tests.core.stains import write_category

PAPER = {
    ("mvtec_ad", "lake"): {"Image AUROC": "94.7", "Pixel AUROC": "93.7", "AUPRO (up to FPR 0.3)": "88.9"},
    ("mvtec_ad", "random"): {"Image AUROC": "81.6", "Pixel AUROC": "-", "AUPRO (up to FPR 0.3)": "45.8"},
    ("visa", "lake"): {"Image AUROC": "89.4", "Pixel AUROC": "-", "AUPRO (up to FPR 0.3)": "-"},
    ("btad", "lake"): {"Image AUROC": "96.2", "Pixel AUROC": "96.2", "AUPRO (up to FPR 0.3)": "-"},
}
METRICS = {"Image AUROC": "image_auroc", "Pixel AUROC": "pixel_auroc", "AUPRO (up to FPR 0.3)": "pixel_aupro"}
FEW = ("--shots", 1, "--seeds", 0, 1)


@pytest.fixture(scope="module")
def mvtec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two categories in the layout of MVTec AD, and a folder beside them that is none of its categories."""
    root = tmp_path_factory.mktemp("mvtec")
    for seed, name in ((0, "bottle"), (1000, "metal_nut"), (2000, "spoon")):
        write_category(root / name, seed, True)
    return root


@pytest.fixture
def small_backbone(small_cnn: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small backbone, and a wide terminal."""
    monkeypatch.setattr(Opening, "open", lambda _: small_cnn)
    monkeypatch.setenv("COLUMNS", "160")


def cells(result: Result, method: str, metric: str) -> list[str]:
    """The numbers of a row of the table: here, its deviation, the paper's."""
    (row,) = re.findall(rf"^ *{method} +{re.escape(metric)} +(.*)$", result.stdout, re.MULTILINE)
    return str(row).split()


@pytest.mark.usefixtures("small_backbone")
def test_the_table_holds_the_means_of_evaluate_with_the_preset_beside_the_papers(mvtec: Path, tmp_path: Path) -> None:
    result = lake("reproduce", "mvtec_ad", mvtec, "--model", "lake-cnn", *FEW, "--json", tmp_path / "ours.json")
    assert result.exit_code == 0, result.output
    options = ["--categories", "bottle", "metal_nut", "--methods", "lake", "random", "--json", tmp_path / "theirs.json"]
    assert lake("evaluate", mvtec, "--preset", "paper", *FEW, *options).exit_code == 0
    ours, theirs = (
        EvaluationReport.model_validate_json((tmp_path / name).read_text()) for name in ("ours.json", "theirs.json")
    )
    assert ours.summary == theirs.summary
    assert ours.config == theirs.config
    n_compared = 0
    for row in theirs.summary:
        if row.category == "mean":
            for title, metric in METRICS.items():
                spread = next(value for name, value in row.metrics.items() if name == metric)
                assert spread.mean is not None
                assert spread.std is not None
                numbers = [f"{100 * spread.mean:.1f}", f"{100 * spread.std:.1f}", PAPER["mvtec_ad", row.method][title]]
                assert cells(result, row.method, title) == numbers
                n_compared += 1
    assert n_compared == 6


@pytest.mark.usefixtures("small_backbone")
def test_what_keeps_the_figures_apart_is_said(mvtec: Path) -> None:
    said = " ".join(lake("reproduce", "mvtec_ad", mvtec, "--seeds", 0).stdout.split())
    assert "mean over 2 of 15 categories, 4 normal images, lake-cnn" in said
    assert "second hand" in said
    assert "from secondary sources" in said
    assert "the number of normal images (4), layers (15, the default for the backbone), image size (128 x 128)" in said
    assert "meant for ViT-L-14-336:openai; this is lake-cnn." in said
    assert "not there: cable, capsule, carpet" in said
    assert "spoon" not in said
    assert "state of the art" not in said.lower()


@pytest.mark.usefixtures("small_backbone")
@pytest.mark.parametrize(("dataset", "category"), [("visa", "pcb1"), ("btad", "01")])
def test_each_data_set_has_its_published_figures(dataset: str, category: str, tmp_path: Path) -> None:
    write_category(tmp_path / category, 0, True)
    result = lake("reproduce", dataset, tmp_path, "--shots", 1, "--seeds", 0)
    for title, figure in PAPER[dataset, "lake"].items():
        assert cells(result, "lake", title)[-1] == figure
        assert cells(result, "random", title)[-1] == "-"


def test_every_category_of_the_data_sets_is_known() -> None:
    assert {name: len(one.categories) for name, one in PUBLISHED.items()} == {"mvtec_ad": 15, "visa": 12, "btad": 3}


@pytest.mark.usefixtures("small_backbone")
def test_an_interrupted_run_is_resumed(mvtec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.json"
    with monkeypatch.context() as patch:
        patch.setattr("lake_core.cli.reproduce._print", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert lake("reproduce", "mvtec_ad", mvtec, *FEW, "--json", out).exit_code != 0
    assert not out.exists()
    assert lake("reproduce", "mvtec_ad", mvtec, *FEW, "--json", out, "--resume").exit_code == 0
    assert LakeConfig.from_dict(json.loads(out.read_text())["config"]).smooth == 1


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["coco", "."], "The data set is 'coco'; choose from mvtec_ad, visa, btad."),
        (["mvtec_ad", "nowhere"], "nowhere holds no category of MVTec AD with normal images (bottle, cable, capsule"),
        (["btad", "{mvtec}"], "holds no category of BTAD with normal images (01, 02, 03 ...)"),
        (["mvtec_ad", "{mvtec}", "--model", "no-such-model"], "no-such-model"),
        (["mvtec_ad", "{mvtec}", "--resume"], "--resume needs --json"),
    ],
)
def test_what_is_missing_is_said_in_one_line(mvtec: Path, typed: list[str], words: str) -> None:
    assert words in error_line(lake("reproduce", *[one.format(mvtec=mvtec) for one in typed]), code=2)


def test_the_model_is_the_one_that_the_preset_is_meant_for() -> None:
    assert inspect.signature(evaluate_commands.reproduce).parameters["model"].default == "ViT-L-14-336:openai"
