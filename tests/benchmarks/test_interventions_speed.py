"""What interactions cost that need no forward pass: ratios to one bare forward pass of one picture in the same run.

python -m pytest tests/benchmarks/test_interventions_speed.py -q
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from lake_core.backbones.backbone import Backbone, open_backbone
from lake_core.config import LakeConfig
from lake_core.data.datasets import load_sample
from lake_core.data.images import Picture, read_picture
from lake_core.detector.lake import Lake
from lake_core.experiments.ablation import switch_off, switch_off_tests, top_of_ledger

N_TESTS = 20


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return open_backbone("lake-cnn")


@pytest.fixture(scope="module")
def tests() -> list[Picture]:
    """20 test pictures of the metal sample: its own, and mirrored ones to make up the number."""
    own = [example.picture for example in load_sample("metal").tests]
    mirrored = [read_picture(np.ascontiguousarray(picture.rgb[:, ::-1])) for picture in own]
    return [*own, *mirrored][:N_TESTS]


@pytest.fixture(scope="module")
def lake(backbone: Backbone, tests: list[Picture]) -> Lake:
    """The default model on 8 normals, with everything in the store."""
    normals = [example.picture for example in load_sample("metal").normals]
    fitted = Lake(backbone, LakeConfig(object_name="metal plate")).fit(normals)
    fitted.store.ensure(tests, fitted.places)
    return fitted


@pytest.fixture(scope="module")
def one_forward(backbone: Backbone, tests: list[Picture]) -> float:
    """Seconds of one bare forward pass of one picture: the median of several."""
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


def test_switching_units_off_for_the_picture_on_screen(
    benchmark: Any, lake: Lake, tests: list[Picture], one_forward: float, ratios: list[str]
) -> None:
    units = top_of_ledger(lake.score(tests[14]), 10)
    what = "10 units switched off for one picture, 8 normals learned again"
    assert measured(benchmark, lake, lambda: switch_off(lake, units, tests[14]), what, one_forward, ratios) < 6


def test_switching_units_off_for_all_tests(
    benchmark: Any, lake: Lake, tests: list[Picture], one_forward: float, ratios: list[str]
) -> None:
    units = top_of_ledger(lake.score(tests[14]), 10)
    what = f"10 units switched off for {N_TESTS} tests"
    assert measured(benchmark, lake, lambda: switch_off_tests(lake, units, tests), what, one_forward, ratios) < 30


def test_the_ledger_of_a_clicked_patch(
    benchmark: Any, lake: Lake, tests: list[Picture], one_forward: float, ratios: list[str]
) -> None:
    result = lake.score(tests[14])
    ratio = measured(benchmark, lake, lambda: result.ledger(100), "ledger of a patch", one_forward, ratios)
    assert ratio < 0.5


def test_moving_the_text_weight_over_all_tests(
    benchmark: Any, lake: Lake, tests: list[Picture], one_forward: float, ratios: list[str]
) -> None:
    witnesses = [lake.measure(picture) for picture in tests]

    def slide() -> list[float]:
        other = lake.reweighed(text_weight=0.6)
        return [other.fuse(one).score for one in witnesses]

    what = f"text weight moved over {N_TESTS} tests"
    assert measured(benchmark, lake, slide, what, one_forward, ratios) < 0.5
