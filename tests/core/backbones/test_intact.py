"""Weights that are damaged behind a sound header are refused, whoever's they are."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lake_core.backbones import loading
from lake_core.backbones.hub import WEIGHTS_NAMES
from lake_core.backbones.intact import SHIPPED_SHA256, digest
from lake_core.backbones.opening import open_backbone
from lake_core.backbones.registry import SHIPPED
from lake_core.data.samples import assets_folder
from lake_core.errors import BackboneError
from tests.core.tiny import write


def test_the_checksums_are_those_of_the_included_weights() -> None:
    """Written anew in `intact.py` whenever the weights are."""
    assert tuple(SHIPPED_SHA256) == SHIPPED
    for name, expected in SHIPPED_SHA256.items():
        assert digest(assets_folder() / name / WEIGHTS_NAMES[0]) == expected


def test_the_image_tower_of_lake_cnn_stays_as_imagenet_left_it() -> None:
    """Whatever its text side learns, no visual score changes by a bit: the digest is of the tower's first release."""
    tensors, found = load_file(assets_folder() / "lake-cnn" / WEIGHTS_NAMES[0]), hashlib.sha256()
    for name in sorted(name for name in tensors if name.startswith("visual.trunk.")):
        found.update(name.encode())
        found.update(tensors[name].contiguous().numpy().tobytes())
    assert found.hexdigest() == "ae08fbc830c3e6ab1d450095c866cebd2129beb4e38fc9029e12a6c3a1873490"


def test_an_included_model_with_one_changed_bit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(assets_folder() / "lake-cnn", tmp_path / "lake-cnn")
    monkeypatch.setattr(loading, "assets_folder", lambda: tmp_path)
    weights = tmp_path / "lake-cnn" / WEIGHTS_NAMES[0]
    data = bytearray(weights.read_bytes())
    data[-1_000_001] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BackboneError, match=r"lake-cnn: open_clip_model\.safetensors is damaged, .* install it again"):
        open_backbone("lake-cnn")
    weights.unlink()
    with pytest.raises(BackboneError, match="cannot be read"):
        open_backbone("lake-cnn")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_other_weights_that_are_no_numbers_are_refused(tmp_path: Path, bad: float) -> None:
    folder = write("native-vit", tmp_path / "tiny")
    path = folder / WEIGHTS_NAMES[0]
    tensors = load_file(path)
    name = next(name for name, values in tensors.items() if "mlp" in name and values.ndim == 2)
    tensors[name][0, 0] = torch.tensor(bad)
    save_file(tensors, path)
    with pytest.raises(BackboneError, match=rf"its weights are damaged: {name} holds what is no number"):
        open_backbone(f"local-dir:{folder}")


def test_files_that_cannot_be_reached_are_told_in_a_sentence(tmp_path: Path) -> None:
    for spec in (f"local-dir:{tmp_path / ('x' * 300)}", f"checkpoint:{tmp_path / ('x' * 300)}.pt@{tmp_path}/c.json"):
        with pytest.raises(BackboneError, match=r"cannot be read|does not exist"):
            open_backbone(spec)
    folder = write("native-vit", tmp_path / "tiny")
    for text in ("[" * 100_000, '{"a":' * 50_000, "[" + "1" * 5000 + "]"):
        (folder / "open_clip_config.json").write_text(text)
        with pytest.raises(BackboneError, match=r"nested too deeply|is not valid JSON"):
            open_backbone(f"local-dir:{folder}")
