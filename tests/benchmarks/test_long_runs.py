"""Long runs: the memory of `lake score` does not grow with the images, and calibration keeps up with the network."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage, read_image
from lake_core.detector.lake import Lake
from tests.benchmarks.test_speed import texture
from tests.core.tiny import write

FEW, MANY = 200, 2000
SIDE = 128
N_NORMALS = 128


@pytest.fixture(scope="module")
def normals() -> list[InputImage]:
    return [read_image(texture(seed), f"texture {seed}") for seed in range(N_NORMALS)]


@pytest.mark.parametrize("size", [None, 1000])
def test_learning_from_many_normal_images_costs_no_more_than_three_times_the_network(
    one_thread: None, normals: list[InputImage], size: int | None, ratios: list[str]
) -> None:
    """All pairs of 128 x 576 patches; with a coreset all of them with a thousand."""
    backbone = open_backbone("lake-cnn")
    store = FeatureStore(backbone)
    lake = Lake(backbone, LakeConfig(memory_bank_size=size), store)
    forward = processor_seconds(lambda: store.ensure(normals, lake.hook_points))
    learning = processor_seconds(lambda: lake.fit(normals))
    assert store.n_forwards == N_NORMALS
    what = "all patches kept" if size is None else f"{size} patches kept"
    ratios.append(f"learning from {N_NORMALS} normal images, {what}: {learning / forward:.2f} x their forward passes")
    assert learning < 3 * forward


def processor_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def test_memory_of_score_does_not_grow_with_the_images(tmp_path: Path, ratios: list[str]) -> None:
    """One image's activations in this model alone are 40 KiB, and the image is 48 KiB."""
    model = write("native-vit", tmp_path / "tiny")
    rng = np.random.default_rng(0)
    peaks = []
    for n in (FEW, MANY):
        root = tmp_path / str(n)
        for name in (*(f"normal/{i}.png" for i in range(4)), *(f"test/{i:05}.png" for i in range(n))):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(90, 160, (SIDE, SIDE, 3), dtype=np.uint8)).save(path, compress_level=1)
        peaks.append(peak_kib(root, model))
    growth = (peaks[1] - peaks[0]) / (MANY - FEW)
    ratios.append(f"lake score, memory from {FEW} to {MANY} images: {growth:.2f} KiB for each image more")
    assert growth < 4


def peak_kib(root: Path, model: Path) -> float:
    """The most memory that a process of its own needs to score a folder."""
    options = ["--normal", root / "normal", "--test", root / "test", "--out", root / "out"]
    work = (
        "import resource, sys; from lake_core.cli import app\n"
        "app.app(sys.argv[1:], standalone_mode=False)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = [sys.executable, "-c", work, "score", *options, "--model", f"local-dir:{model}", "--contributions"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])
