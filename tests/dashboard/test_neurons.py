"""The page of a neuron: every section of it, with numbers recomputed from the core."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.services.analysis import analyse
from dashboard.services.models import model
from dashboard.session import Focus
from dashboard.settings import ModelKey, Pin, Settings
from dashboard.views.neurons.meaning import in_squares
from dashboard.views.neurons.sheet import sheet
from dashboard.views.neurons.view import NeuronView
from dashboard.workspace import Workspace
from lake_core.backbones.patch_grid import mask_to_patches
from lake_core.config import LakeConfig
from lake_core.data.datasets import Dataset
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.neurons.concepts import ConceptLabels, ConceptScore
from lake_core.neurons.similarity import correlated_neurons
from lake_core.neurons.statistics import neuron_table
from tests.dashboard.visit import full, opened, put, texts

SECTIONS = ("Maps", "Patches", "Distribution", "Correlated neurons", "Concept labels", "Input attribution", "Pinned")


def section(app: AppTest, name: str, **session: Any) -> AppTest:
    app.session_state["neuron_section"] = name
    put(app, **session)
    app.run()
    assert not app.exception
    assert not app.error
    return app


@pytest.fixture
def page(small: Dataset) -> AppTest:
    app = full(small, "neurons")
    app.session_state.session.focus = Focus(app.session_state.session.focus.image, 15, 276)
    return app.run()


@pytest.fixture
def lake(small: Dataset, page: AppTest) -> Lake:
    store = model(ModelKey("lake-cnn", 384))
    return Lake(store.backbone, LakeConfig(), store).fit([example.image for example in small.normals])


@pytest.mark.parametrize(
    ("name", "says", "site", "least"),
    [
        ("Maps", "Greatest activation", "image", 4),
        ("Patches", "Top-activating patches", "image", 12),
        ("Distribution", "Image by image", "plotly_chart", 2),
        ("Correlated neurons", "Selected together with it", "button", 20),
        ("Concept labels", "Concept labels from two independent routes", "text_area", 1),
        ("Input attribution", "Click a patch to attribute", "plotly_chart", 1),
        ("Pinned", "No neuron is pinned yet", "info", 1),
    ],
)
@pytest.mark.parametrize("with_tests", [True, False])
def test_every_section_opens_with_and_without_test_images(
    name: str, says: str, site: str, least: int, with_tests: bool, small: Dataset
) -> None:
    app = opened(Workspace(small.normals, small.tests if with_tests else (), "metal"), "neurons")
    section(app, name)
    assert says in "\n".join([texts(app), *(expander.label for expander in app.expander)])
    assert len(app.get(site)) >= least


def test_the_image_in_full_says_its_greatest_activation(page: AppTest, lake: Lake, small: Dataset) -> None:
    hook_point = lake.backbone.hook_point(15, "mlp_hidden")
    shown = next(e.image for e in small.tests if e.image.sha256 == page.session_state.session.focus.image)
    peak = float(lake.store.get(shown, hook_point)[:, 276].max())
    assert f"Greatest activation {peak:.3f}" in texts(page)


def test_the_pages_numbers_are_those_of_the_table(page: AppTest, lake: Lake, small: Dataset) -> None:
    row = neuron_table(lake, 15, tests=small.tests).set_index("neuron").loc[276]
    shown = {metric.label: metric.value for metric in page.metric}
    assert shown["Rank"] == f"{row['rank']} of 720"
    assert shown["Selected"] == ("yes" if row["selected"] else "no")
    assert shown["Mean, normal patches"] == f"{row['mean']:.3f}"
    assert shown["AUROC on its own"] == f"{row['auroc']:.3f}"


def test_a_crop_leads_to_its_image(page: AppTest, small: Dataset) -> None:
    section(page, "Patches")
    names = {example.image.name: example.image.sha256 for example in small.normals}
    crop = next(b for b in page.button if b.key and b.key.startswith("crop_") and b.label.split(" · ")[1] in names)
    sha256 = names[crop.label.split(" · ")[1]]
    crop.click().run()
    assert not page.exception
    assert page.session_state.neuron_section == "Maps"
    picker = next(box for box in page.selectbox if box.label.startswith("Image ("))
    assert picker.value == sha256


def test_quantiles_inside_and_outside_of_masks(page: AppTest, lake: Lake, small: Dataset) -> None:
    section(page, "Distribution")
    hook_point = lake.backbone.hook_point(15, "mlp_hidden")
    grid = lake.backbone.grid(hook_point)
    inside, outside = [], []
    for example in small.tests:
        if example.mask is None or not example.mask.any():
            continue
        placement = lake.backbone.placement(example.image)
        touched = mask_to_patches(example.mask, grid, placement) > 0
        own, on_image = lake.store.get(example.image, hook_point)[:, 276].numpy(), grid.inside(placement)
        inside.append(own[touched & on_image])
        outside.append(own[~touched & on_image])
    levels = page.dataframe[0].value.set_index("quantile")
    for name, values in (("inside of masks", inside), ("outside of masks", outside)):
        assert levels.loc["0.99", name] == pytest.approx(np.quantile(np.concatenate(values), 0.99), abs=1e-5)


def test_neighbours_are_those_of_the_core_and_can_be_opened(page: AppTest, lake: Lake, small: Dataset) -> None:
    section(page, "Correlated neurons")
    images = [example.image for example in (*small.normals, *small.tests)]
    expected = correlated_neurons(lake, 15, 276, images, 12)
    buttons = [button for button in page.button if button.key and button.key.startswith("neighbour_")]
    assert [b.label for b in buttons] == [f"layer {row.layer} · neuron {row.neuron}" for row in expected.itertuples()]
    first = next(index for index, site in enumerate(expected["site"]) if site == "mlp_hidden")
    buttons[first].click().run()
    assert not page.exception
    assert page.session_state.session.focus.neuron == expected["neuron"][first]
    assert page.session_state.session.focus.layer == expected["layer"][first]


def test_too_few_own_words_are_told_in_one_sentence(page: AppTest) -> None:
    section(page, "Concept labels", vocabulary="scratch\nrust")
    assert any("give at least 3" in warning.value for warning in page.warning)


@pytest.mark.parametrize(("p_value", "says"), [(0.001, "**rust**"), (0.9, None)])
def test_own_words_are_the_only_ones_asked_about_and_chance_gives_none(
    page: AppTest, small: Dataset, monkeypatch: pytest.MonkeyPatch, p_value: float, says: str | None
) -> None:
    words, asked = ("bolt hole", "rust", f"a scratch {p_value}"), []

    def told(lake: Lake, layer: int, neurons: list[int], images: list[InputImage], vocabulary: Any, **_: Any) -> Any:
        asked.append((layer, neurons, {image.sha256 for image in images}, vocabulary))
        return [ConceptLabels(neurons[0], agreement=(ConceptScore("rust", 0.4, p_value),))]

    monkeypatch.setattr("dashboard.views.neurons.meaning.label_concepts", told)
    section(page, "Concept labels", vocabulary="\n".join(words))
    next(button for button in page.button if button.label == "Find concept labels").click().run()
    assert not page.exception
    everything = {example.image.sha256 for example in (*small.normals, *small.tests)}
    assert asked == [(15, [276], everything, words)]
    assert [one.value for one in page.success] == ([] if says is None else [says])
    assert any("No concept label" in one.value for one in page.info) is (says is None)


def test_pixels_of_a_clicked_patch_state_their_baseline_and_error(page: AppTest) -> None:
    section(page, "Input attribution", attribution_steps="32 steps")
    next(button for button in page.button if button.label == "Compute the attribution").click().run()
    assert not page.exception
    assert "on the blurred image it is compared with" in texts(page)
    assert "Completeness error" in texts(page)
    assert not any(button.label == "Compute the attribution" for button in page.button)


def test_two_pinned_neurons_stand_side_by_side(page: AppTest) -> None:
    section(page, "Pinned")
    for neuron in (276, 448):
        page.session_state.session.focus = Focus(page.session_state.session.focus.image, 15, neuron)
        page.run()
        next(button for button in page.button if button.label == "Pin this neuron").click().run()
    assert not page.exception
    assert "neuron 276" in texts(page)
    assert "neuron 448" in texts(page)
    next(button for button in page.button if button.label == "Unpin all").click().run()
    assert "neuron 276" not in texts(page)


def test_a_pin_belongs_to_its_backbone_and_opens_its_neuron(page: AppTest) -> None:
    section(
        page, "Pinned", pins=(Pin(ModelKey("lake-vit", None), 3, "mlp_hidden", 5), Pin(own(page), 13, "mlp_hidden", 7))
    )
    assert "Pinned with another backbone or input size, and hidden here: 1." in texts(page)
    assert "layer 13 · MLP hidden · neuron 7" in texts(page)
    page.button(key="open_13_mlp_hidden_7").click().run()
    assert not page.exception
    assert (page.session_state.session.focus.layer, page.session_state.session.focus.neuron) == (13, 7)
    page.button(key="unpin_13_mlp_hidden_7").click().run()
    assert "No neuron is pinned yet" in texts(page)


def test_there_is_room_for_eight_pins(page: AppTest) -> None:
    full_house = tuple(Pin(own(page), 15, "mlp_hidden", neuron) for neuron in range(8))
    section(page, "Pinned", pins=full_house)
    assert sum(image_text.startswith("layer 15 · MLP hidden") for image_text in texts(page).split("\n")) == 8
    assert page.button(key="pin").disabled


def own(page: AppTest) -> ModelKey:
    """The backbone of the page, as its sidebar names it."""
    settings = page.session_state.session.settings
    return ModelKey(settings.spec, settings.image_size)


def test_a_neighbour_of_the_other_kind_takes_the_sidebar_along(page: AppTest) -> None:
    section(page, "Correlated neurons")
    page.session_state.session.focus = Focus(page.session_state.session.focus.image, 14, 8)
    page.run()
    other = [b for b in page.button if b.key and b.key.startswith("neighbour_") and "_residual_channel_" in b.key]
    assert other, "this neuron has no channel among its neighbours; choose another for this test"
    _, layer, *_, neuron = str(other[0].key).split("_")
    other[0].click().run()
    assert not page.exception
    assert page.session_state.session.settings.config.site == "residual_channel"
    assert (page.session_state.session.focus.layer, page.session_state.session.focus.neuron) == (
        int(layer),
        int(neuron),
    )


def test_the_link_names_a_neuron_that_nobody_has_chosen(small: Dataset) -> None:
    app = full(small, "neurons")
    strongest = next(pills for pills in app.button_group if pills.key == "top_neuron").value
    assert app.query_params["layer"] == "15"
    assert app.query_params["neuron"] == str(strongest[0] if isinstance(strongest, list) else strongest)


def test_a_card_of_the_memory_bank_leads_to_the_image_in_full(page: AppTest, small: Dataset) -> None:
    sha256 = small.normals[1].image.sha256
    page.button(key=f"card_Normal images_{sha256}").click().run()
    assert not page.exception
    assert next(box for box in page.selectbox if box.label.startswith("Image (")).value == sha256


def test_labels_without_masks_compare_defective_with_good_images(page: AppTest, lake: Lake, small: Dataset) -> None:
    section(page, "Distribution")
    hook_point = lake.backbone.hook_point(15, "mlp_hidden")
    levels = page.dataframe[0].value.set_index("quantile")
    for name, label in (("test, labelled defective", "defective"), ("test, labelled good", "good")):
        values = [lake.store.get(one.image, hook_point)[:, 276] for one in small.tests if one.label == label]
        assert levels.loc["0.95", name] == pytest.approx(np.quantile(np.concatenate(values), 0.95), abs=1e-5)


def test_the_same_file_among_normal_and_test_images_opens_every_section(small: Dataset) -> None:
    both = replace(small.normals[0], label="good")
    app = opened(Workspace(small.normals, (both, *small.tests), "metal"), "neurons")
    for name in SECTIONS:
        section(app, name)
    section(app, "Maps")
    for side in ("Test images", "Normal images"):
        app.button(key=f"card_{side}_{both.image.sha256}").click().run()
        assert not app.exception
    picker = next(box for box in app.selectbox if box.label.startswith("Image ("))
    assert sum("test · " in option for option in picker.options) == len(small.tests) + 1


def test_patches_of_the_same_file_on_both_sides_are_two_buttons(small: Dataset) -> None:
    both = replace(small.normals[0], label="good")
    app = opened(Workspace(small.normals[:1], (both,), "metal"), "neurons")
    section(app, "Patches")
    crops = [button.key for button in app.button if button.key and button.key.startswith("crop_False")]
    assert len(crops) == 4  # two of each side


def test_squares_of_pixels_keep_the_total_whatever_the_size() -> None:
    pixels = np.random.default_rng(0).normal(size=(21, 30))
    squares = in_squares(pixels, 8)
    assert squares.shape == (3, 4)
    assert squares[0, 0] == pytest.approx(pixels[:8, :8].sum())
    assert squares[2, 3] == pytest.approx(pixels[16:, 24:].sum())
    assert squares.sum() == pytest.approx(pixels.sum())


def test_the_sheet_is_a_png_and_an_svg_with_its_names_as_text(page: AppTest, lake: Lake, small: Dataset) -> None:
    workspace = Workspace(small.normals, small.tests, "metal")
    found = analyse(Settings(), workspace, None)
    view = NeuronView.of(found, found.lake.selection_[15], 276)
    assert sheet(view, "png").startswith(b"\x89PNG")
    drawing = sheet(view, "svg").decode()
    assert drawing.startswith("<?xml")
    assert "hidden neuron 276" in drawing


def test_a_name_that_looks_like_a_formula_stands_on_the_sheet_as_it_is(small: Dataset, page: AppTest) -> None:
    name = r"$\nothing$ 5.png"
    named = replace(small.tests[0], image=replace(small.tests[0].image, name=name))
    found = analyse(Settings(), Workspace(small.normals, (named,), "metal"), None)
    view = NeuronView.of(found, found.lake.selection_[15], 276)
    assert name in sheet(view, "svg").decode()
