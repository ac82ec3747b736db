"""The page Explain: what it hands to the microscope and says beside it, against the core."""

import base64
import io
import json
import re
import threading
from dataclasses import replace
from decimal import Decimal
from threading import Event
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from dashboard.components.microscope import NAME
from dashboard.services import every_layer, images
from dashboard.services.analysis import Analysis, analyse
from dashboard.services.cache import results
from dashboard.services.controls import control_key
from dashboard.services.jobs import Job, jobs
from dashboard.session import Focus
from dashboard.words import of_normals
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from lake_core.data.images import InputImage
from lake_core.data.samples import measured_sample
from lake_core.detector.lake import Lake
from lake_core.detector.microscope import scored_image
from lake_core.detector.scoring import PatchScores
from lake_core.experiments.controls import RandomControl
from lake_core.experiments.text_similarity import image_probabilities
from lake_core.metrics.bootstrap import Interval
from lake_core.neurons.statistics import neuron_table
from lake_core.visualization.microscope.payload import encode
from lake_core.visualization.microscope.view import NeuronNote, ScoredImage
from tests.core.visualization.blob import read_blob
from tests.dashboard.visit import component, full, highest, opened, over, press, run, texts

SECTIONS = {
    "Random neurons": "The control: do as many",
    "Neurons of a layer": "a click opens the neuron",
    "Comparison": "All differences add up to",
    "Fusion weight": "Change the weight in the sidebar",
    "Contributions": "The CSV has all digits",
}
"""What each says of itself, and no other does."""


def notes(found: Analysis) -> dict[tuple[int, int], NeuronNote]:
    """The AUROC alone of the selected neurons, as the core's table has it."""
    table = neuron_table(found.lake, 15, found.workspace.tests)
    chosen = table[table["selected"]]
    return {(15, neuron): NeuronNote(auroc) for neuron, auroc in zip(chosen["neuron"], chosen["auroc"], strict=True)}


def payload(app: AppTest) -> bytes:
    found: bytes = component(app, NAME).bytes
    return found


def strip(app: AppTest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(component(app, "lake_film_strip").json)
    return found


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_opens(section: str, small: Dataset) -> None:
    app = run(full(small, "explain"), explain_section=section)
    said = "\n".join([texts(app), *(button.label for button in app.button)])
    assert [name for name, words in SECTIONS.items() if words in said] == [section]


@pytest.mark.usefixtures("fresh")
def test_the_microscope_shows_the_cores_result(
    small: Dataset, found: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs(), "_begin", lambda *_: Job("never", None))
    app = full(small, "explain")
    good = next(one for one in found.scores if one.image == found.workspace.tests[0].image)
    assert found.workspace.tests[0].label == "good"
    pending = [layer for layer in found.lake.backbone.layers_with("mlp_hidden") if layer != 15]
    expected = scored_image(highest(found), notes=notes(found), other=good, pending=pending, vmax=found.scale.vmax)
    same = payload(app) == encode(expected)
    assert same, "pytest would look for the difference of a million bytes for minutes"
    next(widget for widget in app.slider if widget.label == "Fusion weight (w)").set_value(0.75)
    run(app)
    other = found.lake.with_weights(fusion_weight=0.75)
    again = [other.explain(image) for image in found.images]
    shown = next(one for one in again if one.image == highest(found).image)
    read = read_blob(payload(app))
    assert read.header["score"] == shown.score
    assert read.header["other"]["name"] == again[0].image.name


def test_the_film_strip_has_all_test_images_by_score_and_the_normal_ones(small: Dataset, found: Analysis) -> None:
    app = full(small, "explain")
    shown, order = strip(app), sorted(found.scores, key=lambda one: -one.score)
    assert [one["sha256"] for one in shown["tests"]] == [one.image.sha256 for one in order]
    assert [(one["score"], one["is_above"]) for one in shown["tests"]] == [
        (f"{one.score:.2f}", bool(one.is_anomalous)) for one in order
    ]
    assert {one["is_above"] for one in shown["tests"]} == {True, False}
    assert shown["shown"] == order[0].image.sha256
    own = zip(found.lake.normals_, found.lake.normal_scores_, strict=True)
    assert shown["normals"] == [{"name": image.name, "score": f"{score:.2f}"} for image, score in own]
    sheet = Image.open(io.BytesIO(base64.b64decode(shown["sprite"].split(",")[1])))
    side = sheet.width // shown["columns"]
    for i, image in enumerate([*(one.image for one in order), *found.lake.normals_]):
        row, column = divmod(i, shown["columns"])
        frame = np.asarray(sheet)[row * side : (row + 1) * side, column * side : (column + 1) * side]
        assert np.abs(frame.mean(axis=(0, 1)) - image.rgb.mean(axis=(0, 1))).max() < 3


def test_the_film_strip_marks_the_shared_image(small: Dataset, found: Analysis) -> None:
    app = full(small, "explain")
    last = min(found.scores, key=lambda one: one.score)
    run(app, focus=Focus(last.image.sha256))
    assert strip(app)["shown"] == last.image.sha256


def alone(found: Analysis, image: InputImage) -> list[PatchScores]:
    """The image's maps by detectors of one layer each, of the layers outside of the score."""
    lake = found.lake
    layers = [layer for layer in lake.backbone.layers_with(lake.config.site) if layer not in lake.selection_]
    configs = [replace(lake.config, layers=(layer,), fusion_weight=0.0) for layer in layers]
    return [Lake(lake.backbone, one, lake.store).fit(lake.normals_).explain(image).patch_scores for one in configs]


@pytest.mark.usefixtures("fresh")
def test_all_layers_are_computed_beside_the_page_without_being_asked_for(small: Dataset, found: Analysis) -> None:
    looked = Event()
    jobs().beside("another visitor", "first in the queue", "Waiting", lambda show: looked.wait(60), "ahead")
    app = full(small, "explain")
    before = read_blob(payload(app)).header
    assert [layer["layer"] for layer in before["layers"]] == [15]
    assert before["pending"] == [*range(2, 15), *range(16, 22)]
    looked.set()
    assert over(ahead(app)).status == "done"
    run(app)
    one = highest(found)
    shown, expected = read_blob(payload(app)), alone(found, one.image)
    assert [layer["layer"] for layer in shown.header["layers"]] == list(range(2, 22))
    assert [layer["layer"] for layer in shown.header["layers"] if layer["in_score"]] == [15]
    assert shown.header["pending"] == []
    for scores in expected:
        (matches,) = scores.layers
        number = matches.memory_bank.selection.layer - 2
        np.testing.assert_allclose(shown.sections[f"{number}.map"], scores.visual, rtol=1e-5)
        layer = shown.header["layers"][number]
        assert layer["tau"] == pytest.approx(matches.memory_bank.tau, rel=1e-5)
        assert layer["first"] == matches.memory_bank.selection.neurons[:5].tolist()


@pytest.mark.usefixtures("fresh")
def test_the_next_image_is_prepared_ahead(small: Dataset, found: Analysis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the page of the next image finds its payload; with another weight it is another payload."""
    app = full(small, "explain")
    over(ahead(app))
    second = sorted(found.scores, key=lambda one: -one.score)[1]
    made: list[str] = []

    def noted(scored: ScoredImage) -> bytes:
        made.append(scored.shown.image.name)
        return encode(scored)

    monkeypatch.setattr(images, "encode", noted)
    run(app, focus=Focus(second.image.sha256))
    assert made[:1] != [second.image.name]
    first = read_blob(payload(app)).header
    assert first["image"]["name"] == second.image.name


@pytest.mark.usefixtures("fresh")
def test_the_same_image_under_another_name_has_layers_of_its_own(small: Dataset) -> None:
    app = full(small, "explain")
    over(ahead(app))
    run(app)
    renamed = tuple(replace(e, image=replace(e.image, name=f"mine/{e.image.name}")) for e in small.tests)
    other = full(Dataset("mine", small.normals, renamed), "explain")
    over(ahead(other))
    run(other)
    assert read_blob(payload(other)).header["image"]["name"].startswith("mine/")


@pytest.mark.usefixtures("fresh")
def test_layers_that_were_cancelled_are_offered(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow(*_: Any) -> None:
        begun.set()
        assert may_end.wait(100)

    monkeypatch.setattr(every_layer, "layer_alone", slow)
    app = full(small, "explain")
    assert begun.wait(60)
    press(app, "Cancel")
    may_end.set()
    assert over(ahead(app)).status == "cancelled"
    run(app)
    assert len(read_blob(payload(app)).header["pending"]) == 19
    press(app, "Compute all layers")
    assert over(ahead(app)).status == "done"
    assert read_blob(payload(run(app))).header["pending"] == []


@pytest.mark.usefixtures("fresh")
def test_what_takes_long_is_offered_with_its_time(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(every_layer, "_PRODUCTS_PER_SECOND", 1e8)
    app = full(small, "explain")
    assert over(ahead(app)).status == "done"
    (offer,) = [button for button in app.button if button.label.startswith("Compute all layers (about")]
    assert re.search(r"about \d+ (s|min)\)", offer.label)
    assert len(read_blob(payload(run(app))).header["pending"]) == 19


def ahead(app: AppTest) -> Job:
    """The work ahead of the page."""
    session = app.session_state.session
    job = jobs().latest(f"{session.number} {session.tab}", "ahead")
    assert job is not None
    return job


def test_the_table_is_of_the_patch_that_is_fixed(small: Dataset, found: Analysis) -> None:
    score = highest(found)
    app = full(small, "explain")
    app.session_state.session.focus = Focus(score.image.sha256, patch=score.patch + 2)
    run(app, explain_section="Contributions")
    expected = score.contributions(score.patch + 2)
    assert f"add up to {expected['contribution'].sum():.4f}, of patch {score.patch + 2}, which is fixed" in texts(app)
    shown = app.dataframe[0].value
    assert shown["neuron"].tolist() == expected["neuron"].tolist()
    assert shown["contribution"].to_numpy() == pytest.approx(expected["contribution"].to_numpy(), abs=1e-4)


def test_a_patch_beside_the_image_is_forgotten(small: Dataset, found: Analysis) -> None:
    app = full(small, "explain")
    app.session_state.session.focus = Focus(highest(found).image.sha256, patch=24 * 24)
    run(app, explain_section="Contributions")
    assert "of the image score" in texts(app)
    assert app.session_state.session.focus.patch is None


def test_the_chosen_patch_stays_in_the_image_when_the_grid_changes(small: Dataset, found: Analysis) -> None:
    score = highest(found)
    assert (score.patch_scores.grid.rows, score.patch_scores.grid.cols) == (24, 24)
    app = full(small, "explain")
    app.session_state.session.focus = Focus(score.image.sha256, patch=4 * 24 + 17)
    run(app)
    for layers, patch in (([5, 15], 9 * 48 + 35), ([15], 4 * 24 + 17)):
        next(widget for widget in app.sidebar.multiselect if widget.label.startswith("Layers")).set_value(layers)
        run(app)
        assert app.session_state.session.focus.patch == patch


def test_two_images_differ_by_the_difference_of_their_scores(small: Dataset, found: Analysis) -> None:
    app = run(full(small, "explain"), explain_section="Comparison")
    ranked = sorted(found.scores, key=lambda one: -one.score)
    first, last = (Decimal(f"{one.score:.3f}") for one in (ranked[0], ranked[-1]))
    assert f"{first} − {last} = {first - last:+}." in texts(app)


@pytest.mark.usefixtures("fresh")
def test_the_control_stands_beside_the_score_as_far_as_it_is_known(small: Dataset, found: Analysis) -> None:
    app = full(small, "explain")
    assert not any(one.value.startswith("Control") for one in app.caption), "these images were not measured"
    sample = opened(Workspace(small.normals, small.tests, "metal", sample="metal"), "explain")
    measured = measured_sample("metal")
    assert measured is not None
    lake, random = (measured.methods[method].mean for method in ("lake", "random"))
    assert f"image AUROC {lake:.2f} with selected neurons, {random:.2f} with random ones" in texts(sample)
    shown = analyse(app.session_state.session.settings, found.workspace)
    results().put(control_key(shown), RandomControl(0.9, np.array([0.95, 0.9, 0.7]), "auroc", Interval(-0.1, 0.2)))
    assert "Control: no reliable difference from the mean of 3 random selections (AUROC +0.05" in texts(run(app))


def test_beside_a_probability_stands_that_of_the_normal_images(small: Dataset, found: Analysis) -> None:
    values = image_probabilities(found.lake, found.lake.normals_)
    beside = f"normal images: {values.min():.0%} to {values.max():.0%}"
    assert f"({beside})." in texts(run(full(small, "explain"), explain_section="Contributions"))
    assert beside in [one.delta for one in full(small, "text_prompts").metric]


def test_equal_probabilities_are_no_range() -> None:
    assert of_normals(np.array([0.631, 0.634])) == "normal images: 63%"
