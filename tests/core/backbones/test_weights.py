"""What a model is made of, by name and sha256, without a download and without the paths of this machine."""

import hashlib
from pathlib import Path

import pytest

from lake_core.backbones.weights import name_without_path, weights_digests
from lake_core.data.samples import assets_folder
from lake_core.errors import BackboneError
from tests.core.tiny import write

NAMES = {"open_clip_config.json", "open_clip_model.safetensors"}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["lake-cnn", "lake-vit"])
def test_a_model_that_comes_with_the_program_is_named_by_its_files(name: str) -> None:
    assert weights_digests(name) == {file: sha256(assets_folder() / name / file) for file in NAMES}


def test_a_folder_and_a_weights_file_are_named_without_their_paths(tmp_path: Path) -> None:
    folder = write("native-vit", tmp_path / "my model")
    found = weights_digests(f"local-dir:{folder}")
    assert found == {file: sha256(folder / file) for file in NAMES}
    weights, config = (folder / file for file in ("open_clip_model.safetensors", "open_clip_config.json"))
    assert weights_digests(f"checkpoint:{weights}@{config}") == found
    assert name_without_path(f"local-dir:{folder}/") == "local-dir:my model"
    assert name_without_path(f"checkpoint:{weights}@{config}") == f"checkpoint:{weights.name}@{config.name}"
    assert name_without_path("local-dir:C:\\models\\x") == "local-dir:x"
    for spec in ("lake-cnn", "ViT-B-16:openai", "hf-hub:org/repo"):
        assert name_without_path(spec) == spec


def test_changed_weights_have_another_digest(tmp_path: Path) -> None:
    folder = write("native-vit", tmp_path)
    before = weights_digests(f"local-dir:{folder}")
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    after = weights_digests(f"local-dir:{folder}")
    assert {name for name in NAMES if before[name] != after[name]} == {weights.name}


def test_a_model_that_is_not_here_has_none_and_is_not_downloaded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    assert weights_digests("ViT-L-14-336:openai") == {}
    assert weights_digests("hf-hub:org/nothing") == {}
    assert weights_digests("local-dir:/nowhere/at/all") == {}
    assert not cache.exists()
    with pytest.raises(BackboneError):
        weights_digests("hf-hub:../..")
    with pytest.raises(BackboneError):
        weights_digests("no such thing")
