"""One server and one browser for all end-to-end tests; every tab is watched for errors until the test ends."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page

from lake_core.data.samples import assets_folder
from tests.e2e.server import BROWSERS, browser, running_dashboard
from tests.e2e.steps import bring, open_metal, run, settle

HARMLESS: tuple[tuple[str, str], ...] = (
    ("/_stcore/health", "Streamlit's page looks for its server below the page's own path first, then at the root"),
    ("/_stcore/host-config", "the same"),
    ("/media/", "an image that the next run of the page replaced before the browser fetched it"),
)
"""(part of a console error, why it is harmless)."""

METAL = assets_folder() / "samples" / "metal"
NORMALS = [METAL / "train" / "good" / f"{n:03}.jpg" for n in range(4)]
TESTS = [METAL / "test" / part for part in ("scratch/000.jpg", "scratch/002.jpg", "rust/001.jpg", "good/000.jpg")]

OpenTab = Callable[..., Page]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A browser; its absence is an error, never a skip."""
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(browser())
        except Error as error:
            pytest.fail(
                f"The end-to-end tests need Chromium: install one of {', '.join(BROWSERS)} "
                f"(apt-get install chromium) or run 'playwright install chromium'. {error}"
            )
        yield opened


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard that begins empty."""
    with running_dashboard(tmp_path_factory.mktemp("server") / "dashboard.log") as found:
        yield found


@pytest.fixture
def open_tab(chromium: Browser, address: str) -> Iterator[OpenTab]:
    """Opens the dashboard in a tab of its own, like another visitor; checks in the end that no tab complained."""
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error" and not any(
            part in f"{message.text} {message.location.get('url', '')}" for part, _ in HARMLESS
        ):
            complaints.append(f"{message.text} ({message.location.get('url', '')})")

    def open_one(path: str = "", **options: Any) -> Page:
        context = chromium.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", on_console)
        page.on("pageerror", lambda error: complaints.append(f"page error: {error.stack or error}"))
        page.goto(f"{address}/{path}" if not path.startswith("http") else path)
        settle(page)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not complaints, complaints


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the images that a visitor brings."""
    return tmp_path_factory.mktemp("images")


@pytest.fixture
def metal(open_tab: OpenTab) -> Page:
    """A tab with the built-in sample, which has run."""
    page = open_tab()
    open_metal(page)
    return page


@pytest.fixture(scope="session")
def brought(files: Path) -> tuple[list[Path], list[Path], Path]:
    """Four normal images, four test images and a file that is no image, under names of their own."""
    normals = [_copied(path, files / f"normal_{i}.jpg") for i, path in enumerate(NORMALS)]
    tests = [_copied(path, files / f"{path.parent.name}_{path.stem}.jpg") for path in TESTS]
    broken = files / "holiday_notes.png"
    broken.write_text("This is a text, whatever its name says.\n")
    return normals, tests, broken


def _copied(source: Path, target: Path) -> Path:
    target.write_bytes(source.read_bytes())
    return target


@pytest.fixture(scope="session")
def link(chromium: Browser, address: str, brought: tuple[list[Path], list[Path], Path]) -> str:
    """The address of the page Results of a session that has run, for walks that leave its settings as they are."""
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(address)
        settle(page)
        bring(page, brought[0], brought[1])
        run(page, 8)
        return page.url
