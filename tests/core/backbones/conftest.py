"""What the tests of opening models share: a model's folder, no network, and tags that are made up."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
from huggingface_hub import close_session
from huggingface_hub import constants as hub_constants
from safetensors.torch import save_file

from tests.core.tiny import FAMILIES, config_of, random_weights, write


@pytest.fixture(scope="session")
def vit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model."""
    return write("native-vit", tmp_path_factory.mktemp("specs") / "model")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """An empty cache of the hub and a network that refuses; gives the connections that were tried."""
    tried: list[Any] = []

    def refuse(address: Any, *_args: Any, **_options: Any) -> socket.socket:
        tried.append(address)
        raise OSError("refused by the test")

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    close_session()
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tried


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch, no_network: list[Any]) -> Callable[..., None]:
    """Registers a tiny architecture with a tag whose weights lie in the hub's cache."""

    def register(tag: str, statistics: dict[str, Any], quick: bool, family: str = "native-vit") -> None:
        config = config_of(FAMILIES[family])["model_cfg"]
        repository = f"lake/tiny-{tag}"
        cfg = statistics | {"url": "", "hf_hub": f"{repository}/"} | ({"quick_gelu": True} if quick else {})
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-vit", config)
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-vit-quickgelu", config | {"quick_gelu": True})
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-vit", {tag: cfg})
        snapshot = Path(hub_constants.HF_HUB_CACHE) / f"models--lake--tiny-{tag}"
        (snapshot / "refs").mkdir(parents=True)
        (snapshot / "refs" / "main").write_text("abc")
        (snapshot / "snapshots" / "abc").mkdir(parents=True)
        save_file(random_weights(family), snapshot / "snapshots" / "abc" / "open_clip_model.safetensors")

    return register
