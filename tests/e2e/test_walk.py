"""Walks through the dashboard as a visitor takes them: real server, real browser, real network."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.e2e.conftest import METAL, OpenTab
from tests.e2e.steps import (
    PAGES,
    PATIENCE,
    bring,
    click_patch,
    go_to,
    heading,
    metric,
    open_metal,
    query,
    run,
    section,
    settle,
    slider,
    stage,
    upload,
)


def wait_for_query(page: Page, **wanted: object) -> None:
    """Waits until the address holds these parameters."""
    pairs = "".join(f"(?=.*[?&]{name}={value}(&|$))" for name, value in wanted.items())
    expect(page).to_have_url(re.compile(pairs), timeout=10_000)


@pytest.fixture
def scored(open_tab: OpenTab, link: str) -> Page:
    """A tab on the page Results, with the brought images."""
    return open_tab(link)


def test_a_visitor_brings_images_is_told_of_the_broken_one_and_opens_every_page(
    open_tab: OpenTab, brought: tuple[list[Path], list[Path], Path]
) -> None:
    normals, tests, broken = brought
    page = open_tab()
    expect(page.get_by_role("button", name="Open metal")).to_be_visible()
    upload(page, "Normal images", [*normals, broken])
    expect(heading(page, "Normal images (4)")).to_be_visible(timeout=PATIENCE)
    remarks = page.get_by_test_id("stAlert").filter(has_text=broken.name)
    expect(remarks).to_have_count(1)
    expect(remarks).to_contain_text("is a text file, not an image")
    settle(page)

    upload(page, "Test images", tests)
    expect(heading(page, "Test images (4)")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_test_id("stAlert").filter(has_text=broken.name)).to_have_count(0)
    settle(page)
    run(page, 8)
    expect(metric(page, "Test images")).to_have_text("4")
    for path in tests:
        expect(page.get_by_test_id("stMain").get_by_role("img", name=re.compile(path.name))).to_have_count(1)

    number = query(page)["w"]
    for title in PAGES:
        go_to(page, title)
        wait_for_query(page, w=number)
        expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)


def test_one_click_opens_a_sample_and_explains_its_worst_image(open_tab: OpenTab) -> None:
    page = open_tab()
    open_metal(page)
    expect(heading(page, "Explain")).to_be_visible()
    expect(page.locator(".ms-verdict")).to_contain_text("above the threshold")
    expect(page.get_by_role("textbox", name="Object name")).to_have_value("metal flange")
    expect(slider(page, "Fusion weight (w)")).to_have_value("0.3")
    go_to(page, "Results")
    expect(metric(page, "Normal images")).to_have_text("8")
    expect(metric(page, "Test images")).to_have_text("18")
    assert float(metric(page, "Image AUROC").inner_text()) > 0.9


def test_a_click_in_the_microscope_fixes_the_patch_for_all_that_follows(scored: Page) -> None:
    page = scored
    go_to(page, "Explain")
    section(page, "Contributions")
    expect(page.get_by_text("of the image score")).to_be_visible()
    for row, col in ((2, 19), (21, 1)):
        click_patch(page, row, col)
        wait_for_query(page, patch=24 * row + col)
        value = page.locator(".ms-part .ms-number").last.inner_text().strip("= ")
        said = page.get_by_text(re.compile(rf"add up to .*, of patch {24 * row + col}, which is fixed"))
        expect(said).to_be_visible(timeout=PATIENCE)
        assert float(re.findall(r"add up to (\d+\.\d+)", said.inner_text())[0]) == pytest.approx(float(value), abs=6e-4)
        settle(page)
    stage(page).focus()
    page.keyboard.press("Escape")
    expect(page.get_by_text("of the image score")).to_be_visible(timeout=PATIENCE)
    settle(page)
    assert "patch" not in query(page)


def test_a_patch_is_chosen_and_a_neuron_opened_without_a_mouse(scored: Page) -> None:
    page = scored
    go_to(page, "Explain")
    stage(page).focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"[?&]patch=\d+"), timeout=PATIENCE)
    settle(page)
    page.locator(".ms-matrix").focus()
    page.keyboard.press("ArrowRight")
    layer, neuron = re.findall(r"\d+", page.locator(".ms-card h3").inner_text())
    page.keyboard.press("Enter")
    expect(heading(page, "Neurons")).to_be_visible(timeout=PATIENCE)
    settle(page)
    wait_for_query(page, layer=layer, neuron=neuron)
    expect(page.get_by_label(re.compile(r"^Neuron \(0 to"))).to_have_value(neuron)


def parts(page: Page) -> dict[str, float]:
    """What the microscope says the score is made of."""
    rows = page.locator(".ms-part").all()
    return {
        row.locator(".ms-name").inner_text(): float(row.locator(".ms-number").inner_text().strip("+= ")) for row in rows
    }


def test_the_text_weight_moves_by_keyboard_and_the_score_with_it(metal: Page) -> None:
    page = metal
    before, shown = parts(page), page.locator(".ms-part").last.locator(".ms-number").inner_text()
    assert before["Image score"] == pytest.approx(before["Visual, layer 15"] + before["Text"], abs=0.002)
    thumb = slider(page, "Fusion weight (w)")
    thumb.focus()
    thumb.press("ArrowRight")
    expect(page.locator(".ms-part").last.locator(".ms-number")).not_to_have_text(shown, timeout=PATIENCE)
    settle(page)
    thumb.focus()
    thumb.press("End")
    expect(page.locator(".ms-part").first.locator(".ms-number")).to_have_text("0.000", timeout=PATIENCE)
    settle(page)
    after = parts(page)
    assert after["Image score"] == pytest.approx(after["Text"], abs=1e-9)
    assert after["Image score"] != before["Image score"]


def test_the_downloaded_table_has_a_row_for_each_test_image(
    scored: Page, brought: tuple[list[Path], list[Path], Path], tmp_path: Path
) -> None:
    with scored.expect_download() as waiting:
        scored.get_by_role("button", name="Download the scores (CSV)").click()
    waiting.value.save_as(tmp_path / "scores.csv")
    table = pd.read_csv(tmp_path / "scores.csv")
    own = ["path", "score", "visual", "text", "threshold", "is_anomalous", "label"]
    assert list(table.columns) == [*own, "image_path", "split", "label_index", "mask_path"]
    assert sorted(table["path"]) == sorted(path.name for path in brought[1])
    assert table["score"].to_numpy() == pytest.approx((0.7 * table["visual"] + 0.3 * table["text"]).to_numpy())
    assert (table["is_anomalous"] == (table["score"] > table["threshold"])).all()
    expect(metric(scored, "Above threshold")).to_have_text(f"{table['is_anomalous'].sum()} of 4")


def test_a_reload_finds_images_settings_and_selection_again(
    open_tab: OpenTab, brought: tuple[list[Path], list[Path], Path]
) -> None:
    page = open_tab()
    bring(page, brought[0], brought[1])
    run(page, 8)
    go_to(page, "Explain")
    thumb = slider(page, "Fusion weight (w)")
    thumb.focus()
    thumb.press("ArrowRight")
    expect(thumb).to_have_value("0.35")
    settle(page)
    click_patch(page, 5, 6)
    wait_for_query(page, patch=24 * 5 + 6)
    settle(page)
    shown = parts(page)

    page.reload()
    expect(stage(page)).to_be_visible(timeout=PATIENCE)
    settle(page)
    expect(page.locator(".ms-where")).to_contain_text("fixed")
    assert parts(page) == shown

    other = open_tab(page.url)
    expect(other.locator(".ms-where")).to_contain_text("fixed", timeout=PATIENCE)
    assert parts(other) == shown


def test_a_reload_before_the_run_finds_the_images_again(
    open_tab: OpenTab, brought: tuple[list[Path], list[Path], Path]
) -> None:
    page = open_tab()
    bring(page, brought[0], brought[1])
    page.reload()
    settle(page)
    expect(heading(page, "Normal images (4)")).to_be_visible(timeout=PATIENCE)
    expect(heading(page, "Test images (4)")).to_be_visible()


def test_a_link_whose_images_are_gone_says_so_in_one_sentence(open_tab: OpenTab) -> None:
    page = open_tab("?w=no-such-number")
    expect(page.get_by_test_id("stAlert")).to_have_count(1)
    expect(page.get_by_test_id("stAlert")).to_contain_text("no longer on the server")
    assert query(page)["w"] != "no-such-number"


def test_two_tabs_at_once_keep_their_images_apart(
    open_tab: OpenTab, brought: tuple[list[Path], list[Path], Path]
) -> None:
    normals, tests, _ = brought
    first, second = open_tab(), open_tab()
    upload(first, "Normal images", normals[:1])
    upload(second, "Normal images", normals[1:4])
    expect(heading(first, "Normal images (1)")).to_be_visible(timeout=PATIENCE)
    expect(heading(second, "Normal images (3)")).to_be_visible(timeout=PATIENCE)
    upload(second, "Test images", tests[:1])
    expect(heading(second, "Test images (1)")).to_be_visible(timeout=PATIENCE)
    settle(first)
    settle(second)
    expect(heading(first, "Test images (0)")).to_be_visible()
    first.reload()
    settle(first)
    expect(heading(first, "Normal images (1)")).to_be_visible(timeout=PATIENCE)
    expect(heading(first, "Test images (0)")).to_be_visible()
    assert query(first)["w"] != query(second)["w"]


def test_a_run_can_be_cancelled_and_gone_on_with(open_tab: OpenTab, files: Path) -> None:
    normals, tests = _many_images(files, 28)
    page = open_tab()
    bring(page, normals, tests)
    page.get_by_role("button", name="Run on 28 images").click()
    page.get_by_role("button", name="Cancel").click(timeout=PATIENCE)
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0, timeout=PATIENCE)
    expect(page.get_by_role("button", name=re.compile(r"Run on \d+ images"))).to_be_visible(timeout=PATIENCE)
    settle(page)
    go_to(page, "Results")
    stopped = page.get_by_text(re.compile(r"\d+ of 28 images have run through the network"))
    expect(stopped).to_be_visible(timeout=PATIENCE)
    assert int(re.findall(r"(\d+) of 28", stopped.inner_text())[0]) < 28
    page.get_by_role("button", name=re.compile("^(Resume|Run)$")).click()  # Run, where no batch was done yet
    expect(metric(page, "Test images")).to_have_text("24", timeout=PATIENCE)
    settle(page)


def _many_images(folder: Path, n: int) -> tuple[list[Path], list[Path]]:
    """Four normal images and n - 4 test images that no other test has: the samples with one grey pixel changed."""
    sources = sorted(METAL.glob("t*/*/*.jpg"))
    paths = []
    for i in range(n):
        pixels = np.asarray(Image.open(sources[i % len(sources)]).convert("RGB")).copy()
        pixels[0, 0] = i
        paths.append(folder / f"many_{i:02}.png")
        Image.fromarray(pixels).save(paths[-1], compress_level=1)
    return paths[:4], paths[4:]


def test_a_page_opened_before_the_run_keeps_the_link(
    open_tab: OpenTab, brought: tuple[list[Path], list[Path], Path]
) -> None:
    page = open_tab()
    number = query(page)["w"]
    upload(page, "Normal images", brought[0])
    expect(heading(page, "Normal images (4)")).to_be_visible(timeout=PATIENCE)
    settle(page)
    go_to(page, "Results")
    expect(page.get_by_text("There are no test images to look at yet")).to_be_visible()
    wait_for_query(page, w=number)
