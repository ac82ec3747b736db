"""What a report says of how it is repeated gives the same scores."""

import contextlib
import io
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image

import lake_core as lk
from lake_core.backbones.backbone import Backbone
from lake_core.reports.content import Folders
from lake_core.reports.reproduce import command, python, without_option
from tests.core.cli.commands import lake as run_lake
from tests.core.cli.commands import rows_of
from tests.core.images import spotted


def written(folder: Path, names: dict[str, int]) -> list[Path]:
    for name, seed in names.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(spotted(seed, seed > 8).rgb).save(folder / name)
    return [folder / name for name in names]


@pytest.fixture(scope="module")
def made(small_cnn: Backbone, tmp_path_factory: pytest.TempPathFactory) -> tuple[lk.Lake, Path, float]:
    root = tmp_path_factory.mktemp("it's here")
    normals = written(root, {"good's/0.png": 0, "good's/1.png": 1, "good's/2'; x.png": 2})
    (test,) = written(root, {"new/a b.png": 9})
    config = lk.LakeConfig(top_k=(20, 30), layers=(12, 15), object_name="a 'nut'", fusion_weight=0.2)
    images = [lk.read_image(path, path.name) for path in normals]
    lake = lk.Lake(small_cnn, config).fit(images)
    return lake, root, lake.explain(test).score


def test_the_command_gives_the_same_score(made: tuple[lk.Lake, Path, float], monkeypatch: pytest.MonkeyPatch) -> None:
    lake, root, score = made
    monkeypatch.chdir(root)
    words = shlex.split(command(lake, Folders("good's", "new")))
    assert words[0] == "lake"
    without_report = words[1 : words.index("--report")]
    result = run_lake(*without_report)
    assert result.exit_code == 0, result.output
    (row,) = rows_of(root / "results")
    assert float(row["score"]) == pytest.approx(score, rel=1e-5)
    assert without_option(lake) == []


def test_the_python_gives_the_same_score_and_threshold(
    made: tuple[lk.Lake, Path, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, root, score = made
    monkeypatch.chdir(root)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(python(lake, Folders("good's", "new"), "a b.png"), {})
    assert [float(word) for word in said.getvalue().split()] == pytest.approx([score, lake.threshold_], rel=1e-5)


def test_what_the_command_cannot_say_is_named_and_is_in_the_python(small_cnn: Backbone) -> None:
    prompts = lk.PromptEnsemble(normal_states=("fine {}",))
    lake = lk.Lake(small_cnn, lk.LakeConfig(top_q=3, smooth=1, prompts=prompts)).fit([spotted(0), spotted(1)])
    lake = lake.with_threshold(1.25)
    assert sorted(without_option(lake)) == ["prompts", "smooth", "threshold", "top_q"]
    made: dict[str, object] = {}
    source = python(lake, Folders(), None)
    exec(source[: source.index("normal, test")], made)
    config = made["config"]
    assert {f.name: getattr(config, f.name) for f in fields(lk.LakeConfig)} == {
        f.name: getattr(lake.config, f.name) for f in fields(lk.LakeConfig)
    }
    assert "lake = lake.with_threshold(1.25)" in source
