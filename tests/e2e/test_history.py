"""Back and Forward in the browser: each choice is one entry, and going there restores what was chosen."""

import re
from urllib.parse import urlsplit

from playwright.sync_api import Page, expect

from tests.e2e.conftest import OpenTab
from tests.e2e.steps import PATIENCE, click_patch, go_to, heading, query, settle, stage


def n_entries(page: Page) -> int:
    return int(page.evaluate("history.length"))


def name(page: Page) -> str:
    """The image in the microscope."""
    return page.locator(".microscope h1").inner_text()


def shows(page: Page, image: str, fixed: bool) -> None:
    """Checks which image is in the microscope, and whether a patch is fixed there."""
    expect(page.locator(".microscope h1")).to_have_text([image], timeout=PATIENCE)  # while it changes there are two
    where = page.locator(".microscope .ms-where").first
    has_fixed = re.compile(", fixed$")
    check = expect(where).to_have_text if fixed else expect(where).not_to_have_text
    check(has_fixed, timeout=PATIENCE)
    settle(page)
    assert ("patch" in query(page)) == fixed


def step_on(page: Page) -> str:
    """Goes to the next image; returns its name."""
    before = name(page)
    page.keyboard.press(".")
    expect(page.locator(".microscope h1", has_text=before)).to_have_count(0, timeout=PATIENCE)
    settle(page)
    return name(page)


def test_back_and_forward_restore_image_and_patch_on_explain(metal: Page) -> None:
    page = metal
    first, before = name(page), n_entries(page)
    second = step_on(page)
    click_patch(page, 3, 4)
    shows(page, second, fixed=True)
    assert query(page)["patch"] == "76"
    assert n_entries(page) == before + 2, "one entry for each choice"

    page.go_back()
    shows(page, second, fixed=False)
    page.go_back()
    shows(page, first, fixed=False)
    page.go_forward()
    shows(page, second, fixed=False)
    page.go_forward()
    shows(page, second, fixed=True)
    assert n_entries(page) == before + 2


def test_a_fixed_patch_that_arrow_keys_move_is_the_one_in_the_address(metal: Page) -> None:
    page = metal
    click_patch(page, 3, 4)
    shows(page, name(page), fixed=True)
    stage(page).press("ArrowRight")
    page.wait_for_function("new URLSearchParams(location.search).get('patch') === '77'", timeout=PATIENCE)
    settle(page)
    assert "column 6" in page.locator(".microscope .ms-where").first.inner_text()


def test_a_choice_after_going_back_is_kept_and_ends_the_way_forward(metal: Page) -> None:
    page = metal
    second = step_on(page)
    step_on(page)
    page.go_back()
    shows(page, second, fixed=False)
    click_patch(page, 5, 5)
    shows(page, second, fixed=True)
    page.go_forward()
    shows(page, second, fixed=True)


def test_one_step_back_leads_to_the_page_before(metal: Page) -> None:
    page = metal
    before = n_entries(page)
    go_to(page, "Neurons")
    page.go_back()
    expect(heading(page, "Explain")).to_be_visible(timeout=PATIENCE)
    settle(page)
    page.locator(".microscope .ms-top-row").first.click()
    expect(heading(page, "Neurons")).to_be_visible(timeout=PATIENCE)
    settle(page)
    assert {"layer", "neuron", "w"} <= set(query(page))
    page.go_back()
    expect(heading(page, "Explain")).to_be_visible(timeout=PATIENCE)
    page.go_forward()
    expect(heading(page, "Neurons")).to_be_visible(timeout=PATIENCE)
    settle(page)
    assert {"layer", "neuron"} <= set(query(page))
    assert n_entries(page) == before + 1


def test_a_link_may_call_the_first_page_by_its_name(open_tab: OpenTab, link: str) -> None:
    page = open_tab(link.replace("/results?", "/images?"))
    expect(heading(page, "Images")).to_be_visible(timeout=PATIENCE)
    assert urlsplit(page.url).path == "/"
    assert query(page)["w"] in link, "with the images of the link"
