"""`lake` itself: version, help and models, and what it does not need to start."""

import inspect
import re
import subprocess
import sys

import pytest

from lake_core.backbones import registry
from lake_core.cli import app, models
from tests.core.cli.commands import ROOT, lake


def test_models_tells_what_is_here_and_how_to_write_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "cached_pretrained", lambda: ["ViT-B-32:laion2b_s34b_b79k"])
    text = lake("models").stdout
    for words in ("lake-cnn", "never saw a defect", "lake-vit", "supports no claim about latent knowledge"):
        assert words in text
    for words in ("local-dir:FOLDER", "checkpoint:WEIGHTS@CONFIG", "ViT-B-32:laion2b_s34b_b79k"):
        assert words in text
    assert "ViT-B-16:laion2b_s34b_b88k" not in text
    everything = lake("models", "--all").stdout.splitlines()
    assert "* ViT-B-32:laion2b_s34b_b79k" in everything
    assert "  ViT-B-16:laion2b_s34b_b88k" in everything
    assert set(models.ABOUT) == set(registry.SHIPPED)


def test_version_and_help() -> None:
    assert re.fullmatch(r"LAKE Explorer \d+\.\d+\.\d+\S*\n", lake("--version").stdout)
    text = lake("--help").stdout
    assert all(command in text for command in ("score", "models", "dashboard"))
    assert inspect.signature(app.score).parameters["model"].default == registry.DEFAULT_BACKBONE


def test_the_commands_module_needs_neither_networks_nor_streamlit() -> None:
    code = (
        "import sys, types; package = types.ModuleType('lake_core'); package.__path__ = ['lake_core']; "
        "sys.modules['lake_core'] = package; import lake_core.cli.app, lake_core.cli.dashboard; "
        "sys.exit(bool({'torch', 'open_clip', 'streamlit', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
