"""Long runs: the memory of `lake score` does not grow with the images, and calibration keeps up with the network."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tests.core.tiny import write

FEW, MANY = 200, 2000
SIDE = 128


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
