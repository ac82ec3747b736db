"""Every page, empty and full, through Streamlit's AppTest with the real default model."""

import gc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.services.models import model
from dashboard.services.registry import registry
from dashboard.settings import ModelKey, Pin
from dashboard.workspace import Workspace
from lake_core.backbones.backbone import Backbone
from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.datasets import Dataset, Example
from lake_core.data.samples import load_sample
from lake_core.detector.lake import Lake
from tests.dashboard.visit import APP, full, opened, press, run, table, texts

PAGES = (
    "images",
    "results",
    "explain",
    "neurons",
    "selection",
    "text_prompts",
    "interventions",
    "evaluate",
    "compare",
)


def store() -> Any:
    return model(ModelKey("lake-cnn", 384))


def test_the_search_for_garbage_after_each_run_leaves_imports_out() -> None:
    opened()
    assert gc.get_freeze_count() > 300_000


@pytest.mark.parametrize("page", PAGES)
def test_each_page_opens_empty_and_says_what_to_do(page: str) -> None:
    app = opened(page=page)
    assert not app.exception
    labels = [button.label for button in app.button]
    samples = [label for label in labels if label.startswith("Open ")]
    assert samples[:5] == ["Open hazelnut", "Open deeppcb", "Open metal", "Open textile", "Open gravel"]


@pytest.mark.parametrize("page", PAGES)
def test_each_page_opens_with_images(page: str, small: Dataset) -> None:
    app = full(small, page)
    assert not app.exception
    assert not app.error


@pytest.mark.parametrize("page", ["results", "selection", "neurons", "explain"])
def test_one_normal_image_is_enough(page: str, small: Dataset) -> None:
    app = opened(Workspace(small.normals[:1], small.tests[:1], "one"), page)
    assert not app.exception
    assert not app.error


@pytest.mark.parametrize("section", ["Images", "Table", "Histogram"])
def test_results_open_in_the_section_that_was_left(section: str, small: Dataset) -> None:
    app = run(full(small, "results"), results_section=section)
    app.switch_page("app_pages/selection.py").run()
    app.switch_page("app_pages/results.py").run()
    shown = {
        "Images": any(widget.label == "Sort by" for widget in app.selectbox),
        "Table": bool(app.dataframe),
        "Histogram": bool(app.get("plotly_chart")),
    }
    assert [name for name, is_shown in shown.items() if is_shown] == [section]


def test_scores_equal_those_of_the_core(small: Dataset) -> None:
    app = full(small, "results")
    lake = Lake(store().backbone, LakeConfig(), store()).fit([example.image for example in small.normals])
    rows = table(app)
    for example in small.tests:
        row = rows[rows["path"] == example.image.name].iloc[0]
        assert row["score"] == pytest.approx(lake.explain(example.image).score, abs=1e-6)
        assert row["threshold"] == pytest.approx(lake.threshold_, abs=1e-6)


@pytest.mark.parametrize(
    ("site", "label", "value"),
    [
        ("slider", "Neurons kept per layer (K)", 20),
        ("slider", "Fusion weight (w)", 0.8),
        ("selectbox", "Sensitivity criterion", "robust"),
        ("multiselect", "Layers (of 21)", [12, 15]),
    ],
)
def test_moving_a_control_changes_scores_without_running_the_network(
    site: str, label: str, value: Any, small: Dataset
) -> None:
    app = full(small, "results")
    before, n_forwards = table(app)["score"].tolist(), store().n_forwards
    next(widget for widget in getattr(app.sidebar, site) if widget.label == label).set_value(value)
    app.run()
    assert not app.exception
    assert table(app)["score"].tolist() != pytest.approx(before, abs=1e-6)
    assert store().n_forwards == n_forwards


def test_moving_the_threshold_changes_decisions_and_can_be_undone(small: Dataset) -> None:
    app = full(small, "results")
    own = table(app)["threshold"][0]
    next(widget for widget in app.slider if widget.label == "Decision threshold").set_value(0.0)
    app.run()
    assert table(app)["is_anomalous"].all()
    next(button for button in app.button if button.label == "Reset threshold").click()
    app.run()
    assert table(app)["threshold"][0] == pytest.approx(own)


@pytest.mark.parametrize("good", [0, 1])
def test_best_f1_decides_as_its_figure_says(good: int, small: Dataset) -> None:
    """The good image is the lowest one, below all defective ones, or the next: then all count as anomalous."""
    ranked = table(full(small, "results")).sort_values("score")
    labels = {name: "good" if hook_point == good else "defective" for hook_point, name in enumerate(ranked["path"])}
    tests = tuple(replace(e, label=labels[e.image.name]) for e in small.tests)  # type: ignore[arg-type]
    app = press(opened(Workspace(small.normals, tests, small.name), "results"), "Best F1")
    assert not app.exception
    decided = table(app).set_index("path")["is_anomalous"]
    assert decided[[name for name, label in labels.items() if label == "defective"]].all()
    assert decided[ranked["path"].iloc[good]] == (good == 1)


def test_a_threshold_below_every_slider_position_is_kept(small: Dataset) -> None:
    app = opened(Workspace(small.normals, small.tests, small.name), "results", own_threshold=-0.001)
    assert not app.exception
    assert set(table(app)["threshold"]) == {-0.001}


def test_a_wrong_model_gives_one_sentence(small: Dataset) -> None:
    app = opened(Workspace(small.normals, small.tests, "metal"))
    next(widget for widget in app.selectbox if widget.label == "Backbone").set_value("another model …")
    app.run()
    next(widget for widget in app.text_input if widget.label == "Model").set_value("ViT-B-32:nope")
    app.run()
    assert not app.exception
    assert any("has no pretrained tag 'nope'" in error.value for error in app.error)


def test_settings_survive_a_model_that_cannot_be_opened(small: Dataset) -> None:
    app = opened(Workspace(small.normals, small.tests, "metal"))
    next(widget for widget in app.slider if widget.label == "Fusion weight (w)").set_value(0.75)
    app.run()
    for choice in ("another model …", "lake-cnn"):
        next(widget for widget in app.selectbox if widget.label == "Backbone").set_value(choice)
        app.run()
    assert next(widget for widget in app.slider if widget.label == "Fusion weight (w)").value == 0.75


def test_a_new_session_with_the_link_finds_images_and_selection(small: Dataset) -> None:
    first = full(small, "explain")
    pin = Pin(ModelKey("lake-cnn", 384), 15, "mlp_hidden", 3)
    first.session_state.session.pins = (pin,)
    second = AppTest.from_file(str(APP), default_timeout=120)
    for name, value in first.session_state.session.link.items():
        second.query_params[name] = value
    second.run()
    assert not second.exception
    assert second.session_state.session.number == first.session_state.session.number
    assert second.session_state.session.focus.image == first.session_state.session.focus.image
    assert second.session_state.session.pins == (pin,)


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    "spec", ["hf-hub:evil/x", "ViT-B-16:openai", "local-dir:/tmp", "checkpoint:/a.pt@/b", "lake-rnn"]
)
def test_a_link_neither_opens_nor_names_a_model(monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    opened_specs: list[str] = []

    def spy(asked: str, **options: Any) -> Backbone:
        opened_specs.append(asked)
        return open_backbone(asked, **options)

    monkeypatch.setattr("dashboard.services.models.open_backbone", spy)
    monkeypatch.setattr("socket.create_connection", lambda *_, **__: pytest.fail("something is fetched"))
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.query_params["model"] = spec
    app.run()
    assert not app.exception
    assert set(opened_specs) == {"lake-cnn"}
    assert next(widget for widget in app.selectbox if widget.label == "Backbone").value == "lake-cnn"
    assert app.session_state.session.link["model"] == "lake-cnn"
    assert any("A link opens only the models that come with LAKE Explorer" in warning.value for warning in app.warning)
    assert spec not in texts(app)


def test_a_link_names_shipped_models_only() -> None:
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.query_params["model"] = "lake-vit"
    app.run()
    assert next(widget for widget in app.selectbox if widget.label == "Backbone").value == "lake-vit"
    next(widget for widget in app.selectbox if widget.label == "Backbone").set_value("another model …")
    app.run()
    next(widget for widget in app.text_input if widget.label == "Model").set_value("local-dir:/no/such/folder")
    app.run()
    assert "/no/such" not in str(app.session_state.session.link)


def test_a_link_that_the_server_forgot_is_told_in_one_sentence() -> None:
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.query_params["w"] = "unknown"
    app.run()
    assert any("no longer on the server" in warning.value for warning in app.warning)


def test_two_sessions_do_not_share_a_workspace(small: Dataset) -> None:
    one, other = full(small, "results"), opened()
    assert other.session_state.session.number != one.session_state.session.number
    held = [registry().find(app.session_state.session.number) for app in (one, other)]
    assert [each.workspace.n_images for each in held if each is not None] == [6, 0]
    assert any(button.label == "Open metal" for button in other.button)


@pytest.mark.parametrize("page", ["neurons", "explain", "text_prompts", "interventions"])
def test_who_brings_the_images_of_another_sees_their_own_names(small: Dataset, page: str) -> None:
    def named_by(owner: str) -> Dataset:
        def own(examples: tuple[Example, ...]) -> tuple[Example, ...]:
            return tuple(replace(e, image=replace(e.image, name=f"{owner}/{e.image.name}")) for e in examples)

        return replace(small, normals=own(small.normals), tests=own(small.tests))

    def shown_to(owner: str) -> str:
        app = full(named_by(owner), page)
        components = [one.proto for one in app.get("bidi_component")]
        return repr(app.main) + "".join(one.json + one.bytes.decode("latin-1") for one in components)

    shown = [shown_to(owner) for owner in ("first", "second")]
    assert "first/" in shown[0]
    assert "second/" in shown[1]
    assert "first/" not in shown[1]


def test_labels_that_are_known_are_measured(small: Dataset) -> None:
    tests = (*small.tests, replace(small.tests[1], image=load_sample("metal").tests[2].image, label=None))
    app = opened(Workspace(small.normals, tests, "metal"), "results")
    shown = {metric.label: metric.value for metric in app.metric}
    scores = table(app).set_index("path")["score"]
    good, bad = ([scores[e.image.name] for e in tests if e.label == label] for label in ("good", "defective"))
    assert shown["Image AUROC"] == f"{np.mean([[b > g for b in bad] for g in good]):.3f}"
    assert shown["True positives"].endswith(" of 2")
    assert "over the 3 labelled test images" in texts(app)
    assert not next(button for button in app.button if button.label == "Best F1").disabled


def test_starting_over_forgets_what_was_said_of_the_images(small: Dataset) -> None:
    app = full(small, "text_prompts")
    next(field for field in app.text_input if field.label == "Object name").set_value("flange")
    app.run()
    next(area for area in app.text_area if area.label.startswith("Phrases for anomalous")).set_value("rusty {}")
    press(app, "Use these prompts")
    changed = app.session_state.session.settings.config
    assert (changed.object_name, changed.prompts.anomalous_states) == ("flange", ("rusty {}",))
    app.switch_page("app_pages/images.py").run()
    press(app, "Remove all images")
    config = app.session_state.session.settings.config
    assert (config.object_name, config.prompts) == (LakeConfig().object_name, LakeConfig().prompts)
    assert app.session_state.session.workspace.is_empty
    assert not app.exception
