"""Follows one neuron through the dashboard: from the X-ray to its page, by its link, pinned, and down to pixels."""

import re
from urllib.parse import urlsplit

from playwright.sync_api import Page, expect

from tests.e2e.conftest import OpenTab
from tests.e2e.steps import PATIENCE, ask_for, button, choice, go_to, open_metal, query, section, settle


def test_from_the_x_ray_to_a_neuron_and_back_by_its_link_in_a_new_session(metal: Page, open_tab: OpenTab) -> None:
    page = metal
    go_to(page, "Selection")
    section(page, "Layers at a glance")
    expect(page.get_by_text("Each row is a layer")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("Selected against random neurons")).to_have_count(0, timeout=PATIENCE)  # the other view
    settle(page)
    chart = page.get_by_test_id("stPlotlyChart").first
    expect(chart.locator(".main-svg").first).to_be_visible(timeout=PATIENCE)
    plot = chart.locator(".nsewdrag").first.bounding_box()
    assert plot is not None
    see = button(page, r"See neuron \d+ of layer \d+")
    page.mouse.click(plot["x"] + 0.3 * plot["width"], plot["y"] + 0.5 * plot["height"])
    expect(see).to_be_visible(timeout=PATIENCE)
    neuron, layer = re.findall(r"\d+", see.inner_text())
    see.click()
    expect(page.get_by_role("heading", name="Neurons", exact=True)).to_be_visible(timeout=PATIENCE)
    settle(page)
    assert (query(page)["neuron"], query(page)["layer"]) == (neuron, layer)
    expect(page.get_by_label(re.compile(r"^Neuron \(0 to"))).to_have_value(neuron)
    said = page.get_by_text(re.compile(r"^This image: .* Greatest activation")).inner_text()

    parts = urlsplit(page.url)
    kept = {name: value for name, value in query(page).items() if name != "w"}  # of a server that forgot the images
    other = open_tab(f"{parts.path.strip('/')}?{'&'.join(f'{name}={value}' for name, value in kept.items())}")
    expect(other.get_by_text("There are no normal images to learn from yet")).to_be_visible(timeout=PATIENCE)
    open_metal(other)
    go_to(other, "Neurons")
    expect(other.get_by_label(re.compile(r"^Neuron \(0 to"))).to_have_value(neuron, timeout=PATIENCE)
    assert other.get_by_text(re.compile(r"^This image: .* Greatest activation")).inner_text() == said


def test_every_page_names_the_image_and_the_layer_that_it_shows(metal: Page) -> None:
    page, title = metal, metal.locator(".microscope h1")
    first = title.inner_text()
    page.keyboard.press(".")
    expect(page.locator(".microscope h1", has_text=first)).to_have_count(0, timeout=PATIENCE)
    settle(page)
    chosen = title.inner_text()
    for name in ("Text prompts", "Interventions"):
        go_to(page, name)
        assert chosen in picked(page, "Test image"), name
    go_to(page, "Explain")
    expect(title).to_have_text(chosen)
    section(page, "Neurons of a layer")
    in_explain = picked(page, "Layer")
    go_to(page, "Neurons")
    assert picked(page, "Layer") == in_explain == f"{query(page)['layer']}, in the score"


def picked(page: Page, label: str) -> str:
    """What a picker shows."""
    return page.get_by_test_id("stSelectbox").filter(has_text=label).locator("input").first.input_value()


def test_two_pinned_neurons_are_compared_on_one_image(metal: Page) -> None:
    page = metal
    go_to(page, "Neurons")
    neurons = []
    for _ in range(2):
        neurons.append(page.get_by_label(re.compile(r"^Neuron \(0 to")).input_value())
        button(page, "Pin this neuron").click()
        expect(button(page, "Unpin this neuron")).to_be_visible(timeout=PATIENCE)
        settle(page)
        page.keyboard.press("j")
        expect(button(page, "Pin this neuron")).to_be_visible(timeout=PATIENCE)
        settle(page)
    for neuron in neurons:
        expect(page.get_by_text(re.compile(rf"layer 15 · MLP hidden · neuron {neuron} · max"))).to_be_visible()
        expect(page.get_by_alt_text(re.compile(rf"Activation of neuron {neuron} of layer 15"))).to_be_visible()
    assert neurons[0] != neurons[1]


def test_keys_move_to_other_neurons_but_not_while_writing(metal: Page) -> None:
    page = metal
    go_to(page, "Neurons")
    number = page.get_by_label(re.compile(r"^Neuron \(0 to"))
    first = number.input_value()
    page.keyboard.press("j")
    expect(number).not_to_have_value(first, timeout=PATIENCE)
    page.keyboard.press("k")
    expect(number).to_have_value(first, timeout=PATIENCE)
    settle(page)
    page.get_by_text("Your own vocabulary").click()
    words = page.get_by_placeholder("scratch")
    words.click()
    page.keyboard.type("junk knob pin")
    expect(words).to_have_value("junk knob pin")
    settle(page)
    expect(number).to_have_value(first)


def test_pixels_behind_a_neuron_can_be_cancelled_and_computed(metal: Page) -> None:
    page = metal
    go_to(page, "Neurons")
    choice(page, "128 steps").click()
    settle(page)
    button(page, "Compute the attribution").click()
    cancel = page.get_by_role("button", name="Cancel")
    expect(cancel).to_be_visible(timeout=PATIENCE)
    cancel.click()
    ask = button(page, "Compute the attribution")
    expect(ask).to_be_visible(timeout=PATIENCE)
    settle(page)
    expect(page.get_by_text("Completeness error")).to_have_count(0)

    choice(page, "32 steps").click()
    settle(page)
    ask_for(page, "Compute the attribution")
    expect(page.get_by_text("Completeness error")).to_be_visible(timeout=2 * PATIENCE)
    expect(page.get_by_alt_text(re.compile(r"Pixels that move neuron \d+"))).to_be_visible()


def test_from_a_cell_of_the_matrix_to_its_neuron_seen_before_it_is_opened(metal: Page) -> None:
    page = metal
    go_to(page, "Neurons")
    section(page, "Neurons by kind of defect")
    plot = page.get_by_test_id("stPlotlyChart").first.locator(".nsewdrag").first.bounding_box()
    assert plot is not None
    page.mouse.click(plot["x"] + 0.5 * plot["width"], plot["y"] + 0.5 * plot["height"])
    see = button(page, r"See neuron \d+ of layer 15")
    expect(see).to_be_visible(timeout=PATIENCE)
    expect(button(page, r"Explain test")).to_be_visible()
    neuron = re.findall(r"\d+", see.inner_text())[0]
    settle(page)
    see.hover()
    preview = page.get_by_test_id("stTooltipContent").locator("img")
    expect(preview).to_be_visible(timeout=PATIENCE)
    assert preview.evaluate("image => image.naturalWidth") == 176
    see.click()
    expect(page.get_by_role("heading", name=f"Neuron {neuron} of layer 15")).to_be_visible(timeout=PATIENCE)
    settle(page)
    assert query(page)["neuron"] == neuron
    go_to(page, "Selection")
    go_to(page, "Neurons")
    expect(page.get_by_role("heading", name=f"Neuron {neuron} of layer 15")).to_be_visible(timeout=PATIENCE)
