"""Weights that are missing, damaged or of another model are refused, and code in them is never run."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.core.backbones.specs import message


class Runs:
    """Pickles to a call that leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


def test_folders_without_configuration_or_weights_are_refused(vit_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "open_clip_config.json does not exist" in message(f"local-dir:{tmp_path / 'empty'}")
    (tmp_path / "empty" / "open_clip_config.json").write_bytes((vit_folder / "open_clip_config.json").read_bytes())
    assert "holds no weights" in message(f"local-dir:{tmp_path / 'empty'}")


def test_weights_that_are_no_weights_are_refused(vit_folder: Path, tmp_path: Path) -> None:
    config = vit_folder / "open_clip_config.json"
    for name, data in (("weights.safetensors", b"hello"), ("weights.pt", b"hello"), ("weights.bin", b"")):
        (tmp_path / name).write_bytes(data)
        message(f"checkpoint:{tmp_path / name}@{config}")
    (tmp_path / "weights.txt").write_text("hello")
    assert ".safetensors, .bin, .pt, .pth" in message(f"checkpoint:{tmp_path / 'weights.txt'}@{config}")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    assert "do not fit" in message(f"checkpoint:{tmp_path / 'other.safetensors'}@{config}")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["torch", "pickle"])
@pytest.mark.parametrize("hook_point", ["folder", "checkpoint.pt", "checkpoint.bin", "checkpoint.pth"])
def test_code_in_a_weights_file_is_refused_and_not_run(
    vit_folder: Path, tmp_path: Path, form: str, hook_point: str
) -> None:
    mark = tmp_path / "code was run"
    weights = tmp_path / ("open_clip_pytorch_model.bin" if hook_point == "folder" else hook_point)
    if form == "torch":
        torch.save({"state_dict": Runs(mark)}, weights)
    else:
        weights.write_bytes(pickle.dumps(Runs(mark)))
    config = tmp_path / "open_clip_config.json"
    config.write_bytes((vit_folder / "open_clip_config.json").read_bytes())
    pickle.loads(pickle.dumps(Runs(tmp_path / "mark")))  # noqa: S301 (an unguarded reader does run it)
    assert (tmp_path / "mark").exists()
    message(f"local-dir:{tmp_path}" if hook_point == "folder" else f"checkpoint:{weights}@{config}")
    assert not mark.exists()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(weights, weights_only=True)
