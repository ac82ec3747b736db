"""`lake models`: what is listed, brought here and checked, with one line for what went wrong and its exit code."""

import re
from pathlib import Path

import pytest
from huggingface_hub import constants as hub_constants

from lake_core.backbones import hub, registry
from lake_core.backbones.adapters.timm_conv import TimmConv
from lake_core.backbones.catalogue import OFFERED, UNTUNED
from lake_core.backbones.checks import Check
from lake_core.backbones.hooks import Hook
from lake_core.cli import models
from tests.core.cli.commands import error_line, lake
from tests.core.hub import SPEC, LocalHub, partial_files

CACHED = ["ViT-B-16:openai", "ViT-B-32:laion2b_s34b_b79k"]


# list ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def some_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "cached_pretrained", lambda: CACHED)


@pytest.mark.usefixtures("some_cached")
@pytest.mark.parametrize("command", [("models",), ("models", "list")])
def test_the_list_tells_what_is_here_and_how_to_write_the_rest(command: tuple[str, ...]) -> None:
    text = lake(*command).stdout
    for words in ("lake-cnn", "never saw a defect", "lake-vit", "supports no claim about latent knowledge"):
        assert words in text
    for words in ("local-dir:FOLDER", "checkpoint:WEIGHTS@CONFIG", "lake models pull NAME"):
        assert words in text
    assert "ViT-B-16:laion2b_s34b_b88k" not in text
    everything = lake(*command, "--all").stdout.splitlines()
    assert "* ViT-B-32:laion2b_s34b_b79k" in everything
    assert "  ViT-B-16:laion2b_s34b_b88k" in everything
    assert set(models.ABOUT) == set(registry.SHIPPED)


@pytest.mark.usefixtures("some_cached")
def test_the_list_offers_models_with_size_licence_and_whether_they_are_here() -> None:
    lines = lake("models", "list").stdout.splitlines()
    for one in OFFERED:
        line = next(line for line in lines if one.spec in line)
        assert line.startswith("*" if one.spec in CACHED else " ")
        assert f"{one.n_megabytes} MB" in line
        assert one.licence in line
    assert sum("ViT-B-16:openai" in line for line in lines) == 2  # offered, and the example of how one is written
    also_here = lines.index("Also on this machine, from open_clip:")
    assert lines[also_here + 1] == "* ViT-B-32:laion2b_s34b_b79k"


@pytest.mark.usefixtures("some_cached")
def test_the_list_says_which_defaults_were_measured_and_which_are_the_papers() -> None:
    text = " ".join(lake("models", "list").stdout.split())
    assert "Shipped with LAKE Explorer, with layers and site that were measured:" in text
    assert f"For every model but the shipped ones: {UNTUNED}" in text


# pull ----------------------------------------------------------------------------------------------------------------


def test_a_model_is_pulled_once(local_hub: LocalHub) -> None:
    first = lake("models", "pull", SPEC)
    assert first.exit_code == 0, first.output
    assert f"{SPEC} is on this machine now; `lake models check {SPEC}` checks it." in first.stdout
    assert registry.cached_pretrained() == [SPEC]
    n_asked = len(local_hub.asked)
    again = lake("models", "pull", SPEC)
    assert (again.exit_code, again.stdout) == (0, f"{SPEC} is on this machine already.\n")
    assert len(local_hub.asked) == n_asked


def test_without_a_network_a_pull_is_one_line_and_exit_code_1(
    local_hub: LocalHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{filename}")
    assert "the hub cannot be reached" in error_line(lake("models", "pull", SPEC), code=1)
    assert not cache.exists()


def test_a_full_disk_is_one_line_and_exit_code_1(
    local_hub: LocalHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_free_bytes", lambda: 0)
    assert "has 0 MB left; make room" in error_line(lake("models", "pull", SPEC), code=1)
    assert partial_files(cache) == []


@pytest.mark.parametrize("command", ["pull", "check"])
def test_a_name_that_is_none_is_wrong_usage(local_hub: LocalHub, command: str) -> None:
    assert "Did you mean lake-cnn?" in error_line(lake("models", command, "lake-cmn"), code=2)
    assert "no pretrained tag 'made_down'" in error_line(lake("models", command, "tiny-vit:made_down"), code=2)
    assert local_hub.asked == []


# check ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", registry.SHIPPED)
def test_the_shipped_models_pass_with_a_number_for_each_check(name: str) -> None:
    result = lake("models", "check", name)
    assert result.exit_code == 0, result.output
    *checks, seconds, last = result.stdout.splitlines()
    verdicts = [line.split(maxsplit=1)[0] for line in checks]
    assert verdicts == ["ok"] * 6
    names = ("Preprocessing", "Block outputs", "MLP neurons", "Image vector", "Activation", "Decomposition")
    for line, title in zip(checks, names, strict=True):
        assert line[8:].startswith(title)
        assert re.search(r"difference [\d.e-]+$", line)
    assert re.match(r"time    \d+ ms an image of \d+ x \d+ pixels, CPU, threads: \d+$", seconds)
    assert last == f"{name}: no check failed."


def test_a_model_just_pulled_passes(local_hub: LocalHub) -> None:
    assert lake("models", "pull", SPEC).exit_code == 0
    result = lake("models", "check", SPEC)
    assert result.exit_code == 0, result.output
    assert "the tag made_up" in result.stdout


def test_a_check_that_fails_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "decomposition", lambda *_: Check("Decomposition", None, "left out by the test"))
    monkeypatch.setattr(TimmConv, "hidden", _before_the_depthwise_convolution)
    result = lake("models", "check", "lake-cnn")
    assert result.exit_code == 1
    failed = [line for line in result.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1
    assert failed[0][8:].startswith("MLP neurons")
    assert "wrong in layers 2, 3" in failed[0]
    assert result.stdout.splitlines()[-1] == "lake-cnn: 1 check failed."
    assert "Traceback" not in result.output


def _before_the_depthwise_convolution(_self: TimmConv, block: object) -> Hook | None:
    wide = getattr(block, "conv_dw", None)
    return Hook(wide, "output") if hasattr(block, "conv_pwl") and wide is not None else None
