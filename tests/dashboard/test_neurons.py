"""The page of a neuron: every section of it, with numbers recomputed from the core."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.services.analysis import Analysis, analyse
from dashboard.services.models import model
from dashboard.session import Focus
from dashboard.settings import ModelKey, Pin, Settings
from dashboard.text import escaped
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
from lake_core.neurons.labels import ControlledLabels
from lake_core.neurons.nonsense import nonsense_finding
from lake_core.neurons.similarity import correlated_neurons
from lake_core.neurons.statistics import neuron_table
from lake_core.sentences import sentence
from tests.dashboard.visit import full, highest, opened, press, put, texts, when_done


def drawn(app: AppTest, **session: Any) -> AppTest:
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


def test_a_second_visitor_with_the_same_images_has_a_card_too(small: Dataset, page: AppTest) -> None:
    tests = tuple(replace(one, image=replace(one.image, rgb=one.image.rgb.copy())) for one in small.tests)
    other = opened(Workspace(small.normals, tests, "metal"), "neurons")
    assert not other.exception
    assert "A good image: " in texts(other)


@pytest.mark.parametrize("with_tests", [True, False])
def test_the_card_is_whole_with_and_without_test_images(with_tests: bool, small: Dataset) -> None:
    app = opened(Workspace(small.normals, small.tests if with_tests else (), "metal"), "neurons")
    assert not app.exception
    assert not app.error
    said = texts(app)
    for title in (
        "Where it is active",
        "Top-activating patches",
        "Lowest-activating patches",
        "How its activations are distributed",
        "Correlated neurons",
        "Concept label",
        "Input attribution",
        "On every image",
    ):
        assert f"##### {title}" in said, title
    labels = [button.label for button in app.button]
    assert any(str(button.key).startswith("neighbour_") for button in app.button)  # takes no time with few images
    for asked in ("Find concept labels", "Compute the attribution"):
        assert labels.count(asked) == 1, asked
    assert said.count("Takes about ") == 2
    assert len(app.get("plotly_chart")) == 3
    assert sum(str(button.key).startswith("card_") for button in app.button) == (6 if with_tests else 3)


def test_two_maps_say_their_greatest_activation_and_the_head_compares_it(
    page: AppTest, lake: Lake, small: Dataset
) -> None:
    hook_point = lake.backbone.hook_point(15, "mlp_hidden")

    def peak(image: InputImage) -> float:
        return float(lake.store.get(image, hook_point)[:, 276].max())

    shown = next(e.image for e in small.tests if e.image.sha256 == page.session_state.session.focus.image)
    good, said = small.tests[0].image, texts(page).replace(" (ceiling)", "")
    assert small.tests[0].label == "good"
    for image, what in ((shown, "This image"), (good, "A good image")):
        assert f"{what}: {image.name}" in said.replace("\\", "")
        assert f"Greatest activation {peak(image):.2f}, at the outlined patch" in said
    low, high = (f([peak(e.image) for e in small.normals]) for f in (min, max))
    sign = "↑ more than" if peak(shown) > high else "↓ less than" if peak(shown) < low else "as on normal images:"
    assert f"is {peak(shown):.2f}" in said
    assert f"{sign} {low:.2f} to {high:.2f} on 3 normal images" in said


@pytest.mark.parametrize("is_raised", [True, False])
def test_the_head_says_whether_the_neuron_is_raised_or_lowered_and_what_it_adds(
    page: AppTest, found: Analysis, is_raised: bool
) -> None:
    shown = highest(found)
    table = shown.top_neurons(None, 15, 100)
    row = table[(table["here"] > table["normal"]) == is_raised].iloc[0]
    drawn(page, focus=Focus(shown.image.sha256, 15, int(row["neuron"])))
    word = "↑ More active" if is_raised else "↓ Less active"
    lead = next(one.value for one in page.markdown if one.value.startswith(f"**{word} than normal in "))
    assert f"{row['here']:.3f} here, {row['normal']:.3f} in the nearest normal patch" in lead
    assert f"adds {row['contribution']:.3f} ({row['contribution'] / shown.score:.0%})" in lead
    mark = "↑" if is_raised else "↓"
    assert page.button(key=f"top_{int(table['neuron'][0])}").label.endswith(("↑", "↓"))
    assert any(str(b.key).startswith("top_") and b.label.endswith(mark) for b in page.button)


def test_a_neuron_outside_of_the_selection_takes_no_part(page: AppTest, found: Analysis) -> None:
    last = int(found.lake.selection_[15].order[-1])
    drawn(page, focus=Focus(highest(found).image.sha256, 15, last))
    assert "It takes no part in the score of" in texts(page)
    assert {metric.label: metric.delta for metric in page.metric}["Rank by sensitivity"] == "not selected"


def test_the_ceiling_is_named_where_the_neuron_reaches_it_and_nowhere_else(page: AppTest, found: Analysis) -> None:
    hook_point = found.lake.backbone.hook_point(15, "mlp_hidden")
    acts = np.stack([found.lake.store.get(image, hook_point).numpy() for image in found.workspace.images])
    peaks = acts.max((0, 1))
    assert (peaks == 6).any()
    for neuron, is_reached in ((int(np.flatnonzero(peaks == 6)[0]), True), (int(np.flatnonzero(peaks < 6)[0]), False)):
        drawn(page, focus=Focus(page.session_state.session.focus.image, 15, neuron))
        assert ("6 is the ceiling of this layer's activation function (ReLU6)" in texts(page)) is is_reached
        assert ("6.00 (ceiling)" in texts(page)) is is_reached


def test_activations_that_are_never_negative_have_a_scale_from_zero(found: Analysis) -> None:
    view = NeuronView.of(found, found.lake.selection_[15], 276)
    assert view.scale.low == 0
    assert view.scale.limit >= np.quantile(np.concatenate([own[np.isfinite(own)] for own in view.values]), 0.99)


def test_patches_with_a_common_value_are_told_of_and_not_shown(page: AppTest, found: Analysis) -> None:
    view = NeuronView.of(found, found.lake.selection_[15], 276)
    values = np.concatenate(view.values)
    share = (values == np.nanmin(values)).sum() / np.isfinite(values).sum()
    assert share > 0.1
    assert f"{share:.0%} of all patches have the value {np.nanmin(values):.2f}, so none is shown by itself" in texts(
        page
    )
    crops = [str(button.key) for button in page.button if str(button.key).startswith("crop_")]
    assert len([key for key in crops if key.startswith("crop_False")]) >= 3
    assert not [key for key in crops if key.startswith("crop_True")]


def test_the_pages_numbers_are_those_of_the_table(page: AppTest, lake: Lake, small: Dataset) -> None:
    row = neuron_table(lake, 15, tests=small.tests).set_index("neuron").loc[276]
    shown = {metric.label: metric.value for metric in page.metric}
    assert shown["Rank by sensitivity"] == f"{row['rank']} of 720"
    assert shown["Mean, normal patches"] == f"{row['mean']:.3f}"
    assert shown["AUROC alone"] == f"{row['auroc']:.3f}"


def test_a_crop_leads_to_its_image(page: AppTest, small: Dataset) -> None:
    names = {example.image.name: example.image.sha256 for example in small.normals}
    crop = next(b for b in page.button if b.key and b.key.startswith("crop_") and b.label.split(" · ")[1] in names)
    sha256 = names[crop.label.split(" · ")[1]]
    crop.click().run()
    assert not page.exception
    picker = next(box for box in page.selectbox if box.label.startswith("Image ("))
    assert picker.value == sha256


def test_quantiles_inside_and_outside_of_masks(page: AppTest, lake: Lake, small: Dataset) -> None:
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
    drawn(page, vocabulary="scratch\nrust")
    assert any("give at least 3" in warning.value for warning in page.warning)


@pytest.mark.usefixtures("nothing_at_once")
@pytest.mark.parametrize(("p_value", "says"), [(0.001, "**rust**"), (0.9, None)])
def test_own_words_are_the_only_ones_asked_about_and_chance_gives_none(
    page: AppTest, small: Dataset, monkeypatch: pytest.MonkeyPatch, p_value: float, says: str | None
) -> None:
    words, asked = ("bolt hole", "rust", f"a scratch {p_value}"), []

    def told(lake: Lake, layer: int, neurons: list[int], images: list[InputImage], vocabulary: Any, **_: Any) -> Any:
        asked.append((layer, neurons, {image.sha256 for image in images}, vocabulary))
        return [ConceptLabels(neurons[0], agreement=(ConceptScore("rust", 0.4, p_value),))]

    monkeypatch.setattr("dashboard.views.neurons.meaning.label_concepts", told)
    drawn(page, vocabulary="\n".join(words))
    next(button for button in page.button if button.label.startswith("Find concept labels")).click().run()
    assert not page.exception
    everything = {example.image.sha256 for example in (*small.normals, *small.tests)}
    assert asked == [(15, [276], everything, words)]
    assert [one.value for one in page.success] == ([] if says is None else [says])
    assert any("No concept label" in one.value for one in page.info) is (says is None)


@pytest.mark.usefixtures("nothing_at_once")
@pytest.mark.parametrize(("n_real", "n_nonsense", "wins"), [(9, 1, True), (3, 3, False)])
def test_beside_a_label_stands_what_nonsense_words_get(
    page: AppTest, monkeypatch: pytest.MonkeyPatch, n_real: int, n_nonsense: int, wins: bool
) -> None:
    has_real = np.arange(100) < n_real
    finding = nonsense_finding(has_real, np.arange(100) >= 100 - n_nonsense, 0.05)
    words, asked = ("bolt hole", "rust", f"a scratch {n_real}"), []

    def told(lake: Lake, layer: int, neurons: list[int], *_: Any, **__: Any) -> Any:
        return [ConceptLabels(neurons[0], agreement=(ConceptScore("rust", 0.4, 0.001),))]

    def controlled(lake: Lake, layer: int, neurons: list[int], images: Any, vocabulary: Any, **_: Any) -> Any:
        asked.append((layer, neurons, vocabulary))
        return ControlledLabels((), (), (), finding)

    monkeypatch.setattr("dashboard.views.neurons.meaning.label_concepts", told)
    monkeypatch.setattr("dashboard.views.neurons.meaning.label_with_control", controlled)
    drawn(page, vocabulary="\n".join(words))
    press(page, "Find concept labels")
    assert "selected neurons up to 5 get one by chance" in texts(page)
    when_done(press(page, "Compare with nonsense words"))
    ((layer, neurons, vocabulary),) = asked
    assert (layer, len(neurons), vocabulary) == (15, 100, words)
    boxes = page.info if wins else page.warning
    assert [one.value for one in boxes if "nonsense" in one.value] == [escaped(sentence(finding))]


@pytest.mark.usefixtures("nothing_at_once")
def test_pixels_of_a_clicked_patch_state_their_baseline_and_error(page: AppTest) -> None:
    drawn(page, attribution_steps="32 steps")
    next(button for button in page.button if button.label.startswith("Compute the attribution")).click().run()
    assert not page.exception
    assert "on the blurred image it is compared with" in texts(page)
    assert "Completeness error" in texts(page)
    assert not any(button.label.startswith("Compute the attribution") for button in page.button)


def test_two_pinned_neurons_stand_side_by_side(page: AppTest) -> None:
    assert "Pinned neurons" not in texts(page)
    for neuron in (276, 448):
        page.session_state.session.focus = Focus(page.session_state.session.focus.image, 15, neuron)
        page.run()
        next(button for button in page.button if button.label == "Pin this neuron").click().run()
    assert not page.exception
    assert "MLP hidden · neuron 276 ·" in texts(page)
    assert "MLP hidden · neuron 448 ·" in texts(page)
    next(button for button in page.button if button.label == "Unpin all").click().run()
    assert "MLP hidden · neuron" not in texts(page)


def test_a_pin_belongs_to_its_backbone_and_opens_its_neuron(page: AppTest) -> None:
    drawn(page, pins=(Pin(ModelKey("lake-vit", None), 3, "mlp_hidden", 5), Pin(own(page), 13, "mlp_hidden", 7)))
    assert "Pinned with another backbone or input size, and hidden here: 1." in texts(page)
    assert "layer 13 · MLP hidden · neuron 7" in texts(page)
    page.button(key="open_13_mlp_hidden_7").click().run()
    assert not page.exception
    assert (page.session_state.session.focus.layer, page.session_state.session.focus.neuron) == (13, 7)
    page.button(key="unpin_13_mlp_hidden_7").click().run()
    assert "MLP hidden · neuron" not in texts(page)


def test_there_is_room_for_eight_pins(page: AppTest) -> None:
    full_house = tuple(Pin(own(page), 15, "mlp_hidden", neuron) for neuron in range(8))
    drawn(page, pins=full_house)
    assert sum(image_text.startswith("layer 15 · MLP hidden") for image_text in texts(page).split("\n")) == 8
    assert page.button(key="pin").disabled


def own(page: AppTest) -> ModelKey:
    """The backbone of the page, as its sidebar names it."""
    settings = page.session_state.session.settings
    return ModelKey(settings.spec, settings.image_size)


def test_a_neighbour_of_the_other_kind_takes_the_sidebar_along(page: AppTest) -> None:
    drawn(page, focus=Focus(page.session_state.session.focus.image, 14, 8))
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
    strongest = next(str(button.key).split("_")[1] for button in app.button if str(button.key).startswith("top_"))
    assert app.session_state.session.link["layer"] == "15"
    assert app.session_state.session.link["neuron"] == strongest


def test_a_card_of_the_memory_bank_leads_to_the_image_in_full(page: AppTest, small: Dataset) -> None:
    sha256 = small.normals[1].image.sha256
    page.button(key=f"card_Normal images_{sha256}").click().run()
    assert not page.exception
    assert next(box for box in page.selectbox if box.label.startswith("Image (")).value == sha256


def test_labels_without_masks_compare_defective_with_good_images(page: AppTest, lake: Lake, small: Dataset) -> None:
    hook_point = lake.backbone.hook_point(15, "mlp_hidden")
    levels = page.dataframe[0].value.set_index("quantile")
    for name, label in (("test, labelled defective", "defective"), ("test, labelled good", "good")):
        values = [lake.store.get(one.image, hook_point)[:, 276] for one in small.tests if one.label == label]
        assert levels.loc["0.95", name] == pytest.approx(np.quantile(np.concatenate(values), 0.95), abs=1e-5)


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
