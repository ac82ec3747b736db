"""Server time of interactions with 400 test images in the dashboard, as ratios to one forward pass of the same run.

python -m pytest tests/benchmarks/test_many_images.py -q
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard.services.analysis import hook_points_to_compute
from dashboard.services.jobs import jobs
from dashboard.services.models import model
from dashboard.settings import Settings
from dashboard.workspace import MAX_IMAGES, Workspace
from lake_core.data.datasets import Example
from lake_core.data.images import read_image
from lake_core.data.samples import load_sample
from tests.benchmarks.test_pages import one_forward
from tests.dashboard.visit import opened, over

pytestmark = pytest.mark.timeout(1800)
ROUNDS = 3
MOST = 20
"""Forward passes of one image that an interaction may take; 50 ms each make a second."""


@pytest.fixture(scope="module", autouse=True)
def small_disk() -> Iterator[None]:
    """On a server whose disk holds only the layers that are needed: the network runs once, in a minute."""
    st.cache_resource.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dashboard.services.cache.MAX_DISK_BYTES", 2**30)
        yield
    st.cache_resource.clear()


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["app.py"])


@pytest.fixture(scope="module")
def workspace() -> Workspace:
    """The sample hazelnut, its test images with grain over and over until there are 400; all through the network."""
    sample, rng = load_sample("hazelnut"), np.random.default_rng(0)
    tests = []
    for i in range(MAX_IMAGES):
        example = sample.tests[i % len(sample.tests)]
        grain = rng.integers(-12, 13, example.image.rgb.shape)
        rgb = np.clip(example.image.rgb + grain, 0, 255).astype(np.uint8)
        tests.append(Example(read_image(rgb, f"{example.label}/{i:03}.png"), example.label))
    found = Workspace(sample.normals[:8], tuple(tests), "many")
    hook_points = hook_points_to_compute(Settings(), found)
    model(Settings().model).ensure(found.images, hook_points.needed, besides=hook_points.all)
    return found


def look_at(app: AppTest, workspace: Workspace, i: int) -> None:
    image = workspace.tests[50 * i].image.sha256
    app.session_state.session.focus = replace(app.session_state.session.focus, image=image, patch=None)


def weigh(app: AppTest, i: int) -> None:
    next(one for one in app.sidebar.slider if one.label.startswith("Fusion weight")).set_value((0.1, 0.5, 0.2, 0.4)[i])


CHANGES: dict[str, tuple[str, Callable[[AppTest, Workspace, int], object]]] = {
    "images found by name": (
        "images",
        lambda app, _, i: app.text_input(key="find").set_value(("good/*", "3", "*9.png", "")[i]),
    ),
    "another threshold": (
        "results",
        lambda app, _, i: app.slider(key="threshold_slider").set_value((1.0, 1.2, 1.4, 1.6)[i]),
    ),
    "another order": (
        "results",
        lambda app, _, i: app.selectbox(key="sort").set_value(
            ("name", "label", "score, lowest first", "visual part, highest first")[i]
        ),
    ),
    "another weight on Results": ("results", lambda app, _, i: weigh(app, i)),
    "another image on Explain": ("explain", look_at),
    "another weight on Explain": ("explain", lambda app, _, i: weigh(app, i)),
    "another image on Neurons": ("neurons", look_at),
}


@pytest.mark.parametrize("what", CHANGES)
def test_an_interaction_with_400_images_takes_no_longer_than_a_few_forward_passes(
    what: str, workspace: Workspace, ratios: list[str]
) -> None:
    page, change = CHANGES[what]
    app = opened(workspace, page)
    taken = []
    for i in range(ROUNDS + 1):
        end_work_ahead(app)
        change(app, workspace, i)
        started = time.perf_counter()
        app.run()
        taken.append(time.perf_counter() - started)
        assert not app.exception
    ratio = float(np.median(taken[1:])) / one_forward()
    ratios.append(f"{what}, 8 normals and {MAX_IMAGES} tests: {ratio:.1f} x one forward pass")
    assert ratio < MOST


def end_work_ahead(app: AppTest) -> None:
    job = jobs().latest(f"{app.session_state.session.number} {app.session_state.session.tab}", "ahead")
    if job is not None and job.is_running:
        job.cancel()
        over(job)
