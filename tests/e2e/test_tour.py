"""The way in and the way to present: the tour, a presentation by its keys, the microscope in another page's frame."""

from playwright.sync_api import Page, expect

from dashboard.components.tour import STEPS
from dashboard.views.explain import presentation
from tests.e2e.conftest import OpenTab
from tests.e2e.steps import PATIENCE, button, fits_a_phone, heading, overflow, query, settle, stage

OUTLINED = (
    ".st-key-gallery_normals",
    ".microscope .ms-frame",
    '[class*="st-key-ranking_"]',
    ".microscope .ms-neurons",
    ".microscope .ms-decomposition",
    ".st-key-random_control",
)


def title_is(page: Page, title: str) -> None:
    expect(heading(page, title)).to_be_visible(timeout=PATIENCE)
    settle(page)


def test_the_tour_from_start_to_end(open_tab: OpenTab) -> None:
    page = open_tab()
    button(page, "^Start the tour$").click()
    for number, (step, selector) in enumerate(zip(STEPS, OUTLINED, strict=True), start=1):
        box = page.locator(".st-key-tour")
        expect(box).to_contain_text(f"step {number} of 6: {step.question}", timeout=2 * PATIENCE)
        outlined = page.locator(selector).first
        expect(outlined).to_be_visible(timeout=2 * PATIENCE)
        expect(outlined).to_have_css("outline-style", "solid")
        for other in set(OUTLINED) - {selector}:
            assert page.locator(f"{other} >> visible=true").evaluate_all(
                "found => found.every((one) => getComputedStyle(one).outlineStyle === 'none')"
            )
        settle(page)
        button(page, "^Next$" if number < len(STEPS) else "^Finish$").click()
    expect(page.locator(".st-key-tour")).to_have_count(0, timeout=PATIENCE)


def test_arrow_keys_go_through_a_presentation_and_escape_leaves_it(metal: Page) -> None:
    page = metal
    name = page.locator(".microscope h1").inner_text()
    button(page, "Present$").click()
    titles = list(presentation.STEPS)
    title_is(page, titles[0])
    for title in titles[1:]:
        page.keyboard.press("ArrowRight")
        title_is(page, title)
    page.keyboard.press("ArrowLeft")
    title_is(page, titles[4])
    assert query(page)["present"] == "5"
    for hidden in ("stSidebar", "stHeader"):
        assert not page.get_by_test_id(hidden).filter(visible=True).count()
    size = page.locator(".st-key-presentation p").first.evaluate("one => parseFloat(getComputedStyle(one).fontSize)")
    assert size > 24
    fits_a_phone(page)
    page.keyboard.press("Escape")
    expect(page.locator(".microscope h1")).to_have_text([name], timeout=PATIENCE)
    assert "present" not in query(page)
    page.go_back()
    title_is(page, titles[4])


def test_the_microscope_stands_alone_in_another_pages_frame(metal: Page, open_tab: OpenTab) -> None:
    address = f"{metal.url}&embed=1"
    outer = metal.context.new_page()
    outer.set_content(f'<iframe src="{address}" style="width: 1200px; height: 800px"></iframe>')
    inner = outer.frame_locator("iframe")
    expect(inner.locator(".microscope .ms-stage")).to_be_visible(timeout=PATIENCE)
    for around in ("stSidebar", "stHeader", "stHeading", "stSelectbox", "stButton"):
        expect(inner.get_by_test_id(around).filter(visible=True)).to_have_count(0)

    narrow = open_tab(address, viewport={"width": 390, "height": 844}, color_scheme="dark")
    expect(stage(narrow)).to_be_visible(timeout=PATIENCE)
    settle(narrow)
    assert query(narrow)["embed"] == "1"
    assert not overflow(narrow)
    before = narrow.url
    narrow.locator(".microscope .ms-top-row").first.click()  # there is no other page to go to
    settle(narrow)
    assert narrow.url == before
