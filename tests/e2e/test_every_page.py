"""Every page in the dark theme and on a phone."""

import re
from typing import Any

from playwright.sync_api import Locator, expect

from tests.e2e.conftest import OpenTab
from tests.e2e.steps import PAGES, PATIENCE, go_to, heading, overflow, settle


def test_every_page_loads_in_the_dark_theme(open_tab: OpenTab, link: str) -> None:
    page = open_tab(link, color_scheme="dark")
    for title in PAGES:
        go_to(page, title)
        red, green, blue = _rgb(page.get_by_test_id("stApp"), "background-color")
        assert max(red, green, blue) < 80
        assert min(_rgb(heading(page, title), "color")) > 170


def _rgb(element: Locator, style: str) -> list[int]:
    text = element.evaluate("(node, style) => getComputedStyle(node).getPropertyValue(style)", style)
    return [int(float(number)) for number in re.findall(r"[\d.]+", text)[:3]]


def test_every_page_fits_a_phone(open_tab: OpenTab, link: str) -> None:
    phone: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    assert not overflow(open_tab(**phone)), "no images"
    page = open_tab(link, **phone)
    for title in PAGES:
        page.get_by_test_id("stExpandSidebarButton").click()
        go_to(page, title)
        expect(page.get_by_test_id("stExpandSidebarButton")).to_be_visible(timeout=PATIENCE)
        settle(page)
        too_wide = overflow(page)
        assert not too_wide, (title, too_wide)
