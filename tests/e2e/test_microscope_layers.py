"""All layers in the microscope: they move nothing when they arrive, and are reached by pointer and by keys."""

from typing import Any

import pytest
from playwright.sync_api import Browser

import lake_core as lk
from lake_core.detector.microscope import scored_image
from lake_core.detector.reselection import layer_alone, scores_alone
from lake_core.detector.scoring import PatchScores
from lake_core.visualization.microscope import html
from lake_core.visualization.microscope.payload import encode
from tests.e2e.microscope import FAINT, tab_to


@pytest.fixture(scope="module")
def layered(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[PatchScores], list[str]]:
    """The maps of nine layers outside of the score, and the addresses of the page before and after they are there."""
    sample = lk.load_sample("metal")
    lake = lk.Lake(lk.open_backbone("lake-cnn"), lk.LakeConfig(object_name="metal plate", top_k=40))
    lake.fit([example.image for example in sample.normals[:3]])
    result = lake.explain(next(one.image for one in sample.tests if one.image.name.endswith("rust/002.jpg")))
    outside = [number for number in range(12, 22) if number != 15]
    learned = [layer_alone(lake, number) for number in outside]
    maps = [scores_alone(lake, one, result.image) for one in learned if one is not None]
    scored = [scored_image(result, pending=outside), scored_image(result, maps)]
    files = [tmp_path_factory.mktemp("layers") / name for name in ("before.html", "after.html")]
    for path, one in zip(files, scored, strict=True):
        path.write_text(html.page(encode(one), path.name), encoding="utf-8")
    return maps, [path.as_uri() for path in files]


@pytest.mark.parametrize("width", [390, 1100, 1440])
def test_layers_that_arrive_move_nothing(chromium: Browser, layered: Any, width: int) -> None:
    places = []
    for address in layered[1]:
        page = chromium.new_page(viewport={"width": width, "height": 900})
        page.goto(address)
        page.wait_for_selector(".ms-story strong")
        parts = (".ms-stage", ".ms-layers", ".ms-layer-line", ".ms-decomposition", ".ms-matrix", ".ms-top", ".ms-card")
        places.append([page.locator(part).bounding_box() for part in parts])
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(FAINT) == []
        page.close()
    assert places[0] == places[1]


def test_each_layers_own_map_is_reached_by_pointer_and_by_keys(chromium: Browser, layered: Any) -> None:
    maps, (_, address) = layered
    page = chromium.new_page(viewport={"width": 1440, "height": 900})
    page.goto(address)
    page.wait_for_selector(".ms-story strong")
    layers, line = page.locator(".ms-layer"), page.locator(".ms-layer-line span").first
    assert [name.strip() for name in layers.all_inner_texts()] == [
        "12",
        "13",
        "14",
        "● 15",
        *map(str, range(16, 22)),
    ]
    stage = page.locator(".ms-map")
    score_map = stage.evaluate("canvas => canvas.toDataURL()")
    own = {one.layers[0].memory_bank.selection.layer: one for one in maps}
    for place, number in ((0, 12), (7, 19)):
        layers.nth(place).hover()
        first = ", ".join(map(str, own[number].layers[0].memory_bank.selection.neurons[:5]))
        assert f"Layer {number}, outside of the score" in line.inner_text()
        assert f"greatest value {own[number].visual.max():.2f}. 40 of" in line.inner_text()
        assert line.inner_text().endswith(f"first {first}.")
        assert stage.evaluate("canvas => canvas.toDataURL()") != score_map
        assert f"Layer {number} by itself" in page.locator(".ms-bar-title").inner_text()
    page.mouse.move(5, 5)
    assert stage.evaluate("canvas => canvas.toDataURL()") == score_map
    tab_to(page, "ms-layers")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.locator(".ms-stage").focus()
    assert "Layer 13 by itself" in page.locator(".ms-bar-title").inner_text()
    page.keyboard.press("Escape")
    assert stage.evaluate("canvas => canvas.toDataURL()") == score_map
    page.get_by_role("button", name="Numbers as a table").click()
    table = page.get_by_role("table", name="Layers, each by itself")
    row = table.get_by_role("row").nth(1).locator("th, td").all_inner_texts()
    assert row[:2] + row[-1:] == ["12", "no", f"{own[12].visual.max():.3f}"]
    page.close()
