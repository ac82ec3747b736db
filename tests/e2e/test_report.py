"""The report, opened from disk without a network: its microscopes, its widths, its keys, and what paper shows of it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

import lake_core as lk
from lake_core.reports.content import Report
from lake_core.reports.document import SECTIONS, save
from tests.core.reports.made import HOSTILE, hostile_report, report_on
from tests.e2e.conftest import OpenTab
from tests.e2e.microscope import CLIPPED, FAINT, tab_to
from tests.e2e.steps import PATIENCE, ask_for, fits_a_phone, offline, settle


@pytest.fixture(scope="module")
def report() -> Report:
    """On the sample of photographs, 8 normal and 20 test images."""
    sample = lk.load_sample("hazelnut")
    lake = lk.Lake(lk.open_backbone("lake-cnn"), lk.LakeConfig(object_name="hazelnut"))
    lake.fit([example.image for example in sample.normals])
    images, labels = [example.image for example in sample.tests], [example.label for example in sample.tests]
    return report_on(lake, images, labels, 3)


@pytest.fixture(scope="module")
def file(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    save(report, path)
    return path


@pytest.fixture
def show(chromium: Browser, file: Path) -> Iterator[Any]:
    """Opens the report in a context without a network; in the end nothing was asked for and nothing failed."""
    with offline(chromium, file) as opened:

        def show_it(**options: Any) -> Page:
            page = opened(**options)
            expect(page.locator(".ms-story strong").first).to_be_visible()
            expect(page.locator(".ms-story")).to_have_count(3)
            return page

        yield show_it


def test_each_microscope_shows_its_own_image_and_they_do_not_disturb_each_other(report: Report, show: Any) -> None:
    page = show()
    titles = page.locator(".microscope h1").all_inner_texts()
    assert titles == [row.path for row in report.by_score[:3]]
    stories = page.locator(".ms-story > :not(.ms-room)")
    before = stories.all_inner_texts()
    first = page.locator(".ms-stage").first
    first.scroll_into_view_if_needed()
    first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    after = stories.all_inner_texts()
    assert after[0] != before[0]
    assert after[1:] == before[1:]
    page.keyboard.press("Enter")
    assert ["fixed" in text for text in page.locator(".ms-where").all_inner_texts()] == [True, False, False]
    page.keyboard.press("Escape")
    assert stories.all_inner_texts() == before


def test_stills_give_way_to_microscopes_and_stay_where_scripts_do_not_run(show: Any) -> None:
    page = show()
    expect(page.locator(".report-still").first).to_be_hidden()


def test_without_scripts_the_stills_say_the_same(chromium: Browser, file: Path, report: Report) -> None:
    with chromium.new_context(java_script_enabled=False, offline=True) as context:
        page = context.new_page()
        page.goto(file.as_uri())
        for one in report.explained:
            expect(page.get_by_role("heading", name=f"{one.row.path}: score {one.row.score:.2f}")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_wider_than_the_screen_or_faint(show: Any, width: int, scheme: str) -> None:
    page = show(viewport={"width": width, "height": 844}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CLIPPED) == []
    assert page.evaluate(FAINT.replace(".microscope *", ".report *")) == []


def test_sections_and_wide_tables_are_reached_with_the_keyboard(show: Any) -> None:
    page = show(viewport={"width": 390, "height": 844})
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == next(iter(SECTIONS))
    page.get_by_role("link", name="Scores").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("scrollY > 1000")
    tab_to(page, "report-table")
    before = page.evaluate("document.activeElement.scrollLeft")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("before => document.activeElement.scrollLeft > before", arg=before)


def test_a_table_says_so_where_a_part_of_it_is_out_of_sight(show: Any) -> None:
    page = show(viewport={"width": 390, "height": 844})
    scores = page.get_by_role("region", name="Scores of the test images")
    expect(scores).to_have_class("report-table report-wide")
    assert "scroll sideways" in scores.evaluate("(table) => getComputedStyle(table, '::before').content")
    page.set_viewport_size({"width": 1440, "height": 900})
    expect(scores).to_have_class("report-table")


def test_paper_shows_every_section_and_stills_in_the_place_of_microscopes(show: Any, report: Report) -> None:
    page = show(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    text = page.locator("main").inner_text()
    for name in SECTIONS:
        assert name in text
    assert all(f"{one.row.path}: score {one.row.score:.2f}" in text for one in report.explained)
    expect(page.locator(".report-still")).to_have_count(3)
    for still, microscope in zip(page.locator(".report-still").all(), page.locator(".microscope").all(), strict=True):
        expect(still).to_be_visible()
        expect(microscope).to_be_hidden()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    breaks = "(whole) => [...document.querySelectorAll(whole)].map((one) => getComputedStyle(one).breakInside)"
    assert set(page.evaluate(breaks, ".report-card, .report-figure, .report-still-images figure, tr")) == {"avoid"}


def test_it_prints_on_a_few_pages(show: Any, tmp_path: Path) -> None:
    pdf = show().pdf(path=tmp_path / "report.pdf", format="A4", print_background=True)
    n_pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))
    assert 6 <= n_pages <= 14


def test_names_that_try_to_be_markup_do_nothing_but_show(chromium: Browser, tmp_path: Path) -> None:
    report = hostile_report(lk.open_backbone("lake-cnn", image_size=128))
    save(report, tmp_path / "report.html")
    complaints: list[str] = []
    with chromium.new_context(offline=True) as context:
        page = context.new_page()
        page.add_init_script("window.alert = (text) => console.error(`alert: ${text}`)")
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((tmp_path / "report.html").as_uri())
        expect(page.locator(".ms-story")).to_have_count(2)
        assert page.locator(".microscope h1").all_inner_texts() == [row.path for row in report.by_score[:2]]
        assert HOSTILE in page.locator("main").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert complaints == []


def test_results_prepares_it_and_offers_it_for_download(
    open_tab: OpenTab, link: str, chromium: Browser, tmp_path: Path
) -> None:
    page = open_tab(link)
    ask_for(page, "^Report$")
    ready = page.get_by_role("button", name="Download the report (HTML)")
    expect(ready).to_be_visible(timeout=2 * PATIENCE)
    settle(page)
    fits_a_phone(page)
    with page.expect_download() as waiting:
        ready.click()
    saved = tmp_path / "report.html"
    waiting.value.save_as(saved)
    with chromium.new_context(offline=True) as context:
        opened = context.new_page()
        opened.goto(saved.as_uri())
        expect(opened.locator(".ms-story strong").first).to_be_visible()
        expect(opened.get_by_text(re.compile(r"\d of 4 test images (is|are) above the threshold"))).to_be_visible()
