"""Screenshots of every page with a built-in sample: `make screenshots`.

Writes <page>.png at 1440 x 900 and, with --all, also the phone's size (390 x 844), full pages and the dark theme.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Browser, Page, ViewportSize

from lake_core.data.samples import load_sample
from tests.e2e.server import browser, running_dashboard, wait_until_idle

PAGES = ("explain", "images", "results", "neurons", "selection", "text_prompts", "interventions", "evaluate", "compare")


@dataclass(frozen=True)
class View:
    """How pages are looked at: window in pixels, end of the files' names, theme, and whether pages are taken whole."""

    width: int = 1440
    height: int = 900
    suffix: str = ""
    dark: bool = False
    full: bool = False


DESKTOP = View()
OTHERS = (
    View(suffix="_full", full=True),
    View(390, 844, suffix="_phone", full=True),
    View(suffix="_dark", dark=True),
)


def walk(opened: Browser, address: str, out: Path, view: View) -> None:
    """Opens each page from the navigation of one session and takes its image."""
    window: ViewportSize = {"width": view.width, "height": view.height}
    context = opened.new_context(viewport=window, color_scheme="dark" if view.dark else "light")
    page = context.new_page()
    page.goto(address)
    wait_until_idle(page)
    link = page.url
    for name in PAGES:
        page.goto(link if name == PAGES[0] else link.replace("/?", f"/{name}?"))
        wait_until_idle(page)
        if view.full:
            stretch(page)
        page.screenshot(path=out / f"{name}{view.suffix}.png")
        page.set_viewport_size(window)
    context.close()


def scratch(opened: Browser, address: str, out: Path) -> None:
    """A scratched flange explained, as the README shows it."""
    scratched = next(e.image for e in load_sample("metal").tests if e.image.name.endswith("scratch/000.jpg"))
    page = opened.new_context(viewport={"width": DESKTOP.width, "height": DESKTOP.height}).new_page()
    page.goto(address)
    wait_until_idle(page)
    number = parse_qs(urlsplit(page.url).query)["w"][0]
    page.goto(f"{address}/?w={number}&image={scratched.sha256}")
    wait_until_idle(page)
    page.screenshot(path=out / "scratch.png")


def stretch(page: Page) -> None:
    """Makes the window as high as the page, which scrolls inside of an element."""
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    width = page.evaluate("window.innerWidth")
    page.set_viewport_size({"width": width, "height": min(int(height) + 40, 6000)})
    wait_until_idle(page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sample", default="metal")
    parser.add_argument("--all", action="store_true")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    log = Path(tempfile.mkdtemp()) / "dashboard.log"
    with running_dashboard(log, "--sample", chosen.sample) as address, browser() as opened:
        walk(opened, address, chosen.out, DESKTOP)
        if chosen.sample == "metal":
            scratch(opened, address, chosen.out)
        for view in OTHERS if chosen.all else ():
            walk(opened, address, chosen.out, view)


if __name__ == "__main__":
    main()
