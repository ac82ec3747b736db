"""The film strip on the page Explain: another image by pointer and by keys, the focus kept, the answer in its place."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import OpenTab
from tests.e2e.steps import PATIENCE, open_metal, overflow, query, settle


def frames(page: Page) -> Locator:
    return page.locator(".film-strip .fs-frame")


def shown(page: Page) -> int:
    """The place of the marked image."""
    marks = frames(page).evaluate_all("frames => frames.map((frame) => frame.getAttribute('aria-current'))")
    assert marks.count("true") == 1
    return marks.index("true")


def expect_image(page: Page, place: int) -> None:
    """Waits until the image at that place of the strip is in the microscope, with its score."""
    name = frames(page).nth(place).get_attribute("title") or ""
    found = re.match(r"(.*), score ([\d.]+), ", name)
    assert found is not None
    expect(page.locator(".microscope h1")).to_have_text([found[1]], timeout=PATIENCE)
    expect(page.locator(".ms-verdict")).to_contain_text(f"score {found[2]}")
    settle(page)
    assert shown(page) == place


def test_another_image_is_chosen_by_pointer_and_by_keys(metal: Page) -> None:
    page = metal
    assert frames(page).count() == 18
    assert page.locator(".film-strip .fs-normal").count() == 8
    expect_image(page, 0)
    top = page.locator(".ms-stage").bounding_box()
    frames(page).nth(2).click()
    expect_image(page, 2)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect_image(page, 4)
    assert frames(page).nth(4).evaluate("frame => frame === frame.getRootNode().activeElement")
    page.keyboard.press("End")
    expect_image(page, 17)
    page.locator(".ms-stage").focus()
    page.keyboard.press(",")
    expect_image(page, 16)
    page.keyboard.press(".")
    page.keyboard.press(".")
    expect_image(page, 17)
    page.keyboard.press("Home")
    assert shown(page) == 17, "arrow keys and Home belong to the strip only while it has the focus"
    assert len(query(page)["image"]) == 64
    assert page.locator(".ms-stage").bounding_box() == top


def test_keys_that_are_typed_move_no_image(metal: Page) -> None:
    page = metal
    name = page.get_by_role("textbox", name="Object name")
    name.press(".")
    settle(page)
    assert shown(page) == 0


def test_the_strip_leaves_the_answer_on_the_first_screen(open_tab: OpenTab) -> None:
    page = open_tab()
    open_metal(page)
    for selector in (".film-strip", ".ms-stage", ".ms-decomposition", ".ms-top-row >> nth=4", ".ms-card"):
        box = page.locator(selector).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 900, selector
    page.set_viewport_size({"width": 390, "height": 844})
    settle(page)
    assert not overflow(page)
