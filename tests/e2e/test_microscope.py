"""The microscope's HTML file, opened from disk without a network: its numbers, its keys, its widths."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

import lake_core as lk
from lake_core.detector.result import ImageResult
from tests.e2e.microscope import CLIPPED, FAINT, tab_to
from tests.e2e.steps import offline

LAYERS = (13, 15)
DIRECTIONS = {1: "more active than normal", -1: "less active than normal", 0: "as active as normal"}


@pytest.fixture(scope="module")
def result() -> ImageResult:
    """The rust of the metal sample, scored by two layers."""
    sample = lk.load_sample("metal")
    lake = lk.Lake(lk.open_backbone("lake-cnn"), lk.LakeConfig(object_name="metal plate", layers=LAYERS, top_k=40))
    lake.fit([example.image for example in sample.normals])
    return lake.explain(next(example.image for example in sample.tests if example.image.name.endswith("rust/002.jpg")))


@pytest.fixture(scope="module")
def file(result: ImageResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return result.save_html(tmp_path_factory.mktemp("html") / "defect.html")


@pytest.fixture
def show(chromium: Browser, file: Path) -> Iterator[Any]:
    """Opens the file in a context without a network; in the end nothing was asked for and nothing failed."""
    with offline(chromium, file) as opened:

        def show_it(**options: Any) -> Page:
            page = opened(**options)
            page.wait_for_selector(".ms-story strong")
            return page

        yield show_it


def place_of(page: Page, result: ImageResult, patch: int) -> tuple[float, float]:
    """The middle of a patch on the screen; the sample's images fill the model's input."""
    box = page.locator(".ms-stage").bounding_box()
    assert box is not None
    rows, cols = result.map.shape
    row, col = divmod(patch, cols)
    return box["x"] + box["width"] * (col + 0.5) / cols, box["y"] + box["height"] * (row + 0.5) / rows


def shown_parts(page: Page) -> dict[str, str]:
    """What the bars of the decomposition say: name -> number."""
    rows = page.locator(".ms-part").all()
    return {row.locator(".ms-name").inner_text(): row.locator(".ms-number").inner_text().strip("+= ") for row in rows}


def table_rows(page: Page) -> list[list[str]]:
    """The rows of the table of neurons."""
    return (
        page.locator(".ms-tables table")
        .nth(1)
        .evaluate("table => [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent))")
    )


def expected_parts(result: ImageResult, patches: list[int], name: str) -> dict[str, str]:
    by_layer = result.contributions(patches, "layer")
    visual = {f"Visual, layer {layer}": f"{by_layer.set_index('layer')['contribution'][layer]:.3f}" for layer in LAYERS}
    text = float(by_layer.loc[by_layer["part"] == "text", "contribution"].iloc[0])
    return visual | {"Text": f"{text:.3f}", name: f"{by_layer['contribution'].sum():.3f}"}


def some_patches(result: ImageResult) -> list[int]:
    """Twenty patches from one corner to the other, and the max-scoring one."""
    return [*np.linspace(0, result.map.size - 1, 20).astype(int).tolist(), result.patch]


def test_parts_and_neurons_equal_the_python_api(result: ImageResult, show: Any) -> None:
    page = show()
    assert shown_parts(page) == expected_parts(result, [result.patch], "Image score")
    page.get_by_role("button", name="Numbers as a table").click()
    page.evaluate("window.scrollTo(0, 0)")
    for patch in some_patches(result):
        page.mouse.move(*place_of(page, result, patch))
        assert shown_parts(page) == expected_parts(result, [patch], "Value here")
        rows = result.contributions(patch).dropna(subset=["neuron"]).to_dict("records")
        expected = {(str(row["layer"]), str(row["neuron"])): f"{row['contribution']:.3f}" for row in rows}
        assert {(row[0], row[1]): row[6] for row in table_rows(page)} == expected


def test_activations_and_directions_equal_the_python_api(result: ImageResult, show: Any) -> None:
    page = show()
    page.get_by_role("button", name="Numbers as a table").click()
    page.evaluate("window.scrollTo(0, 0)")
    for patch in some_patches(result)[::5]:
        page.mouse.move(*place_of(page, result, patch))
        rows = {(row[0], row[1]): row for row in table_rows(page)}
        for layer in LAYERS:
            for neuron in result.top_neurons(patch, layer, 40).to_dict("records"):
                row = [cell.replace("−", "-") for cell in rows[str(layer), str(neuron["neuron"])]]
                assert float(row[3]) == pytest.approx(neuron["here"], abs=0.00051)
                assert float(row[4]) == pytest.approx(neuron["normal"], abs=0.00051)
                assert row[5] == DIRECTIONS[np.sign(neuron["here"] - neuron["normal"])]


def test_a_host_that_took_it_off_the_page_does_it_no_harm(show: Any) -> None:
    """Streamlit may do so while the images are read; the fixture checks that nothing fails."""
    page = show()
    page.evaluate("document.querySelector('.microscope').remove()")
    page.emulate_media(color_scheme="dark")  # draws anew
    page.wait_for_function("matchMedia('(prefers-color-scheme: dark)').matches")


def test_a_click_fixes_a_patch_and_a_drag_gives_the_mean_of_a_region(result: ImageResult, show: Any) -> None:
    page = show()
    cols = result.map.shape[1]
    first, other, last = 5 * cols + 5, 10 * cols + 12, 8 * cols + 7
    page.mouse.click(*place_of(page, result, first))
    page.mouse.move(*place_of(page, result, other))
    assert shown_parts(page) == expected_parts(result, [first], "Value here")
    assert "fixed" in page.locator(".ms-where").inner_text()
    page.mouse.click(*place_of(page, result, first))
    page.mouse.move(*place_of(page, result, other))
    assert shown_parts(page) == expected_parts(result, [other], "Value here")

    page.mouse.move(*place_of(page, result, first))
    page.mouse.down()
    page.mouse.move(*place_of(page, result, last), steps=4)
    page.mouse.up()
    region = [row * cols + col for row in range(5, 9) for col in range(5, 8)]
    assert shown_parts(page) == expected_parts(result, region, "Mean value")
    assert "the mean of 12 patches" in page.locator(".ms-where").inner_text()
    page.keyboard.press("Escape")
    assert shown_parts(page) == expected_parts(result, [result.patch], "Image score")


def test_everything_is_reached_with_the_keyboard_alone(result: ImageResult, show: Any) -> None:
    page = show()
    cols = result.map.shape[1]
    tab_to(page, "ms-stage")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    patch = result.patch + cols - 1
    assert shown_parts(page) == expected_parts(result, [patch], "Value here")
    page.keyboard.press("Enter")
    assert "fixed" in page.locator(".ms-where").inner_text()
    page.keyboard.press("Shift+ArrowUp")
    assert shown_parts(page) == expected_parts(result, [patch - cols, patch], "Mean value")
    page.keyboard.press("Escape")
    page.keyboard.press("Shift+ArrowLeft")
    assert shown_parts(page) == expected_parts(result, [result.patch - 1, result.patch], "Mean value")
    page.keyboard.press("Escape")

    tab_to(page, "ms-matrix")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    second = result.top_neurons(None, LAYERS[1]).iloc[1]
    assert page.locator(".ms-card h3").inner_text() == f"Layer {LAYERS[1]} · neuron {int(second['neuron'])}"
    assert f"{second['contribution']:.3f}" in page.locator(".ms-card dl").inner_text()
    assert page.locator(".ms-choices button[data-value=neuron]").get_attribute("aria-pressed") == "true"
    page.keyboard.press("p")
    assert f"{LAYERS[1]} · {int(second['neuron'])}" in page.locator(".ms-pins").inner_text()
    page.keyboard.press("p")
    assert page.locator(".ms-pins").is_hidden()


def test_cards_of_twenty_neurons_equal_the_python_api(result: ImageResult, show: Any) -> None:
    page = show()
    matrix = page.locator(".ms-matrix")
    tables = [result.top_neurons(None, layer, 10) for layer in LAYERS]
    matrix.focus()
    for number, table in enumerate(tables):
        for place, neuron in enumerate(table.to_dict("records")):
            page.keyboard.press("ArrowRight" if place or not number else "ArrowDown")
            assert page.locator(".ms-card h3").inner_text() == f"Layer {LAYERS[number]} · neuron {neuron['neuron']}"
            facts = page.locator(".ms-card dd").all_inner_texts()
            here, normal = (float(number) for number in facts[0].split(", nearest normal patch "))
            assert facts[1].split()[0] == f"{neuron['contribution']:.3f}"
            assert (here, normal) == pytest.approx((neuron["here"], neuron["normal"]), abs=0.00051)
            lead = page.locator(".ms-card-lead").inner_text()
            assert lead.startswith("↑" if neuron["here"] > neuron["normal"] else "↓")
        page.keyboard.press("Home")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"viewport": {"width": 390, "height": 844}},
        {"color_scheme": "dark"},
        {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
    ],
    ids=["wide", "phone", "dark", "dark phone"],
)
def test_nothing_is_wider_than_the_screen_or_faint(show: Any, options: dict[str, Any]) -> None:
    page = show(**options)
    width, height = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    size = page.viewport_size
    assert size is not None
    assert width <= size["width"]
    if size["width"] == 1440:
        assert height <= size["height"]
    assert page.evaluate(CLIPPED) == []
    assert page.evaluate(FAINT) == []


HAS_DARK_INK = """() => [...document.querySelectorAll(".ms-matrix canvas")].some((canvas) => {
    const copy = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    Object.assign(copy.canvas, { width: canvas.width, height: canvas.height });
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    return data.some((_, i) => i % 4 === 3 && data[i] > 200 && data[i - 3] + data[i - 2] + data[i - 1] < 200);
})"""
"""Whether the names of layers are dark, as on paper."""


def test_paper_is_light_has_no_switches_and_no_part_is_cut_in_two(show: Any) -> None:
    page = show(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    page.wait_for_function(HAS_DARK_INK)
    ground = page.locator(".microscope").evaluate("(one) => getComputedStyle(one).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
    for switch in page.locator(".microscope :is(.ms-toolbar, .ms-choices, .ms-title > button)").all():
        expect(switch).to_be_hidden()
    breaks = "(all) => all.map((one) => getComputedStyle(one).breakInside)"
    assert set(page.locator(".ms-right > section").evaluate_all(breaks)) == {"avoid"}


@pytest.mark.parametrize("spacing", ["normal", "0.6px"], ids=["own font", "wider font"])
@pytest.mark.parametrize("width", [390, 800, 1100, 1440])
def test_nothing_moves_under_the_pointer(result: ImageResult, show: Any, width: int, spacing: str) -> None:
    page = show(viewport={"width": width, "height": 900})
    page.add_style_tag(content=f".microscope {{ letter-spacing: {spacing} }}")
    before = page.locator(".ms-stage").bounding_box()
    for patch in some_patches(result)[::4]:
        page.mouse.move(*place_of(page, result, patch))
        assert page.locator(".ms-stage").bounding_box() == before
