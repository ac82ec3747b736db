"""A configuration that is broken, or that names anything unknown, opens nothing; no model's own Python is run."""

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import open_clip
import pytest

from lake_core.backbones.model_configs import read_config
from tests.core.backbones.specs import message
from tests.core.tiny import PREPROCESS


def broken(folder: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> str:
    """A spec of a copy of the folder with another configuration."""
    copy = tmp_path / "broken"
    copy.mkdir()
    config = json.loads((folder / "open_clip_config.json").read_text())
    text = change(config)
    (copy / "open_clip_config.json").write_text(text if isinstance(text, str) else json.dumps(config))
    (copy / "open_clip_model.safetensors").symlink_to(folder / "open_clip_model.safetensors")
    return f"local-dir:{copy}"


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda config: '{"model_cfg": ', "not valid JSON"),
        (lambda config: "[1, 2]", "no model_cfg"),
        (lambda config: config.pop("model_cfg"), "no model_cfg"),
        (lambda config: config["model_cfg"].pop("text_cfg"), "no model_cfg"),
        (lambda config: config.pop("preprocess_cfg"), "does not say the preprocessing"),
        (lambda config: config["preprocess_cfg"].pop("std"), "std missing in preprocess_cfg"),
        (lambda config: config["model_cfg"]["vision_cfg"].update(width=64), "do not fit"),
        (lambda config: config["model_cfg"]["vision_cfg"].update(layers=2), "do not fit"),
        (lambda config: config["model_cfg"]["vision_cfg"].update(nonsense=1), "model_cfg.vision_cfg.nonsense"),
        (lambda config: config["model_cfg"]["vision_cfg"].update(layers=10**9), "a network of more numbers than"),
        (lambda config: config["model_cfg"]["vision_cfg"].update(layers=10**400), "a network of more numbers than"),
        (lambda config: config["model_cfg"]["text_cfg"].update(vocab_size=10**9), "a network of more numbers than"),
        (lambda config: config.update(model_cfg=1), "no model_cfg"),
        (lambda config: config["model_cfg"].update(vision_cfg=5), "no model_cfg"),
        (lambda config: config.update(preprocess_cfg=[1]), "does not say the preprocessing"),
        (lambda config: config["preprocess_cfg"].update(mean="grey"), "mean"),
        (lambda config: config["preprocess_cfg"].update(std=[0.5, 0.5]), "std"),
        (lambda config: config["preprocess_cfg"].update(std=[0.5, 0.5, 0]), "std"),
        (lambda config: config["model_cfg"]["text_cfg"].update(hf_tokenizer_name="/no/tokenizer"), "tokenizer"),
    ],
)
def test_a_broken_configuration_is_refused(
    vit_folder: Path, tmp_path: Path, no_network: list[Any], change: Callable[[dict[str, Any]], Any], part: str
) -> None:
    assert part in message(broken(vit_folder, tmp_path, change))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (
            lambda c: c["model_cfg"]["text_cfg"].update(tokenizer_kwargs={"trust_remote_code": True}),
            "trust_remote_code",
        ),
        (lambda c: c["model_cfg"]["text_cfg"].update(tokenizer_kwargs={"clean": ["whitespace"]}), "clean"),
        (lambda c: c["model_cfg"]["text_cfg"].update(hf_tokenizer_kwargs={}), "text_cfg.hf_tokenizer_kwargs"),
        (lambda c: c["model_cfg"]["text_cfg"].update(hf_model_name="/tmp/evil"), "'/tmp/evil'"),
        (lambda c: c["model_cfg"]["text_cfg"].update(hf_model_name="../evil"), "'../evil'"),
        (lambda c: c["model_cfg"]["text_cfg"].update(hf_tokenizer_name="hf-hub:evil/x"), "'hf-hub:evil/x'"),
        (lambda c: c["model_cfg"]["text_cfg"].update(norm_kwargs={"device": "meta"}), "norm_kwargs.device"),
        (lambda c: c["model_cfg"]["text_cfg"].update(width="32"), "text_cfg.width"),
        (lambda c: c["model_cfg"]["text_cfg"].update(width=True), "text_cfg.width"),
        (lambda c: c["model_cfg"]["vision_cfg"].update(timm_model_name="hf-hub:evil/x"), "'hf-hub:evil/x'"),
        (lambda c: c["model_cfg"]["vision_cfg"].update(timm_model_name="local-dir:/tmp/x"), "'local-dir:/tmp/x'"),
        (lambda c: c["model_cfg"]["vision_cfg"].update(timm_model_name="no_such_net"), "'no_such_net'"),
        (lambda c: c["model_cfg"].update(cast_dtype="fp16"), "model_cfg.cast_dtype"),
        (
            lambda c: c["model_cfg"].update(multimodal_cfg={"trust_remote_code": True}),
            "multimodal_cfg.trust_remote_code",
        ),
        (lambda c: c["model_cfg"]["text_cfg"].update({"a\nb": 1}), "text_cfg.a\N{REPLACEMENT CHARACTER}b, which"),
        (lambda c: c["preprocess_cfg"].update(resize="squash"), "preprocess_cfg.resize"),
        (lambda c: c["preprocess_cfg"].update(mode="L", size="big"), "preprocess_cfg.size"),
    ],
)
def test_a_configuration_with_anything_unknown_opens_nothing(
    vit_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[dict[str, Any]], Any],
    part: str,
) -> None:
    spec = broken(vit_folder, tmp_path, change)
    for name in ("create_model", "get_tokenizer"):
        monkeypatch.setattr(open_clip, name, lambda *_, **__: pytest.fail("something is opened"))
    assert part in message(spec)
    scheme = f"checkpoint:{tmp_path / 'broken/open_clip_model.safetensors'}@{tmp_path / 'broken/open_clip_config.json'}"
    assert part in message(scheme)


def test_every_configuration_that_open_clip_ships_passes(tmp_path: Path) -> None:
    path = tmp_path / "open_clip_config.json"
    names = open_clip.list_models()
    assert len(names) > 100
    for name in names:
        config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": PREPROCESS}
        path.write_text(json.dumps(config))
        assert read_config(name, path) == json.loads(path.read_text())


class _Stranger:
    """Stands for transformers' AutoTokenizer and AutoConfig before a repository that needs its own Python."""

    asked: ClassVar[list[Any]] = []

    @classmethod
    def from_pretrained(cls, name: Any, trust_remote_code: bool | None = None, **_: Any) -> None:
        cls.asked.append((str(name), trust_remote_code))
        assert trust_remote_code is False, "the repository's Python would be run"
        raise ValueError("The repository contains custom code; please pass trust_remote_code=True.")


@pytest.mark.parametrize("key", ["hf_tokenizer_name", "hf_model_name"])
def test_a_text_side_that_needs_its_own_python_is_refused(
    vit_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    transformers = types.ModuleType("transformers")
    vars(transformers).update(AutoTokenizer=_Stranger, AutoConfig=_Stranger)
    monkeypatch.setitem(sys.modules, "transformers", transformers)
    monkeypatch.setattr(_Stranger, "asked", [])
    text = message(broken(vit_folder, tmp_path, lambda config: config["model_cfg"]["text_cfg"].update({key: "evil/x"})))
    assert "a model's own Python is never run" in text
    hook_point = str(tmp_path / "broken") if key == "hf_tokenizer_name" else "evil/x"
    assert _Stranger.asked == [(hook_point, False)]


def test_a_network_too_large_for_the_memory_is_named_with_its_input_size(vit_folder: Path, tmp_path: Path) -> None:
    def widen(config: dict[str, Any]) -> None:
        config["model_cfg"]["vision_cfg"] |= {"image_size": 4096}

    assert "there is not enough memory for this network with images of 4096 x 4096 pixels" in message(
        broken(vit_folder, tmp_path, widen)
    )
