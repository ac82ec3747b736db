"""A spec that cannot be opened, or not at this size, is refused at once with one sentence that says why."""

import socket
import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants as hub_constants
from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError, RepositoryNotFoundError

from lake_core.backbones import hub
from lake_core.backbones.opening import open_backbone
from tests.core.backbones.specs import message
from tests.core.tiny import write


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("lake-cmn", ["Did you mean lake-cnn?"]),
        ("ViT-B-61", ["Did you mean ViT-B-16?"]),
        ("", ["is not a backbone"]),
        ("ViT-B-16", ["architecture without weights", "ViT-B-16:openai"]),
        ("ViT-B-61:openai", ["no model 'ViT-B-61'", "Did you mean"]),
        ("ViT-B-16:opneai", ["no pretrained tag 'opneai'", "openai", "dfn2b"]),
        ("ViT-B-16:", ["is not a backbone"]),
        ("local-dir:", ["is not a backbone"]),
        ("local-dir:/no/such/folder", ["/no/such/folder does not exist"]),
        ("hf-hub:not a name/of a/repository", ["hf-hub:ORG/REPO"]),
        ("checkpoint:/no/weights.pt", ["checkpoint:WEIGHTS@CONFIG"]),
        ("checkpoint:/no/weights.pt@/no/config.json", ["/no/weights.pt does not exist"]),
    ],
)
def test_specs_that_cannot_be_opened_say_why(no_network: list[Any], spec: str, parts: list[str]) -> None:
    text = message(spec)
    for part in parts:
        assert part in text
    assert no_network == []


@pytest.mark.parametrize("spec", ["ViT-B-16:openai", "hf-hub:some/model", "ViT-B-16-SigLIP:webli"])
def test_an_unreachable_hub_is_answered_at_once(no_network: list[Any], spec: str) -> None:
    start = time.perf_counter()
    text = message(spec)
    assert "the hub cannot be reached" in text
    assert "refused by the test" in text
    assert "local-dir:FOLDER" in text
    assert {address[0] for address in no_network} == {"huggingface.co"}
    assert time.perf_counter() - start < 3


def test_a_hub_that_never_answers_is_given_up(no_network: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def connect(_address: Any, *_args: Any, **_options: Any) -> socket.socket:
            connection = socket.socket()
            connection.connect(silent.getsockname())
            return connection

        monkeypatch.setattr(socket, "create_connection", connect)
        monkeypatch.setattr(hub, "HUB_TIMEOUT_S", 0.3)
        start = time.perf_counter()
        assert "the hub cannot be reached" in message("ViT-B-16:openai")
        assert 0.2 < time.perf_counter() - start < 3


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (RemoteEntryNotFoundError, "has no open_clip_config.json; choose another one"),
        (RepositoryNotFoundError, "the hub refuses some/model (RepositoryNotFoundError); check its name"),
    ],
)
def test_what_the_hub_refuses_is_told(
    no_network: list[Any], monkeypatch: pytest.MonkeyPatch, error: type[HfHubHTTPError], part: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error.__new__(error, "the hub says no")

    monkeypatch.setattr(hub, "get_hf_file_metadata", refuse)
    assert part in message("hf-hub:some/model")


@pytest.mark.parametrize("spec", ["ViT-B-16:openai", "hf-hub:some/model"])
def test_offline_mode_is_answered_without_trying(
    no_network: list[Any], monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in message(spec)
    assert no_network == []


@pytest.mark.parametrize(
    ("spec", "size", "part"),
    [
        ("lake-cnn", 100, "multiple of 32"),
        ("lake-cnn", 32, "multiple of 32"),
        ("lake-cnn", 4096, "multiple of 32"),
        ("lake-vit", 4, "size"),
        ("lake-vit", 0, "size"),
        ("lake-vit", -8, "size"),
    ],
)
def test_sizes_that_the_model_cannot_take_are_refused(spec: str, size: int, part: str) -> None:
    assert part in message(spec, image_size=size)


def test_a_native_resnet_takes_its_own_size_only(tmp_path: Path) -> None:
    spec = f"local-dir:{write('native-resnet', tmp_path / 'm')}"
    assert "takes images of 64 pixels only" in message(spec, image_size=96)
    assert open_backbone(spec, image_size=64).input_size == (64, 64)
