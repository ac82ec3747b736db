"""Finished work is kept: an interrupted evaluation goes on, and only with what was asked for before."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.opening import Opening, open_backbone
from lake_core.config import LakeConfig
from lake_core.errors import ConfigError
from lake_core.evaluation import checkpoint, runner
from lake_core.evaluation.checkpoint import Checkpoint
from lake_core.evaluation.outcome import CategoryOutcome
from lake_core.evaluation.protocol import FewShotProtocol
from lake_core.evaluation.ray_engine import RayEngine
from lake_core.evaluation.report import EvaluationReport
from lake_core.evaluation.runner import LocalEngine, evaluate
from lake_core.evaluation.tasks import Task, run_task
from lake_core.version import METHOD_VERSION
from tests.core.running import without_times
from tests.core.stains import surface, write_category
from tests.core.tiny import write

QUICK = FewShotProtocol(shots=(1,), seeds=(0,), methods=("text",), pixel=False)


def test_an_interrupted_run_goes_on_and_repeats_nothing(
    stained: list[Path], small_cnn: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.json"
    protocol = FewShotProtocol(shots=(1, 2), seeds=(0,), methods=("lake", "text", "patchcore"))
    whole = evaluate(stained, small_cnn, protocol=protocol)

    def stop(name: str, done: int, total: int) -> None:
        if name == "unmasked" and done > 3:
            raise KeyboardInterrupt

    first = Checkpoint(out, resume=False)
    with pytest.raises(KeyboardInterrupt):
        evaluate(stained, small_cnn, protocol=protocol, checkpoint=first, on_progress=stop)
    assert first.n_kept == 1
    assert not out.exists()
    with pytest.raises(ConfigError, match="go on with --resume, or remove it"):
        evaluate(stained, small_cnn, protocol=protocol, checkpoint=Checkpoint(out, resume=False))
    with first.path.open("a") as file:
        file.write('{"category": "unma')  # killed while it wrote

    read: list[str] = []

    def noted(task: Task, *rest: Any) -> CategoryOutcome:
        read.append(task.category)
        return run_task(task, *rest)

    monkeypatch.setattr(runner, "run_task", noted)
    second = Checkpoint(out, resume=True)
    document = evaluate(stained, small_cnn, protocol=protocol, checkpoint=second)
    assert read == ["unmasked"]
    assert without_times(document) == without_times(whole)
    second.finish(document)
    assert without_times(EvaluationReport.model_validate_json(out.read_text())) == without_times(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json"]


def test_another_evaluation_does_not_use_old_work(stained: list[Path], small_cnn: Backbone, tmp_path: Path) -> None:
    own = write_category(tmp_path / "set", 0, False)
    out = tmp_path / "out.json"
    evaluate([own], small_cnn, protocol=QUICK, checkpoint=Checkpoint(out, resume=False))
    for protocol, config, words in (
        (replace(QUICK, shots=(2, 1)), LakeConfig(), r"whose shots differed \(then 1, now 1, 2\)"),
        (replace(QUICK, methods=("lake",)), LakeConfig(), r"whose methods differed \(then text, now lake\)"),
        (replace(QUICK, pixel=True), LakeConfig(), r"whose pixel metrics differed \(then False, now True\)"),
        (QUICK, LakeConfig(top_k=7), r"whose configuration differed: ask"),
    ):
        with pytest.raises(ConfigError, match=words):
            evaluate([own], small_cnn, config, protocol, checkpoint=Checkpoint(out, resume=True))
    Image.fromarray(surface(77)).save(own / "test/good/000.png")
    with pytest.raises(ConfigError, match="whose files of the data sets differed"):
        evaluate([own], small_cnn, protocol=QUICK, checkpoint=Checkpoint(out, resume=True))


@pytest.mark.parametrize(
    ("line", "damage"), [(1, '"schema"'), (2, "{}"), (2, ""), (2, '{"category": "red_stain"'), (3, "\0\0\0")]
)
def test_a_damaged_line_is_named(
    stained: list[Path], small_cnn: Backbone, tmp_path: Path, line: int, damage: str
) -> None:
    out = tmp_path / "out.json"
    kept = Checkpoint(out, resume=False)
    evaluate(stained, small_cnn, protocol=QUICK, checkpoint=kept)
    lines = kept.path.read_text().splitlines()
    assert len(lines) == 3
    lines[line - 1] = damage
    kept.path.write_text("".join(text + "\n" for text in lines))
    words = f"damaged in line {line}: remove that line" if line > 1 else "is not the file of an interrupted run"
    with pytest.raises(ConfigError, match=words):
        evaluate(stained, small_cnn, protocol=QUICK, checkpoint=Checkpoint(out, resume=True))


def test_an_outcome_is_read_back_as_it_was(stained: list[Path], small_cnn: Backbone, tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "out.json", resume=False)
    whole = evaluate(stained, small_cnn, protocol=FewShotProtocol(seeds=(0,)), checkpoint=kept)
    again = evaluate(
        stained, small_cnn, protocol=FewShotProtocol(seeds=(0,)), checkpoint=Checkpoint(kept.out, resume=True)
    )
    assert again == whole


@pytest.mark.parametrize("device", ["cpu", "auto"])
@pytest.mark.parametrize("size", [None, 128])
def test_what_one_engine_began_the_other_goes_on_with(device: str, size: int | None) -> None:
    pytest.importorskip("ray")
    opening = Opening("lake-vit", size, "letterbox", device)
    assert LocalEngine(opening.open()).model_key() == RayEngine(opening).model_key()


def test_the_key_of_a_model_tells_apart_whatever_changes_results(tmp_path: Path) -> None:
    folder = write("native-vit", tmp_path / "tiny")
    one = Opening(f"local-dir:{folder}")
    changed = [replace(one, image_size=48), replace(one, resize="letterbox"), replace(one, precision="bf16")]
    keys = [*(opening.key("cpu") for opening in (one, Opening("lake-vit"), *changed)), one.key("cuda")]
    os.utime(folder / "open_clip_model.safetensors", (0, 0))
    assert len({*keys, one.key("cpu")}) == 7


def test_work_of_another_version_of_the_method_is_not_gone_on_with(
    stained: list[Path], small_cnn: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.json"
    evaluate(stained[:1], small_cnn, protocol=QUICK, checkpoint=Checkpoint(out, resume=False))
    monkeypatch.setattr(checkpoint, "METHOD_VERSION", METHOD_VERSION + 1)
    with pytest.raises(ConfigError, match=r"whose version of the method differed \(then \d+, now \d+\)"):
        evaluate(stained[:1], small_cnn, protocol=QUICK, checkpoint=Checkpoint(out, resume=True))


def test_other_weights_in_the_same_place_do_not_go_on_with_old_work(tmp_path: Path) -> None:
    protocol = replace(QUICK, methods=("visual",))
    own, out = write_category(tmp_path / "set", 0, False), tmp_path / "out.json"
    spec = f"local-dir:{write('native-vit', tmp_path / 'tiny')}"
    evaluate([own], open_backbone(spec), protocol=protocol, checkpoint=Checkpoint(out, resume=False))
    assert evaluate([own], open_backbone(spec), protocol=protocol, checkpoint=Checkpoint(out, resume=True)).results
    weights = tmp_path / "tiny" / "open_clip_model.safetensors"
    os.utime(weights, (0, 0))
    with pytest.raises(ConfigError, match="whose model differed"):
        evaluate([own], open_backbone(spec), protocol=protocol, checkpoint=Checkpoint(out, resume=True))


def test_a_finished_result_is_not_replaced_by_resuming(
    stained: list[Path], small_cnn: Backbone, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    first = Checkpoint(out, resume=False)
    first.finish(evaluate(stained[:1], small_cnn, protocol=QUICK, checkpoint=first))
    written = out.read_bytes()
    with pytest.raises(ConfigError, match=r"out\.json is finished: choose another OUT, or run without --resume"):
        evaluate(stained, small_cnn, protocol=QUICK, checkpoint=Checkpoint(out, resume=True))
    assert out.read_bytes() == written
