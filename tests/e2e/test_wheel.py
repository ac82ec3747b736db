"""What is installed from the wheel works by itself, and the sdist holds all that the repository does."""

import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.server import free_port, serving
from tests.e2e.steps import PATIENCE, heading, settle, stage

ROOT = Path(__file__).parents[2]


def run(*command: object, cwd: Path | None = None) -> str:
    words = [str(word) for word in command]
    return subprocess.run(words, check=True, capture_output=True, text=True, cwd=cwd).stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked sdist of this tree."""
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return next(path for path in folder.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """The wheel of the sdist, as an index would build it."""
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", sdist.parent, cwd=sdist)
    return next(sdist.parent.glob("*.whl"))


def test_the_sdist_holds_every_file_of_the_repository(sdist: Path) -> None:
    tracked = [name for name in run("git", "ls-files", cwd=ROOT).splitlines() if not name.startswith(".")]
    assert len(tracked) > 100
    assert not [name for name in tracked if not (sdist / name).is_file()]


def test_an_installed_wheel_shows_its_sample_from_any_folder(
    wheel: Path, chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an environment whose other packages are those of this one, and in which this tree is not installed."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))  # the .pth files in there are not followed

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    where = run(python, "-c", "import lake_core, dashboard; print(lake_core.__file__, dashboard.__file__)").split()
    assert all(Path(one).is_relative_to(packages) for one in where)
    port = free_port()
    command = [python.with_name("lake"), "dashboard", "--port", port, "--no-browser", "--sample", "hazelnut"]
    with serving([str(word) for word in command], port, tmp_path / "log.txt") as address:
        page = chromium.new_page()
        page.goto(address)
        expect(heading(page, "Explain")).to_be_visible(timeout=2 * PATIENCE)
        expect(stage(page)).to_be_visible(timeout=2 * PATIENCE)
        settle(page)
        page.close()
    assert not list(elsewhere.iterdir())
