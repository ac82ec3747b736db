"""Screenshots of every page with a built-in sample: `make screenshots`.

Writes <page>.png at 1440 x 900 and, with --all, also the phone's size (390 x 844), full pages and the dark theme.
"""

import argparse
import tempfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Browser, Page

from lake_core.data.samples import load_sample
from tests.e2e.server import browser, running_dashboard, wait_until_idle

PAGES = {
    "scores": "",
    "selection": "selection",
    "neurons": "neurons",
    "layer": "layer",
    "score_decomposition": "score_decomposition",
    "text_prompts": "text_prompts",
    "interventions": "interventions",
    "compare": "compare",
    "evaluate": "evaluate",
    "workspace": "workspace",
}


def walk(
    opened: Browser, address: str, out: Path, width: int, height: int, suffix: str, dark: bool, full: bool
) -> None:
    """Opens each page from the navigation of one session and takes its image."""
    context = opened.new_context(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
    page = context.new_page()
    page.goto(address)
    wait_until_idle(page)
    link = page.url
    for name, path in PAGES.items():
        page.goto(link.replace("/?", f"/{path}?"))
        wait_until_idle(page)
        page.wait_for_timeout(1500)
        if full:
            stretch(page, width)
        page.screenshot(path=out / f"{name}{suffix}.png")
        page.set_viewport_size({"width": width, "height": height})
    context.close()


def scratch(opened: Browser, address: str, out: Path) -> None:
    """The account of a scratched flange, as the README shows it."""
    scratched = next(e.image for e in load_sample("metal").tests if e.image.name.endswith("scratch/000.jpg"))
    page = opened.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(address)
    wait_until_idle(page)
    number = parse_qs(urlsplit(page.url).query)["w"][0]
    page.goto(f"{address}/score_decomposition?w={number}&image={scratched.sha256}")
    wait_until_idle(page)
    page.wait_for_timeout(1500)
    stretch(page, 1440)
    page.screenshot(path=out / "scratch.png")


def stretch(page: Page, width: int) -> None:
    """Makes the window as high as the page, which scrolls inside of an element."""
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": width, "height": min(int(height) + 40, 6000)})
    page.wait_for_timeout(800)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sample", default="metal")
    parser.add_argument("--all", action="store_true")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    log = Path(tempfile.mkdtemp()) / "dashboard.log"
    with running_dashboard(log, "--sample", chosen.sample) as address, browser() as opened:
        walk(opened, address, chosen.out, 1440, 900, "", dark=False, full=False)
        if chosen.sample == "metal":
            scratch(opened, address, chosen.out)
        if chosen.all:
            walk(opened, address, chosen.out, 1440, 900, "_full", dark=False, full=True)
            walk(opened, address, chosen.out, 390, 844, "_phone", dark=False, full=True)
            walk(opened, address, chosen.out, 1440, 900, "_dark", dark=True, full=False)


if __name__ == "__main__":
    main()
