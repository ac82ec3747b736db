"""Finished work is kept: an interrupted evaluation goes on, and only with what was asked for before."""

import json
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
from lake_core.evaluation.protocol import Outcome
from lake_core.evaluation.ray_engine import RayEngine
from lake_core.evaluation.runner import LocalEngine, evaluate
from lake_core.evaluation.tasks import Task, run_task
from lake_core.version import METHOD_VERSION
from tests.core.running import without_times
from tests.core.stains import surface, write_category
from tests.core.tiny import write


def test_an_interrupted_run_goes_on_and_repeats_nothing(
    stained: list[Path], small_cnn: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.json"
    options: dict[str, Any] = {"shots": (1, 2), "seeds": (0,), "methods": ("lake", "text")}
    whole = evaluate(stained, small_cnn, **options)

    def stop(name: str, done: int, total: int) -> None:
        if name == "unmasked" and done > 3:
            raise KeyboardInterrupt

    first = Checkpoint(out, resume=False)
    with pytest.raises(KeyboardInterrupt):
        evaluate(stained, small_cnn, **options, checkpoint=first, on_progress=stop)
    assert first.n_kept == 1
    assert not out.exists()
    with pytest.raises(ConfigError, match="go on with --resume, or remove it"):
        evaluate(stained, small_cnn, **options, checkpoint=Checkpoint(out, resume=False))
    with first.path.open("a") as file:
        file.write('{"category": "unma')  # killed while it wrote

    read: list[str] = []

    def noted(task: Task, *rest: Any) -> Outcome:
        read.append(task.category)
        return run_task(task, *rest)

    monkeypatch.setattr(runner, "run_task", noted)
    second = Checkpoint(out, resume=True)
    document = evaluate(stained, small_cnn, **options, checkpoint=second)
    assert read == ["unmasked"]
    assert without_times(document) == without_times(whole)
    second.finish(document)
    assert without_times(json.loads(out.read_text())) == without_times(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json"]


def test_another_plan_does_not_go_on_with_old_work(stained: list[Path], small_cnn: Backbone, tmp_path: Path) -> None:
    options: dict[str, Any] = {"shots": (1,), "seeds": (0,), "methods": ("text",), "pixel": False}
    own = write_category(tmp_path / "set", 0, False)
    out = tmp_path / "out.json"
    evaluate([own], small_cnn, **options, checkpoint=Checkpoint(out, resume=False))
    for changes, words in (
        ({"shots": (2,)}, r"whose shots differed \(then \[1\], now \[2\]\)"),
        ({"methods": ("lake",)}, "whose methods differed"),
        ({"config": LakeConfig(top_k=7)}, "whose configuration differed"),
    ):
        with pytest.raises(ConfigError, match=words):
            evaluate([own], small_cnn, **(options | changes), checkpoint=Checkpoint(out, resume=True))
    Image.fromarray(surface(77)).save(own / "test/good/000.png")
    with pytest.raises(ConfigError, match="whose files of the data sets differed"):
        evaluate([own], small_cnn, **options, checkpoint=Checkpoint(out, resume=True))


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
    options: dict[str, Any] = {"shots": (1,), "seeds": (0,), "methods": ("text",), "pixel": False}
    out = tmp_path / "out.json"
    evaluate(stained[:1], small_cnn, **options, checkpoint=Checkpoint(out, resume=False))
    monkeypatch.setattr(checkpoint, "METHOD_VERSION", METHOD_VERSION + 1)
    with pytest.raises(ConfigError, match=r"whose version of the method differed \(then \d+, now \d+\)"):
        evaluate(stained[:1], small_cnn, **options, checkpoint=Checkpoint(out, resume=True))


def test_other_weights_in_the_same_place_do_not_go_on_with_old_work(tmp_path: Path) -> None:
    options: dict[str, Any] = {"shots": (1,), "seeds": (0,), "methods": ("visual",), "pixel": False}
    own, out = write_category(tmp_path / "set", 0, False), tmp_path / "out.json"
    spec = f"local-dir:{write('native-vit', tmp_path / 'tiny')}"
    evaluate([own], open_backbone(spec), **options, checkpoint=Checkpoint(out, resume=False))
    assert evaluate([own], open_backbone(spec), **options, checkpoint=Checkpoint(out, resume=True))["results"]
    weights = tmp_path / "tiny" / "open_clip_model.safetensors"
    os.utime(weights, (0, 0))
    with pytest.raises(ConfigError, match="whose model differed"):
        evaluate([own], open_backbone(spec), **options, checkpoint=Checkpoint(out, resume=True))
