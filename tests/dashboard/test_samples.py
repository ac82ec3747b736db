"""The cards of the built-in samples: whose images they are, and what was measured on them, however it turned out."""

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.components.samples import lesson
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from lake_core.data.samples import MeasuredMethod, MeasuredSample, measured_sample, sample_facts, sample_names
from tests.dashboard.visit import APP, opened, press, texts

SOURCES = {
    "hazelnut": ("Hazelnut Toy", "anomalib authors", "creativecommons.org/licenses/by/4.0", "resized"),
    "deeppcb": ("DeepPCB", "Tang et al.", "MIT"),
    "metal": ("Apache-2.0",),
    "textile": ("Apache-2.0",),
    "gravel": ("CC0Textures", "CC0"),
}


def method(mean: float, low: float, high: float) -> MeasuredMethod:
    return MeasuredMethod(mean, low, high, (mean,))


def sample(lake: MeasuredMethod, random: MeasuredMethod, every: MeasuredMethod) -> MeasuredSample:
    return MeasuredSample(4, (0, 1, 2), {"lake": lake, "random": random, "all": every}, 0.5)


def test_each_card_says_whose_images_these_are_and_what_was_measured() -> None:
    said = texts(opened())
    assert set(SOURCES) == set(sample_names())
    for name, words in SOURCES.items():
        facts, measured = sample_facts(name), measured_sample(name)
        assert facts is not None
        assert measured is not None
        assert all(word in facts.credit for word in words)
        assert facts.title in said
        assert facts.credit in said
        assert lesson(measured) in said
        numbers = [measured.methods[one].mean for one in ("lake", "random", "all")]
        assert "Selected neurons **{:.2f}**, random {:.2f}, all {:.2f}".format(*numbers) in said


def test_an_open_sample_is_credited_on_the_page_and_named_to_the_text_part() -> None:
    app = press(opened(), "Open hazelnut")
    assert not app.exception
    assert "Sample hazelnut. Photographs: [Hazelnut Toy]" in texts(app)
    assert app.session_state.object_name == "hazelnut"


def test_images_of_a_visitor_are_credited_to_nobody(small: Dataset) -> None:
    app = opened(Workspace(small.normals, small.tests, "hazelnut"), "results")  # a folder may have any name
    assert "Sample " not in texts(app)


def test_the_demonstration_opens_on_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["app.py", "--sample", "hazelnut"])
    app = AppTest.from_file(str(APP), default_timeout=120).run()
    assert not app.exception
    assert [title.value for title in app.title] == ["Explain"]
    assert "CC BY 4.0" in texts(app)


def test_what_is_said_of_the_selection_is_no_stronger_than_the_intervals() -> None:
    apart = sample(method(0.9, 0.85, 0.95), method(0.7, 0.6, 0.8), method(0.97, 0.96, 0.98))
    assert lesson(apart).endswith("The selection is clearly ahead of random and clearly behind all neurons.")
    close = sample(method(0.95, 0.9, 1), method(0.97, 0.9, 1), method(0.949, 0.9, 1))
    said = "The selection is behind random and level with all neurons, within the 95% intervals."
    assert lesson(close).endswith(said)
    mixed = sample(method(0.9, 0.85, 0.95), method(0.7, 0.6, 0.8), method(0.92, 0.8, 1))
    assert lesson(mixed).endswith("The selection is clearly ahead of random and behind all neurons.")
    both = sample(method(0.95, 0.9, 1), method(0.97, 0.9, 1), method(0.98, 0.9, 1))
    assert lesson(both).endswith("The selection is behind both, within the 95% intervals.")
    chance = sample(method(0.6, 0.4, 0.8), method(0.5, 0.3, 0.7), method(0.55, 0.4, 0.7))
    assert lesson(chance).endswith("None is clearly better than chance.")


def test_light_that_gives_the_defects_away_is_named() -> None:
    plain = sample(method(0.9, 0.85, 0.95), method(0.7, 0.6, 0.8), method(0.92, 0.8, 1))
    assert "brightness" not in lesson(plain)
    assert "border alone tells its defects apart (image AUROC 0.98)" in lesson(replace(plain, border=0.98))
