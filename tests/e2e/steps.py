"""What a visitor does and sees, for all walks: wait, go to a page, press, read."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.e2e.server import PATIENCE_S, wait_until_drawn, wait_until_idle

PATIENCE = round(1000 * PATIENCE_S)  # milliseconds for one run of a page, on a slow machine
PAGES = (
    "Images",
    "Results",
    "Explain",
    "Neurons",
    "Selection",
    "Text prompts",
    "Interventions",
    "Evaluate",
    "Compare",
)


def settle(page: Page) -> None:
    """Waits until the page is drawn, and checks that it holds no traceback."""
    wait_until_idle(page)
    failures = page.get_by_test_id("stException")
    assert failures.count() == 0, failures.first.inner_text()


def heading(page: Page, text: str) -> Locator:
    return page.get_by_role("heading", name=text, exact=True)


def button(page: Page, name: str) -> Locator:
    """The button whose name matches a regular expression."""
    return page.get_by_role("button", name=re.compile(name))


def ask_for(page: Page, name: str) -> None:
    """Asks for a result, unless it is made at once, as what takes less than two seconds on this machine."""
    asking = button(page, name)
    if asking.is_visible():
        asking.click()


def choice(page: Page, name: str) -> Locator:
    """One option of a row of options."""
    return page.get_by_test_id("stButtonGroup").get_by_text(name, exact=True)


def metric(page: Page, name: str) -> Locator:
    """The value under a label."""
    found = page.get_by_test_id("stMetric").filter(has=page.get_by_text(name, exact=True))
    return found.get_by_test_id("stMetricValue")


def slider(page: Page, label: str) -> Locator:
    return page.get_by_role("group", name=label, exact=True).locator("input[type=range]")


def query(page: Page) -> dict[str, str]:
    """What the address holds."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def go_to(page: Page, title: str) -> None:
    """Opens a page by the navigation, and waits for all that is computed beside it."""
    turn_to(page, title)
    settle(page)


def turn_to(page: Page, title: str) -> None:
    """Opens a page by the navigation."""
    page.get_by_test_id("stSidebarNavLink").filter(has=page.get_by_text(title, exact=True)).click()
    expect(heading(page, title)).to_be_visible(timeout=PATIENCE)
    wait_until_drawn(page)


def section(page: Page, name: str) -> None:
    """Chooses a section of the page."""
    choice(page, name).click()
    settle(page)


def open_metal(page: Page) -> None:
    """Opens the built-in sample and waits until its first image is explained."""
    page.get_by_role("button", name="Open metal").click()
    expect(stage(page)).to_be_visible(timeout=2 * PATIENCE)
    settle(page)


def stage(page: Page) -> Locator:
    """The image in the microscope."""
    return page.locator(".microscope .ms-stage")


def click_patch(page: Page, row: int, col: int, grid: int = 24) -> None:
    """Clicks the middle of a patch in the microscope, of a square image that fills the grid."""
    stage(page).scroll_into_view_if_needed()
    box = stage(page).bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + (col + 0.5) / grid * box["width"], box["y"] + (row + 0.5) / grid * box["height"])


def overflow(page: Page) -> list[str]:
    """What makes the page scroll sideways: empty where nothing does."""
    return list(
        page.evaluate(
            """() => {
                const main = document.querySelector('[data-testid=stMain]');
                const wide = main.scrollWidth > main.clientWidth
                    || document.documentElement.scrollWidth > window.innerWidth || window.innerWidth > 390;
                if (!wide) return [];
                const over = [...main.querySelectorAll('*')].filter(
                    node => node.getBoundingClientRect().right > main.getBoundingClientRect().right + 1);
                return ['the page', ...over.map(node => node.dataset.testid || node.className).slice(0, 12)];
            }"""
        )
    )


def fits_a_phone(page: Page) -> None:
    """Makes the window as narrow as a phone, checks that nothing needs more room, and makes it wide again."""
    wide = page.viewport_size
    assert wide is not None
    page.set_viewport_size({"width": 390, "height": 844})
    settle(page)
    assert not overflow(page)
    page.set_viewport_size(wide)
    settle(page)


def upload(page: Page, place: str, paths: list[Path]) -> None:
    uploader = page.get_by_test_id("stFileUploader").filter(has_text=place)
    uploader.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(paths)


def bring(page: Page, normals: list[Path], tests: list[Path]) -> None:
    """Uploads normal and test images and waits until both memory banks show them."""
    upload(page, "Normal images", normals)
    expect(heading(page, f"Normal images ({len(normals)})")).to_be_visible(timeout=PATIENCE)
    settle(page)
    upload(page, "Test images", tests)
    expect(heading(page, f"Test images ({len(tests)})")).to_be_visible(timeout=PATIENCE)
    settle(page)


def run(page: Page, n_images: int) -> None:
    """Runs the model, here or wherever another test has already run it on these images."""
    page.get_by_role("button", name=re.compile(f"Run on {n_images} images|See the results")).click()
    expect(heading(page, "Results")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("button", name="Download the scores (CSV)")).to_be_visible(timeout=PATIENCE)
    settle(page)


@contextmanager
def offline(chromium: Browser, file: Path) -> Iterator[Callable[..., Page]]:
    """Opens a file in contexts without a network; in the end nothing else was asked for and nothing failed."""
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    def is_outside(url: str) -> bool:
        return url != file.as_uri() and not url.startswith("data:")

    def opened(**options: Any) -> Page:
        context = chromium.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if is_outside(request.url) else None)
        page.goto(file.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints, complaints
