"""A selection that forms, watched in the browser: by hand, playing by itself, with the keyboard, and on a phone."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from dashboard.plots.formation import Replay, arriving
from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.samples import load_sample
from lake_core.detector.lake import Lake
from lake_core.experiments.formation import formation
from tests.e2e.conftest import OpenTab
from tests.e2e.steps import PATIENCE, choice, fits_a_phone, go_to, heading, open_metal, query, settle, slider

LAYER, K = 15, 100


@pytest.fixture(scope="module")
def expected() -> Replay:
    """The same replay, computed here."""
    lake = Lake(open_backbone("lake-cnn"), LakeConfig())
    images = [example.image for example in load_sample("metal").normals]
    return arriving(formation(lake, LAYER, images).arriving(K))


def watch(page: Page) -> Locator:
    go_to(page, "Selection")
    choice(page, "Watch it form").click()
    settle(page)
    shown = page.locator(".replay")
    expect(shown).to_be_visible(timeout=PATIENCE)
    return shown


def listed(shown: Locator, what: int) -> list[int]:
    return [int(text) for text in shown.locator(".rp-neurons").nth(what).get_by_role("button").all_inner_texts()]


def runs(page: Page) -> int:
    """How often the server's script has begun or ended a run since this was asked first."""
    return int(
        page.evaluate(
            """() => {
                if (window.lakeRuns === undefined) {
                    window.lakeRuns = 0;
                    const options = {attributes: true, attributeFilter: ["data-test-script-state"]};
                    new MutationObserver(() => { window.lakeRuns += 1; })
                        .observe(document.querySelector("[data-testid=stApp]"), options);
                }
                return window.lakeRuns;
            }"""
        )
    )


def test_the_steps_are_those_of_the_core_and_ask_no_server(metal: Page, expected: Replay) -> None:
    shown = watch(metal)
    assert runs(metal) == 0
    shown.get_by_role("button", name="Previous step").click()
    for scene in expected.steps:
        assert shown.locator(".rp-says").inner_text() == scene.says
        assert shown.locator(".rp-name").inner_text() == scene.name
        for what, neurons in enumerate((scene.entered, scene.left)):
            assert listed(shown, what) == [one["neuron"] for one in neurons]
        assert shown.locator(".rp-chart title").count() == len(scene.entered) + len(scene.left)
        expect(shown.locator(".rp-chart")).to_contain_text(f"cut at K = {K}")
        following = shown.get_by_role("button", name="Next step")
        if following.is_enabled():
            following.click()
    assert shown.get_by_role("button", name="Next step").is_disabled()
    assert len(expected.steps[1].entered) > 0
    assert runs(metal) == 0
    choice(metal, "K grows").click()
    settle(metal)
    assert runs(metal) > 0
    expect(shown.locator(".rp-name")).to_have_text(re.compile("^K = "))
    shown.get_by_role("slider").press("End")
    expect(shown.locator(".rp-name")).to_have_text("K = 720")
    expect(shown.locator(".rp-neurons").nth(1)).to_contain_text("Leave: none")
    expect(shown.locator(".rp-neurons").nth(0)).to_contain_text("more, in the table below")
    choice(metal, "Normal images arrive").click()
    settle(metal)
    slider(metal, "Neurons kept per layer (K)").last.press("ArrowRight")
    settle(metal)
    expect(shown.locator(".rp-chart")).to_contain_text(f"cut at K = {K + 1}")


def test_it_plays_from_the_first_image_to_the_last_pauses_and_fits_a_phone(metal: Page, expected: Replay) -> None:
    shown = watch(metal)
    name = shown.locator(".rp-name")
    shown.get_by_role("button", name="Play").click()
    expect(name).to_have_text("1 normal image")
    expect(name).to_have_text("2 normal images", timeout=5000)
    shown.get_by_role("button", name="Pause").click()
    metal.wait_for_timeout(1500)
    expect(name).to_have_text("2 normal images")
    shown.get_by_role("button", name="Play").click()
    expect(name).to_have_text(f"{len(expected.steps)} normal images", timeout=20_000)
    expect(shown.get_by_role("button", name="Play")).to_be_visible()
    fits_a_phone(metal)


def test_the_keyboard_moves_it_and_a_neuron_leads_to_its_page(metal: Page, expected: Replay) -> None:
    shown = watch(metal)
    track = shown.get_by_role("slider")
    track.focus()
    metal.keyboard.press("Home")
    expect(track).to_have_attribute("aria-valuetext", "1 normal image")
    metal.keyboard.press("ArrowRight")
    expect(track).to_have_attribute("aria-valuetext", "2 normal images")
    first = int(expected.steps[1].entered[0]["neuron"])
    shown.get_by_role("button", name=str(first), exact=True).click()
    expect(heading(metal, "Neurons")).to_be_visible(timeout=PATIENCE)
    settle(metal)
    assert (query(metal)["layer"], query(metal)["neuron"]) == (str(LAYER), str(first))


def test_nothing_plays_by_itself_for_who_wants_less_motion(open_tab: OpenTab) -> None:
    page = open_tab(reduced_motion="reduce")
    open_metal(page)
    shown = watch(page)
    expect(shown.locator(".rp-play")).to_be_hidden()
    shown.get_by_role("button", name="Next step").click()
    expect(shown.locator(".rp-name")).to_have_text("3 normal images")
    page.emulate_media(reduced_motion="no-preference")
    expect(shown.locator(".rp-play")).to_be_visible()
