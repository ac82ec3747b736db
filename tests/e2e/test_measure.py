"""Walks through the pages that measure: Compare, and Evaluate with its work in the background."""

import re

from playwright.sync_api import Page, expect

from tests.e2e.steps import PATIENCE, fits_a_phone, go_to, heading, settle


def test_selected_against_random_in_one_click(metal: Page) -> None:
    page = metal
    go_to(page, "Compare")
    page.get_by_role("button", name="Selected vs random").click()
    expect(heading(page, "Cost")).to_be_visible(timeout=PATIENCE)
    settle(page)
    expect(
        page.get_by_text(re.compile(r"of 18 test images are decided differently|agree on all")).first
    ).to_be_visible()
    scatter = page.get_by_test_id("stPlotlyChart").first
    expect(scatter.get_by_text("score with B", exact=True)).to_be_visible()
    expect(scatter.locator(".scatterlayer .trace")).to_have_count(3)
    for letter in "AB":
        maps = page.get_by_test_id("stMain").get_by_role("img", name=re.compile(f"with {letter}, .*threshold"))
        expect(maps).to_have_count(4)

    image = page.get_by_test_id("stMain").get_by_role("img", name=re.compile("with A, ")).first
    before = image.get_attribute("alt")
    scatter.scroll_into_view_if_needed()
    points = scatter.locator(".scatterlayer .trace").first.locator(".points path").all()
    boxes = [box for point in points if (box := point.bounding_box()) is not None]
    box = sorted(boxes, key=lambda one: -one["x"])[1]  # the rightmost is the image that is shown first already
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(image).not_to_have_attribute("alt", before or "", timeout=PATIENCE)
    settle(page)
    fits_a_phone(page)


def test_set_ups_to_compare_survive_a_reload(metal: Page) -> None:
    page = metal
    go_to(page, "Compare")
    page.get_by_role("button", name="Top 100 vs all").click()
    expect(heading(page, "Cost")).to_be_visible(timeout=PATIENCE)
    settle(page)
    page.reload()
    expect(page.get_by_text("B · all neurons").first).to_be_visible(timeout=PATIENCE)
    settle(page)


def test_an_evaluation_goes_on_while_another_page_is_open_and_its_threshold_moves(metal: Page) -> None:
    page = metal
    go_to(page, "Evaluate")
    page.get_by_role("button", name="Evaluate", exact=True).click()
    expect(page.get_by_test_id("stProgress")).to_be_visible(timeout=PATIENCE)
    go_to(page, "Results")
    page.reload()
    settle(page)
    go_to(page, "Evaluate")
    expect(heading(page, "Result: metal")).to_be_visible(timeout=3 * PATIENCE)
    settle(page)
    expect(page.get_by_test_id("stDataFrame")).to_have_count(1)
    said = page.get_by_text(re.compile(r"Of 12 defective images \d+ found"))
    expect(said).to_be_visible()
    before = said.inner_text()
    thumb = page.get_by_role("group", name="Threshold", exact=True).locator("input[type=range]")
    thumb.focus()
    thumb.press("End")
    thumb.press("ArrowLeft")
    expect(page.get_by_text("0 found, 12 missed")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("12 false negatives", exact=True)).to_be_visible()
    settle(page)
    assert said.inner_text() != before
    expect(page.get_by_text("False negatives (12)")).to_be_visible()
    fits_a_phone(page)
    page.wait_for_function("[...document.images].every(image => image.complete)")  # else the next page takes them away

    page.get_by_role("button", name="Why this score?").first.click()
    expect(heading(page, "Explain")).to_be_visible(timeout=PATIENCE)
    settle(page)


def test_an_evaluation_can_be_cancelled(metal: Page) -> None:
    page = metal
    go_to(page, "Evaluate")
    page.get_by_role("spinbutton", name="Random seeds").fill("10")
    page.get_by_role("spinbutton", name="Random seeds").press("Enter")
    settle(page)
    page.get_by_role("button", name="Evaluate", exact=True).click()
    page.get_by_role("button", name="Cancel").click(timeout=PATIENCE)
    expect(page.get_by_text("The evaluation of metal was cancelled.")).to_be_visible(timeout=PATIENCE)
    settle(page)
    expect(page.get_by_role("button", name="Evaluate", exact=True)).to_be_visible()
