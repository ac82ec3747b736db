"""Server time of the interactions that run no model, as ratios to one forward pass of the same run.

python -m pytest tests/benchmarks/test_pages.py -q
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard.services.jobs import Job, jobs
from dashboard.services.models import model
from dashboard.services.registry import registry
from dashboard.settings import ModelKey
from dashboard.workspace import Workspace
from lake_core.data.datasets import Example
from lake_core.data.images import read_image
from lake_core.data.samples import load_sample
from tests.dashboard.visit import over, put

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
N_NORMALS, N_TESTS = 8, 20
ROUNDS = 7


@pytest.fixture(scope="module", autouse=True)
def own_caches() -> Iterator[None]:
    yield
    st.cache_resource.clear()


@pytest.fixture(scope="module")
def workspace() -> Workspace:
    """The metal sample, with mirrored test images to make 20."""
    metal = load_sample("metal")
    n_more = N_TESTS - len(metal.tests)
    mirrored = tuple(
        Example(read_image(np.ascontiguousarray(one.image.rgb[:, ::-1]), f"mirrored {one.image.name}"), one.label)
        for one in metal.tests[:n_more]
    )
    return Workspace(metal.normals[:N_NORMALS], (*metal.tests, *mirrored), "metal")


@pytest.fixture(scope="module")
def opened(workspace: Workspace) -> Callable[..., AppTest]:
    """Opens a page; the first run of the model is over when it returns."""

    def open_it(page: str, **session: Any) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=300)
        number = registry().create()
        registry().keep(number, workspace=workspace)
        app.query_params["w"] = number
        put(app, **session)
        app.run()
        app.switch_page(f"app_pages/{page}.py").run()
        assert not app.exception
        let_work_ahead_end(app)
        return app

    return open_it


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["app.py"])


def one_forward() -> float:
    """Seconds of one forward pass of one image: the median of several."""
    backbone = model(ModelKey("lake-cnn", 384)).backbone
    pixels = backbone.prepare(load_sample("metal").normals[0].image)[None]
    wanted = {backbone.image_hook_point}
    return float(np.median([_seconds(lambda: backbone.forward(pixels, wanted)) for _ in range(ROUNDS)]))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measured(
    benchmark: Any,
    ratios: list[str],
    what: str,
    change: Callable[[], None],
    app: AppTest,
    before: Callable[[], None] | None = None,
) -> None:
    """Times a run of the page after each change, and writes down its ratio to one forward pass.

    Args:
        before: What is done before each change without being timed.
    """
    n_forwards = model(ModelKey("lake-cnn", 384)).n_forwards

    def change_and_run() -> None:
        change()
        app.run()
        assert not app.exception

    benchmark.pedantic(change_and_run, setup=before, rounds=ROUNDS, warmup_rounds=2)
    ratio = written_down(ratios, what, benchmark.stats.stats.median)
    benchmark.extra_info["ratio_to_one_forward"] = ratio
    assert model(ModelKey("lake-cnn", 384)).n_forwards == n_forwards
    assert ratio < 12


def written_down(ratios: list[str], what: str, seconds: float) -> float:
    """The ratio to one forward pass."""
    ratio = seconds / one_forward()
    ratios.append(f"{what}, {N_NORMALS} normals and {N_TESTS} tests: {ratio:.1f} x one forward pass ({seconds:.2f} s)")
    return ratio


def look_at_another(app: AppTest, workspace: Workspace) -> Callable[[], None]:
    """A change that makes another test image the shared one, each once."""
    images = iter([example.image.sha256 for example in workspace.tests])

    def another() -> None:
        app.session_state.session.focus = replace(app.session_state.session.focus, image=next(images), patch=None)

    return another


def let_work_ahead_end(app: AppTest) -> None:
    """What is prepared for later is not measured, and not to disturb what is."""
    job = jobs().latest(f"{app.session_state.session.number} {app.session_state.session.tab}", "ahead")
    if job is not None:
        over(job)


def beside(app: AppTest) -> Job:
    """The work beside the page."""
    job = jobs().latest(app.session_state.session.number, "page")
    assert job is not None
    return job


def test_opening_the_page_of_another_neuron(benchmark: Any, ratios: list[str], opened: Callable[..., AppTest]) -> None:
    app = opened("neurons")
    neurons = iter(range(100, 700))

    def another() -> None:
        app.session_state.session.focus = replace(app.session_state.session.focus, layer=15, neuron=next(neurons))

    measured(benchmark, ratios, "another neuron's page", another, app)


def test_another_opacity_on_the_page_of_a_neuron(
    benchmark: Any, ratios: list[str], opened: Callable[..., AppTest]
) -> None:
    """All maps are drawn anew: each opacity is met once."""
    app, values = opened("neurons"), iter(np.arange(0.1, 0.7, 0.05).round(2))

    def another() -> None:
        app.slider(key="neuron_opacity").set_value(float(next(values)))

    measured(benchmark, ratios, "overlay opacity on a neuron's page", another, app)


def test_changing_k_on_the_x_ray(benchmark: Any, ratios: list[str], opened: Callable[..., AppTest]) -> None:
    app = opened("selection", selection_view="Layers at a glance")
    values = cycle(range(30, 130, 7))

    def another() -> None:
        slider = next(one for one in app.sidebar.slider if one.label.startswith("Neurons kept"))
        slider.set_value(next(values))

    measured(benchmark, ratios, "K changed on the X-ray", another, app)


@pytest.mark.parametrize("section", ["Contributions", "Fusion weight", "Comparison"])
def test_moving_the_weight_on_explain(
    benchmark: Any, ratios: list[str], opened: Callable[..., AppTest], section: str
) -> None:
    app = opened("explain", explain_section=section)
    values = cycle((0.1, 0.45, 0.2, 0.6, 0.35))

    def another() -> None:
        next(one for one in app.sidebar.slider if one.label.startswith("Fusion weight")).set_value(next(values))

    measured(benchmark, ratios, f"fusion weight moved on Explain ({section})", another, app)


def test_more_neurons_on_the_contact_sheet(benchmark: Any, ratios: list[str], opened: Callable[..., AppTest]) -> None:
    app, numbers = opened("explain", explain_section="Neurons of a layer"), cycle(range(12, 30, 3))

    def another() -> None:
        app.slider(key="sheet_n").set_value(next(numbers))

    measured(benchmark, ratios, "another number of neurons on Explain's contact sheet", another, app)


@pytest.mark.parametrize("section", ["Images", "Table", "Histogram"])
def test_moving_the_threshold_on_results(
    benchmark: Any, ratios: list[str], opened: Callable[..., AppTest], section: str
) -> None:
    """All score maps are drawn anew: each threshold is met once."""
    app, values = opened("results", results_section=section), iter(np.arange(0.8, 1.8, 0.1).round(2))

    def another() -> None:
        app.slider(key="threshold_slider").set_value(float(next(values)))

    measured(benchmark, ratios, f"threshold moved on Results ({section})", another, app)


def test_more_images_on_compare(benchmark: Any, ratios: list[str], opened: Callable[..., AppTest]) -> None:
    app, numbers = opened("compare"), cycle(range(3, 9))

    def another() -> None:
        app.slider(key="n_compared").set_value(next(numbers))

    measured(benchmark, ratios, "another number of images on Compare", another, app)


@pytest.mark.parametrize("page", ["images", "results", "selection", "compare", "evaluate", "interventions"])
def test_a_page_again(benchmark: Any, ratios: list[str], opened: Callable[..., AppTest], page: str) -> None:
    """With nothing changed: what every click on it takes at least."""
    measured(benchmark, ratios, f"the page {page} again", lambda: None, opened(page))


def test_fixing_a_patch_on_explain(benchmark: Any, ratios: list[str], opened: Callable[..., AppTest]) -> None:
    app = opened("explain", explain_section="Contributions")
    patches = cycle(range(150, 400, 7))

    def another() -> None:
        app.session_state.session.focus = replace(app.session_state.session.focus, patch=next(patches))

    measured(benchmark, ratios, "another patch on Explain, with its contributions", another, app)


def test_explaining_another_image(
    benchmark: Any, ratios: list[str], opened: Callable[..., AppTest], workspace: Workspace
) -> None:
    app = opened("explain", explain_section="Contributions")
    another = look_at_another(app, workspace)
    measured(benchmark, ratios, "another image on Explain", another, app, before=lambda: let_work_ahead_end(app))


def test_switching_neurons_off(benchmark: Any, ratios: list[str], opened: Callable[..., AppTest]) -> None:
    app = opened("interventions")
    numbers = iter(range(2, 90))

    def another() -> None:
        next(one for one in app.slider if one.label == "How many").set_value(next(numbers))

    measured(benchmark, ratios, "another number of neurons ablated", another, app)


def test_editing_prompts(benchmark: Any, ratios: list[str], opened: Callable[..., AppTest]) -> None:
    """Of phrases met before: an unknown phrase needs the text tower once, which is not measured here."""
    app = opened("text_prompts")
    texts = cycle(("flawless {}", "perfect {}\nunblemished {}", "{}\nflawless {}"))

    def another() -> None:
        app.text_area(key="typed_normal_states").set_value(next(texts))
        next(button for button in app.button if button.label == "Use these prompts").click()

    measured(benchmark, ratios, "prompts edited", another, app)


def test_the_prompt_of_another_image(
    benchmark: Any, ratios: list[str], opened: Callable[..., AppTest], workspace: Workspace
) -> None:
    """Its texts are known: the page has been opened before."""
    app = opened("text_prompts", prompt_section="Prompt sensitivity")
    measured(benchmark, ratios, "does the wording matter, another image", look_at_another(app, workspace), app)


def test_any_text_met_before(benchmark: Any, ratios: list[str], opened: Callable[..., AppTest]) -> None:
    app = opened("text_prompts", prompt_section="Any text")
    phrases = cycle(("a scratch", "rust"))

    def another() -> None:
        next(field for field in app.text_input if field.label == "A phrase").set_value(next(phrases))

    measured(benchmark, ratios, "any text, a phrase met before", another, app)


def test_contaminated_normals_of_another_image(
    benchmark: Any, ratios: list[str], opened: Callable[..., AppTest], workspace: Workspace
) -> None:
    """The page answers while the work goes on beside it; what that takes is written down, too."""
    app = opened("interventions", experiment="Reference-set contamination")
    what, another = "contaminated normals, another image", look_at_another(app, workspace)
    jobs: list[Job] = []
    measured(benchmark, ratios, f"{what}: the page", another, app, before=lambda: jobs.append(over(beside(app))))
    assert len(set(map(id, jobs))) == ROUNDS + 2
    written_down(ratios, f"{what}: the work beside it", float(np.median([job.seconds for job in jobs])))


def test_asking_for_random_draws(benchmark: Any, ratios: list[str], opened: Callable[..., AppTest]) -> None:
    """Each time with other neurons off; the page answers while the draws go on beside it, the last to their end."""
    app = opened("interventions")
    numbers = iter(range(2, 90))

    def other_neurons() -> None:
        job = jobs().latest(app.session_state.session.number, "page")
        if job is not None:
            job.cancel()
            over(job)
        next(one for one in app.slider if one.label == "How many").set_value(next(numbers)).run()

    def ask() -> None:
        next(button for button in app.button if button.label.startswith("Compare with")).click()

    measured(benchmark, ratios, "random draws asked for: the page", ask, app, before=other_neurons)
    job = over(beside(app))
    assert job.status == "done"
    written_down(ratios, "random draws asked for: the work beside it", job.seconds)
