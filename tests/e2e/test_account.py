"""Where a score comes from and what would change it, as a visitor asks: click, brush, weigh, ablate, cancel."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.steps import PATIENCE, ask_for, button, choice, click_patch, go_to, metric, query, section, settle, stage


def test_the_weight_moves_the_score_and_two_images_are_compared(metal: Page) -> None:
    page = metal
    section(page, "Fusion weight")
    expect(page.get_by_text("now: 0.30")).to_be_visible(timeout=PATIENCE)
    score = page.locator(".ms-part .ms-number").last
    before = score.inner_text()
    thumb = page.get_by_test_id("stSlider").filter(has_text="Fusion weight (w)").get_by_role("slider")
    thumb.focus()
    thumb.press("ArrowRight")
    expect(page.get_by_text("now: 0.35")).to_be_visible(timeout=PATIENCE)
    expect(score).not_to_have_text(before)
    settle(page)

    section(page, "Comparison")
    said = page.get_by_text(re.compile(r"All differences add up to")).inner_text()
    first, second, difference = (float(number) for number in re.findall(r"\d+\.\d+", said))
    assert first - second == pytest.approx(difference, abs=2e-4)


def test_a_selected_region_lets_go_of_the_fixed_patch(metal: Page) -> None:
    page = metal
    section(page, "Contributions")
    click_patch(page, 6, 6)
    expect(page.get_by_text(re.compile(r"of patch 150, which is fixed above"))).to_be_visible(timeout=PATIENCE)
    settle(page)
    box = stage(page).bounding_box()
    assert box is not None
    for share, act in ((0.3, page.mouse.down), (0.6, page.mouse.up)):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + share * box["height"], steps=5)
        act()
    expect(page.get_by_text(re.compile(r"of the image score\. The CSV"))).to_be_visible(timeout=PATIENCE)
    settle(page)
    assert "patch" not in query(page)
    expect(page.locator(".ms-where")).to_contain_text("the mean of")


def test_neurons_are_ablated_and_compared_with_random_draws(metal: Page) -> None:
    page = metal
    go_to(page, "Interventions")
    expect(page.get_by_text(re.compile(r"Without 1 neuron the score goes from"))).to_be_visible(timeout=PATIENCE)
    choice(page, "a whole layer").click()
    expect(page.get_by_text(re.compile(r"Without 100 neurons the score goes from"))).to_be_visible(timeout=PATIENCE)
    choice(page, "one neuron").click()
    expect(page.get_by_text(re.compile(r"Without 1 neuron the score goes from"))).to_be_visible(timeout=PATIENCE)
    settle(page)
    ask_for(page, "Compare with 20 random draws")
    expect(page.get_by_text(re.compile(r"Of 20 random draws of as many selected neurons")).first).to_be_visible(
        timeout=3 * PATIENCE
    )


def test_a_defective_image_slips_in_among_the_normal_ones(metal: Page) -> None:
    page = metal
    go_to(page, "Interventions")
    section(page, "Reference-set contamination")
    expect(page.get_by_text(re.compile("With one more image among the normal ones"))).to_be_visible(timeout=PATIENCE)
    settle(page)
    before = metric(page, "Threshold").inner_text()
    button(page, "▶").click()
    expect(metric(page, "Threshold")).not_to_have_text(before, timeout=PATIENCE)


def test_a_causal_ablation_runs_the_network(metal: Page) -> None:
    page = metal
    go_to(page, "Interventions")
    section(page, "Activation patching / causal ablation")
    ask_for(page, "Run the network")
    expect(page.get_by_text("Change of the score")).to_be_visible(timeout=3 * PATIENCE)
    settle(page)
    expect(page.get_by_alt_text(re.compile("After: map of"))).to_be_visible()


def test_a_prompt_is_edited_and_the_score_follows(metal: Page) -> None:
    page = metal
    go_to(page, "Text prompts")
    shown = metric(page, "Text part of the score")
    before = shown.inner_text()
    field = page.get_by_label("Phrases for anomalous")
    field.fill("rusty {}\n# broken {}")
    button(page, "Use these prompts").click()
    expect(shown).not_to_have_text(before, timeout=PATIENCE)
    settle(page)
    expect(page.get_by_text("anomalous: rusty {}")).to_be_visible()
    page.reload()
    expect(page.get_by_text("anomalous: rusty {}")).to_be_visible(timeout=PATIENCE)
    button(page, "Restore the built-in prompts").click()
    expect(shown).to_have_text(before, timeout=PATIENCE)
