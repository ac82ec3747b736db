"""The Words page: prompts edited on screen against detectors fitted with them."""

from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.components.sidebar import OTHER
from dashboard.services.analysis import Analysis
from dashboard.services.models import model
from dashboard.session import Focus
from dashboard.settings import ModelKey
from dashboard.views.text_prompts.sections import lines_of
from dashboard.workspace import Workspace
from lake_core.config import LakeConfig
from lake_core.data.datasets import Dataset
from lake_core.detector.lake import Lake
from lake_core.experiments.text_similarity import prompt_table
from lake_core.prompts import ANOMALOUS_STATES, NORMAL_STATES, TEMPLATES, PromptEnsemble
from tests.core.tiny import write, write_monotone
from tests.dashboard.visit import full, highest, opened, press, run, table, texts


def use(app: AppTest, **texts: str) -> AppTest:
    for name, text in texts.items():
        app.text_area(key=f"typed_{name}").set_value(text)
    next(button for button in app.button if button.label == "Use these prompts").click().run()
    assert not app.exception
    return app


def test_lines_that_begin_with_a_number_sign_are_off() -> None:
    assert lines_of("flawless {}\n# perfect {}\n\n  {} without flaw  ") == ("flawless {}", "{} without flaw")


@pytest.mark.parametrize("section", ["Prompts", "Prompt sensitivity", "Any text"])
def test_every_section_opens(section: str, small: Dataset) -> None:
    app = full(small, "text_prompts")
    app.session_state["prompt_section"] = section
    app.run()
    assert not app.exception
    assert not app.error


def test_the_prompt_is_changed_prompt_by_prompt_and_summarised(small: Dataset) -> None:
    app = full(small, "text_prompts")
    app.session_state["prompt_section"] = "Prompt sensitivity"
    app.run()
    assert not app.exception
    summary = next(one.value for one in app.dataframe if "changes" in one.value).set_index("family")
    n_prompts = (len(NORMAL_STATES) + len(ANOMALOUS_STATES)) * len(TEMPLATES)
    assert summary.loc["without one prompt", "changes"] == n_prompts == 90
    reworded = summary.loc[["other state words", "other object name"]]
    left_out = summary.drop(index=reworded.index)
    assert f"Of {reworded['changes'].sum()} rewordings (other state words, other object names), " in texts(app)
    assert f"of {left_out['changes'].sum()} wordings with one prompt, phrase or template left out, " in texts(app)
    said = f"reworded between {reworded['lowest'].min():.3f} and {reworded['highest'].max():.3f}"
    assert said in texts(app)


@pytest.mark.parametrize("monotone", [True, False])
def test_any_text_says_where_all_normal_patches_are_alike_to_it(monotone: bool, small: Dataset, tmp_path: Path) -> None:
    folder = write_monotone(tmp_path) if monotone else write("native-vit", tmp_path)
    app = opened(
        Workspace(small.normals, small.tests, small.name),
        "text_prompts",
        backbone_choice=OTHER,
        other_spec=f"local-dir:{folder}",
        prompt_section="Any text",
        any_text_object="a rusty hole",
    )
    assert not app.exception
    assert not app.error
    assert ("All normal patches are equally similar to “a rusty hole” (cosine " in texts(app)) is monotone
    assert ("0 is the median of the normal patches" in texts(app)) is not monotone


def test_the_phrase_to_begin_with_names_the_object_of_now(small: Dataset) -> None:
    app = run(full(small, "text_prompts"), prompt_section="Any text")
    phrase = next(field for field in app.text_input if field.label == "A phrase")
    assert phrase.value == "a scratch on the object"
    app.sidebar.text_input(key="object_name").set_value("hazelnut").run()
    assert not app.exception
    phrase = next(field for field in app.text_input if field.label == "A phrase")
    assert phrase.value == "a scratch on the hazelnut"
    phrase.set_value("a worm").run()
    assert not app.exception
    assert next(field for field in app.text_input if field.label == "A phrase").value == "a worm"


def test_the_similarity_is_of_the_fixed_patch_where_there_is_one(small: Dataset, found: Analysis) -> None:
    score = highest(found)
    other = int(np.flatnonzero(score.patch_scores.inside)[0])
    assert other != score.patch
    app = run(full(small, "text_prompts"), prompt_section="Prompts")
    assert "Cosine with the max-scoring patch and" in texts(app)
    run(app, focus=Focus(image=score.image.sha256, patch=other))
    assert f"Cosine with patch {other}, which is fixed on the page Explain, and" in texts(app)
    table = prompt_table(found.lake, score.image, other)
    assert any(shown.value.equals(table) for shown in app.dataframe)


def test_edited_prompts_score_like_a_detector_fitted_with_them(small: Dataset) -> None:
    app = use(full(small, "text_prompts"), anomalous_states="rusty {}\n# {} with a crack", templates="a photo of a {}.")
    app.switch_page("app_pages/results.py").run()
    assert not app.exception
    prompts = PromptEnsemble(NORMAL_STATES, ("rusty {}",), ("a photo of a {}.",))
    store = model(ModelKey("lake-cnn", 384))
    lake = Lake(store.backbone, LakeConfig(prompts=prompts), store).fit([e.image for e in small.normals])
    rows = table(app)
    for example in small.tests:
        row = rows[rows["path"] == example.image.name].iloc[0]
        expected = lake.explain(example.image)
        assert row["score"] == pytest.approx(expected.score, abs=1e-5)
        assert row["text"] == pytest.approx(expected.text, abs=1e-5)


def test_the_built_in_prompts_come_back(small: Dataset) -> None:
    app = use(full(small, "text_prompts"), normal_states="a {}")
    assert app.session_state.session.settings.config.prompts == PromptEnsemble(("a {}",), ANOMALOUS_STATES, TEMPLATES)
    next(button for button in app.button if button.label == "Restore the built-in prompts").click().run()
    assert not app.exception
    assert app.session_state.session.settings.config.prompts == PromptEnsemble()
    assert app.text_area(key="typed_normal_states").value == "\n".join(NORMAL_STATES)


def test_one_gets_back_from_prompts_that_cannot_be_used(small: Dataset) -> None:
    app = use(full(small, "text_prompts"), normal_states="no hole")
    assert app.text_area(key="typed_normal_states").value == "no hole"
    press(app, "Restore the built-in prompts")
    assert app.text_area(key="typed_normal_states").value == "\n".join(NORMAL_STATES)
    assert next(button for button in app.button if button.label == "Restore the built-in prompts").disabled


@pytest.mark.parametrize(("text", "says"), [("", "at least one phrase for normal"), ("flawless", "exactly one {}")])
def test_prompts_that_cannot_be_used_are_told_and_nothing_changes(text: str, says: str, small: Dataset) -> None:
    app = use(full(small, "text_prompts"), normal_states=text)
    assert any(says in warning.value for warning in app.warning)
    assert app.session_state.session.settings.config.prompts == PromptEnsemble()


def test_edited_prompts_run_no_model_on_images(small: Dataset) -> None:
    app = full(small, "text_prompts")
    store = model(ModelKey("lake-cnn", 384))
    n_before = store.n_forwards
    use(app, normal_states="spotless {}")
    assert store.n_forwards == n_before
