"""A model comes from the hub with progress, or not at all and with one sentence that says why."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
from huggingface_hub import constants as hub_constants

from lake_core.backbones import hub
from lake_core.backbones.fetching import fetch, is_here
from lake_core.backbones.opening import open_backbone
from lake_core.errors import BackboneError, UnavailableError
from tests.core.hub import REPOSITORY, SPEC, LocalHub, partial_files


class Enough(Exception):
    """Raised by a report to end a download."""


def nothing(_n_done: int, _n_all: int) -> None:
    pass


def refusal(spec: str, on_progress: Callable[[int, int], None] = nothing) -> str:
    """The sentence with which a model is not brought here."""
    with pytest.raises(UnavailableError) as caught:
        fetch(spec, on_progress)
    text = str(caught.value)
    assert text.startswith(f"{spec}: ")
    assert text.endswith(".")
    assert "\n" not in text
    return text


def weights_asked(local_hub: LocalHub) -> list[str]:
    return [method for method, path in local_hub.asked if path.endswith(".safetensors")]


@pytest.mark.parametrize("spec", [SPEC, f"hf-hub:{REPOSITORY}"])
def test_a_model_comes_with_progress_and_then_opens_without_the_hub(
    local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    reports: list[tuple[int, int]] = []
    assert not is_here(spec)
    fetch(spec, lambda n_done, n_all: reports.append((n_done, n_all)))
    n_bytes = len(local_hub.files[f"{REPOSITORY}/open_clip_model.safetensors"])
    assert {n_all for _, n_all in reports} == {n_bytes}
    done = [n_done for n_done, _ in reports]
    assert (done[0], done[-1]) == (0, n_bytes)
    assert len(done) > n_bytes / 1024**2
    assert done == sorted(set(done))
    assert is_here(spec)

    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    local_hub.asked.clear()
    assert len(open_backbone(spec).layers) == 3
    fetch(spec, nothing)
    assert local_hub.asked == []


def test_a_report_that_raises_ends_the_download_and_leaves_nothing(local_hub: LocalHub, cache: Path) -> None:
    def report(n_done: int, _n_all: int) -> None:
        if n_done > 2e6:
            raise Enough

    kept = [hub_constants.HF_HUB_DISABLE_XET, hub_constants.DOWNLOAD_CHUNK_SIZE]
    with pytest.raises(Enough):
        fetch(SPEC, report)
    assert weights_asked(local_hub) == ["HEAD", "HEAD", "GET"]
    assert partial_files(cache) == []
    assert not is_here(SPEC)
    assert kept == [hub_constants.HF_HUB_DISABLE_XET, hub_constants.DOWNLOAD_CHUNK_SIZE]
    fetch(SPEC, nothing)
    assert is_here(SPEC)


def test_a_file_in_xet_storage_is_read_in_the_thread_that_asked(local_hub: LocalHub) -> None:
    """Raising an error in the threads of the Xet client would end nothing."""
    local_hub.headers = {"X-Xet-Hash": "0" * 64, "X-Xet-Refresh-Route": "http://127.0.0.1:9/token"}
    fetch(SPEC, nothing)
    assert is_here(SPEC)
    assert "GET" in weights_asked(local_hub)


def test_without_a_network_nothing_comes_and_nothing_changes(
    local_hub: LocalHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = "http://127.0.0.1:9"
    monkeypatch.setattr(hub_constants, "HUGGINGFACE_CO_URL_TEMPLATE", nowhere + "/{repo_id}/{revision}/{filename}")
    assert "the hub cannot be reached" in refusal(SPEC)
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refusal(SPEC)
    assert not cache.exists()
    assert local_hub.asked == []


def test_a_disk_that_is_too_small_is_told_before_the_download(
    local_hub: LocalHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_free_bytes", lambda: 1_000_000)
    text = refusal(SPEC)
    assert f"needs {len(local_hub.files[f'{REPOSITORY}/open_clip_model.safetensors']) / 1e6:.0f} MB" in text
    assert f"{cache} has 1 MB left" in text
    assert "HF_HOME" in text
    assert "GET" not in weights_asked(local_hub)


def test_a_disk_that_fills_meanwhile_is_told(local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hub, "hf_hub_download", full)
    assert "make room" in refusal(SPEC)


def test_a_connection_that_breaks_is_told(local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ConnectionResetError("the line went dead")

    monkeypatch.setattr(hub, "hf_hub_download", broken)
    assert "the download failed (the line went dead); connect to the internet" in refusal(SPEC)


def test_free_bytes_are_those_of_the_nearest_folder_that_exists(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "not" / "there" / "yet"))
    assert hub._free_bytes() > 0


def test_a_tokenizer_that_cannot_be_read_here_is_told_before_the_download(
    local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = open_clip.get_model_config("tiny-vit")
    config["text_cfg"]["hf_tokenizer_name"] = REPOSITORY
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-vit", config)
    monkeypatch.setattr("lake_core.backbones.fetching.find_spec", lambda name: None)
    assert 'transformers, which is not installed; run pip install "lake-explorer[siglip]"' in refusal(SPEC)
    assert local_hub.asked == []


def test_what_is_no_model_is_not_a_matter_of_the_network(local_hub: LocalHub) -> None:
    for spec in ("tiny-vit:made_down", "ViT-B-61:openai", "lake-rnn"):
        for ask in (lambda spec: fetch(spec, nothing), is_here):
            with pytest.raises(BackboneError) as caught:
                ask(spec)
            assert not isinstance(caught.value, UnavailableError)
    assert local_hub.asked == []


def test_what_needs_no_hub_is_here(local_hub: LocalHub) -> None:
    for spec in ("lake-cnn", "lake-vit", "local-dir:/no/such/folder"):
        assert is_here(spec)
        fetch(spec, nothing)
    assert local_hub.asked == []
