"""`lake` itself: version and help, and what it does not need to start."""

import inspect
import re
import subprocess
import sys

import pytest

from lake_core.backbones import registry
from lake_core.cli import app
from tests.core.cli.commands import ROOT, lake


def test_version_and_help() -> None:
    assert re.fullmatch(r"LAKE Explorer \d+\.\d+\.\d+\S*\n", lake("--version").stdout)
    text = lake("--help").stdout
    assert all(command in text for command in ("score", "models", "dashboard"))
    assert inspect.signature(app.score).parameters["model"].default == registry.DEFAULT_BACKBONE


@pytest.mark.parametrize(
    "arguments", [["--help"], ["score", "--help"], ["dashboard", "--help"], ["--version"]], ids=" ".join
)
def test_help_waits_for_neither_networks_nor_streamlit(arguments: list[str]) -> None:
    code = (
        "import sys; from lake_core.cli.app import app; app(sys.argv[1:], prog_name='lake', standalone_mode=False); "
        "sys.exit(bool({'torch', 'open_clip', 'streamlit', 'matplotlib', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert ran.returncode == 0
    assert "lake" in ran.stdout.lower()


def test_the_commands_module_needs_neither_networks_nor_streamlit() -> None:
    code = (
        "import sys, types; package = types.ModuleType('lake_core'); package.__path__ = ['lake_core']; "
        "sys.modules['lake_core'] = package; import lake_core.cli.app, lake_core.cli.dashboard; "
        "sys.exit(bool({'torch', 'open_clip', 'streamlit', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
