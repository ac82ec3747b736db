"""A spec opens the weights that were meant, with their own preprocessing, and leaves no trace in the process."""

import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from huggingface_hub import constants as hub_constants
from safetensors.torch import load_file, save_file

from lake_core.backbones import registry
from lake_core.backbones.opening import open_backbone
from lake_core.data.samples import assets_folder
from tests.core.backbones.specs import CLIP_STATISTICS, message
from tests.core.tiny import random_weights, write

SIGLIP_STATISTICS = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "interpolation": "bicubic"}


@pytest.mark.parametrize("statistics", [SIGLIP_STATISTICS, CLIP_STATISTICS])
def test_a_tags_own_mean_and_deviation_are_used(pretend: Callable[..., None], statistics: dict[str, Any]) -> None:
    pretend("made_up", statistics, False)
    used = open_backbone("tiny-vit:made_up")._preprocess
    assert tuple(used["mean"]) == statistics["mean"]
    assert tuple(used["std"]) == statistics["std"]


def test_a_cached_hub_repository_opens_without_network(
    pretend: Callable[..., None], no_network: list[Any], vit_folder: Path
) -> None:
    pretend("made_up", CLIP_STATISTICS, False)
    snapshot = Path(hub_constants.HF_HUB_CACHE) / "models--lake--tiny-made_up" / "snapshots" / "abc"
    (snapshot / "open_clip_config.json").write_bytes((vit_folder / "open_clip_config.json").read_bytes())
    backbone = open_backbone("hf-hub:lake/tiny-made_up")
    assert backbone._preprocess["mean"] == [0.45, 0.5, 0.4]
    weights = random_weights("native-vit")
    assert all(torch.equal(backbone._model.state_dict()[key], value) for key, value in weights.items())
    assert no_network == []
    config = json.loads((vit_folder / "open_clip_config.json").read_text())
    del config["preprocess_cfg"]
    (snapshot / "open_clip_config.json").write_text(json.dumps(config))
    assert "does not say the preprocessing" in message("hf-hub:lake/tiny-made_up")


def test_siglip_tags_have_mean_one_half() -> None:
    cfg = open_clip.get_pretrained_cfg("ViT-B-16-SigLIP", "webli")
    assert tuple(cfg["mean"]) == tuple(cfg["std"]) == (0.5, 0.5, 0.5)


def test_the_weights_of_the_tag_are_loaded(pretend: Callable[..., None]) -> None:
    pretend("made_up", CLIP_STATISTICS, False)
    weights = random_weights("native-vit")
    state = open_backbone("tiny-vit:made_up")._model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in weights.items())


def test_a_checkpoint_with_its_configuration_equals_the_folder(vit_folder: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    torch.save({"state_dict": random_weights("native-vit")}, weights)
    one = open_backbone(f"checkpoint:{weights}@{vit_folder / 'open_clip_config.json'}")
    other = open_backbone(f"local-dir:{vit_folder}")
    pixels = torch.randn(1, 3, 40, 40)
    found = one.forward(pixels, one.hook_points)
    assert len(found) == 2 * 3 + 2
    for hook_point, tensor in found.items():
        torch.testing.assert_close(tensor, other.forward(pixels, {hook_point})[hook_point])
    assert one._preprocess["mean"] == other._preprocess["mean"] == [0.45, 0.5, 0.4]
    torch.testing.assert_close(one.encode_text(["a part"]), other.encode_text(["a part"]))


def test_opening_leaves_no_trace_in_the_process(
    vit_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    known, level, filters = open_clip.list_models(), logging.getLogger().level, list(warnings.filters)
    weights = tmp_path / "weights.pt"
    torch.save(random_weights("native-vit"), weights)
    for _ in range(2):
        open_backbone(f"checkpoint:{weights}@{vit_folder / 'open_clip_config.json'}")
    assert (open_clip.list_models(), logging.getLogger().level, list(warnings.filters)) == (known, level, filters)
    assert list(tmp_path.iterdir()) == [weights]


def test_a_folders_hints_are_its_recommendation(tmp_path: Path) -> None:
    folder = write("native-vit", tmp_path / "m")
    (folder / "lake.json").write_text(
        '{"layers": [2, 3], "site": "residual_channel", "normalise": "none", "smooth": 1}'
    )
    recommended = open_backbone(f"local-dir:{folder}").recommended
    assert (recommended.layers, recommended.site, recommended.normalise, recommended.smooth) == (
        (2, 3), "residual_channel", "none", 1
    )  # fmt: skip
    (folder / "lake.json").write_text('{"layers": [2], "site": "neuron"}')
    assert "site" in message(f"local-dir:{folder}")


@pytest.mark.parametrize(("name", "width"), [("lake-cnn", 384), ("lake-vit", 256)])
def test_shipped_backbones_open_without_network(no_network: list[Any], name: str, width: int) -> None:
    assert open_backbone(name).encode_text(["a part"]).shape == (1, width)
    assert no_network == []


def test_weights_that_are_not_on_this_machine_are_not_listed(pretend: Callable[..., None]) -> None:
    assert registry.cached_pretrained() == []
    pretend("made_up", CLIP_STATISTICS, True)
    assert registry.cached_pretrained() == ["tiny-vit:made_up"]


def test_weights_in_half_precision_are_fitted_to_another_size_as_those_in_full_are(tmp_path: Path) -> None:
    folder = assets_folder() / "lake-vit"
    shutil.copy(folder / "open_clip_config.json", tmp_path)
    weights = load_file(folder / "open_clip_model.safetensors")
    assert weights["visual.positional_embedding"].dtype == torch.float16
    save_file({name: one.float() for name, one in weights.items()}, tmp_path / "open_clip_model.safetensors")
    expected = open_clip.create_model(f"local-dir:{tmp_path}", force_image_size=160)
    found = open_backbone("lake-vit", image_size=160)
    assert found.layers[0].grid.rows == 20
    own = found.network.state_dict()
    for name, one in expected.state_dict().items():
        torch.testing.assert_close(own[name], one, rtol=0, atol=0)
