"""What LAKE costs on top of the network: ratios to bare forward passes of the same images in the same run.

Absolute times say more about the machine than about the code, so none is asserted; the limits on ratios are generous.
    python -m pytest tests/benchmarks -q
"""

import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.budget import MemoryBudget
from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.loading import load
from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage, read_image
from lake_core.detector.lake import Lake

SIDE = 448
BATCH = 4
ROUNDS = 3


def texture(seed: int) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8: grain of several sizes."""
    rng = np.random.default_rng(seed)
    pixels = np.full((SIDE, SIDE, 3), 128.0)
    for cell in (4, 16, 64):
        coarse = rng.normal(0, 18, (SIDE // cell, SIDE // cell, 3))
        pixels += np.kron(coarse, np.ones((cell, cell, 1)))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def png(image: InputImage) -> bytes:
    """A file of the image."""
    file = BytesIO()
    Image.fromarray(image.rgb).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def images() -> list[InputImage]:
    return [read_image(texture(seed), f"texture {seed}") for seed in range(28)]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return open_backbone("lake-cnn", image_size=SIDE)


@pytest.fixture(scope="module")
def model() -> Any:
    """The network as open_clip gives it, without hooks, as anyone would call it."""
    return load("lake-cnn", None).model.visual


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def bare_forwards(model: Any, pixels: torch.Tensor, batch: int = BATCH) -> None:
    with torch.inference_mode():
        for start in range(0, len(pixels), batch):
            model(pixels[start : start + batch])


class Way(NamedTuple):
    """A way to run the bare network."""

    layout: torch.memory_format
    batch: int

    def run(self, model: Any, pixels: torch.Tensor) -> None:
        bare_forwards(model.to(memory_format=self.layout), pixels.contiguous(memory_format=self.layout), self.batch)

    def __str__(self) -> str:
        return f"{'plain' if self.layout is torch.contiguous_format else 'channels last'}, batches of {self.batch}"


WAYS = [Way(layout, batch) for layout in (torch.contiguous_format, torch.channels_last) for batch in (1, 2, 4, 8)]


def test_analysis_costs_little_more_than_the_fastest_bare_network(
    benchmark: Any, backbone: Backbone, model: Any, images: list[InputImage], ratios: list[str]
) -> None:
    """From encoded images to all scores, against what is left of it if only the network ran, as fast as it can."""
    encoded = [png(image) for image in images[:24]]
    pixels = torch.stack([backbone.prepare(image) for image in images[:24]])

    def analysis() -> None:
        lake = Lake(backbone, LakeConfig(), FeatureStore(backbone)).fit(encoded[:4])
        lake.explain_all(encoded[4:])

    taken = {way: min(seconds(partial(way.run, model, pixels[:8])) for _ in range(ROUNDS)) for way in WAYS}
    fastest = min(WAYS, key=lambda way: taken[way])
    analysis()
    # Alternating, so that other work on the machine hits both alike.
    pairs = [(seconds(lambda: fastest.run(model, pixels)), seconds(analysis)) for _ in range(ROUNDS)]
    benchmark.pedantic(analysis, rounds=1)
    ratio = float(np.median([ours / bare for bare, ours in pairs]))
    benchmark.extra_info["ratio_to_bare_forward"] = ratio
    ratios.append(
        f"fit on 4, score 20 ({SIDE} px PNG, hidden neurons, K = 100): {ratio:.2f} x the fastest bare forward passes "
        f"({fastest}); ours in batches of {backbone.batch_size.next()}"
    )
    assert ratio < 1.5


@pytest.fixture(scope="module")
def learned(backbone: Backbone, images: list[InputImage]) -> Lake:
    """8 normals learned and 20 tests in the store."""
    lake = Lake(backbone, LakeConfig()).fit(images[:8])
    lake.store.ensure(images[8:], lake.hook_points)
    return lake


@pytest.fixture(scope="module")
def one_forward(backbone: Backbone, model: Any, images: list[InputImage]) -> float:
    """Seconds of one bare forward pass of one image: the median of several."""
    pixels = backbone.prepare(images[0])[None]
    bare_forwards(model, pixels)
    return float(np.median([seconds(lambda: bare_forwards(model, pixels)) for _ in range(7)]))


def test_moving_the_text_weight_runs_no_model(
    benchmark: Any, learned: Lake, images: list[InputImage], one_forward: float, ratios: list[str]
) -> None:
    patch_scores = [learned.compute_maps(image) for image in images[8:]]
    n_before = learned.store.n_forwards

    def slide() -> list[float]:
        other = learned.with_weights(fusion_weight=0.6)
        return [other.aggregate(w).score for w in patch_scores]

    benchmark.pedantic(slide, rounds=5, warmup_rounds=1)
    ratio = benchmark.stats.stats.median / one_forward
    benchmark.extra_info["ratio_to_one_forward"] = ratio
    ratios.append(f"fusion weight moved, 8 normals and 20 tests: {ratio:.2f} x one forward pass")
    assert learned.store.n_forwards == n_before
    assert ratio < 0.5


def test_changing_k_runs_no_model(
    benchmark: Any, learned: Lake, backbone: Backbone, images: list[InputImage], one_forward: float, ratios: list[str]
) -> None:
    n_before = learned.store.n_forwards

    def refit(top_k: int) -> None:
        Lake(backbone, LakeConfig(top_k=top_k), learned.store).fit(images[:8]).explain_all(images[8:])

    benchmark.pedantic(refit, args=(50,), rounds=3, warmup_rounds=1)
    ratio = benchmark.stats.stats.median / one_forward
    ratio_fit = seconds(lambda: Lake(backbone, LakeConfig(top_k=60), learned.store).fit(images[:8])) / one_forward
    benchmark.extra_info["ratio_to_one_forward"] = ratio
    ratios.append(
        f"K changed, 8 normals learned and 20 tests scored anew: {ratio:.1f} x one forward pass "
        f"({ratio / 28:.2f} an image; learning alone {ratio_fit:.1f})"
    )
    assert learned.store.n_forwards == n_before
    assert ratio < 28


def test_memory_of_a_seen_image(backbone: Backbone, images: list[InputImage], ratios: list[str]) -> None:
    """Held as the dashboard does: what the detector reads in memory, all other layers in a file."""
    store = FeatureStore(backbone, disk=MemoryBudget(2**32))
    needed, everything = Lake(backbone, LakeConfig(), store).hook_points, backbone.hook_points
    store.ensure(images[:8], needed, besides=everything)
    until = time.monotonic() + 60
    while store.n_bytes > 8 * store.bytes_per_image(needed) and time.monotonic() < until:
        time.sleep(0.01)  # until the last ones are written
    in_memory, in_all = store.n_bytes / 8, store.bytes_per_image(everything)
    ratios.append(
        f"a seen image: {in_memory / 1e6:.1f} MB in memory, {in_all / 1e6:.1f} MB in the file for {len(everything)} "
        f"places; the image itself is {images[0].rgb.nbytes / 1e6:.1f} MB"
    )
    assert in_memory < 10e6
