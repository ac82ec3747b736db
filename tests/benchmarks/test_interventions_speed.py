"""What interactions cost that need no forward pass: ratios to one bare forward pass of one image in the same run.

python -m pytest tests/benchmarks/test_interventions_speed.py -q
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage, read_image
from lake_core.data.samples import load_sample
from lake_core.detector.lake import Lake
from lake_core.experiments.ablation import ablate, ablate_tests
from lake_core.experiments.neuron_sets import top_contributing_neurons

N_TESTS = 20


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return open_backbone("lake-cnn")


@pytest.fixture(scope="module")
def tests() -> list[InputImage]:
    """20 test images of the metal sample: its own, and mirrored ones to make up the number."""
    own = [example.image for example in load_sample("metal").tests]
    mirrored = [read_image(np.ascontiguousarray(image.rgb[:, ::-1])) for image in own]
    return [*own, *mirrored][:N_TESTS]


@pytest.fixture(scope="module")
def lake(backbone: Backbone, tests: list[InputImage]) -> Lake:
    """The default model on 8 normals, with everything in the store."""
    normals = [example.image for example in load_sample("metal").normals]
    fitted = Lake(backbone, LakeConfig(object_name="metal plate")).fit(normals)
    fitted.store.ensure(tests, fitted.hook_points)
    return fitted


@pytest.fixture(scope="module")
def one_forward(backbone: Backbone, tests: list[InputImage]) -> float:
    """Seconds of one bare forward pass of one image: the median of several."""
    visual: Any = backbone._model.visual
    pixels = backbone.prepare(tests[0])[None]

    def run() -> None:
        with torch.inference_mode():
            visual(pixels)

    run()
    return float(np.median([seconds(run) for _ in range(7)]))


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measured(
    benchmark: Any, lake: Lake, work: Callable[[], object], what: str, one_forward: float, ratios: list[str]
) -> float:
    """Ratio of the median of some rounds to one forward pass; the network must not have run."""
    n_before = lake.store.n_forwards
    benchmark.pedantic(work, rounds=5, warmup_rounds=1)
    assert lake.store.n_forwards == n_before
    ratio = benchmark.stats.stats.median / one_forward
    benchmark.extra_info["ratio_to_one_forward"] = ratio
    ratios.append(f"{what}: {ratio:.2f} x one forward pass")
    return ratio


def test_switching_neurons_off_for_the_image_on_screen(
    benchmark: Any, lake: Lake, tests: list[InputImage], one_forward: float, ratios: list[str]
) -> None:
    neurons = top_contributing_neurons(lake.explain(tests[14]), 10)
    what = "10 neurons ablated for one image, 8 normals learned again"
    assert measured(benchmark, lake, lambda: ablate(lake, neurons, tests[14]), what, one_forward, ratios) < 6


def test_switching_neurons_off_for_all_tests(
    benchmark: Any, lake: Lake, tests: list[InputImage], one_forward: float, ratios: list[str]
) -> None:
    neurons = top_contributing_neurons(lake.explain(tests[14]), 10)
    what, results = f"10 neurons ablated for {N_TESTS} tests", lake.explain_all(tests)
    assert measured(benchmark, lake, lambda: ablate_tests(lake, neurons, results), what, one_forward, ratios) < 30


def test_the_contributions_of_a_clicked_patch(
    benchmark: Any, lake: Lake, tests: list[InputImage], one_forward: float, ratios: list[str]
) -> None:
    result = lake.explain(tests[14])
    ratio = measured(
        benchmark, lake, lambda: result.contributions(100), "contributions of a patch", one_forward, ratios
    )
    assert ratio < 0.5


def test_moving_the_text_weight_over_all_tests(
    benchmark: Any, lake: Lake, tests: list[InputImage], one_forward: float, ratios: list[str]
) -> None:
    patch_scores = [lake.compute_maps(image) for image in tests]

    def slide() -> list[float]:
        other = lake.with_weights(fusion_weight=0.6)
        return [other.aggregate(one).score for one in patch_scores]

    what = f"fusion weight moved over {N_TESTS} tests"
    assert measured(benchmark, lake, slide, what, one_forward, ratios) < 0.5
