"""What the protocol costs: all methods, several numbers of normal images and seeds, against bare forward passes.

The limit is 10 times the bare network; the ratio is measured in this run, no absolute time is asserted.
"""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lake_core.backbones.opening import open_backbone
from lake_core.data.datasets import read_example
from lake_core.data.folders import index_folder
from lake_core.data.samples import assets_folder
from lake_core.evaluation.protocol import FewShotProtocol, choose_normals
from lake_core.evaluation.runner import evaluate
from tests.benchmarks import gpu_throughput, ray_gpus
from tests.core.tiny import write

SEEDS, SHOTS = (0, 1, 2), (1, 4, 6)


def test_the_whole_protocol_costs_less_than_ten_times_the_network(ratios: list[str]) -> None:
    torch.set_num_threads(1)
    folder = assets_folder() / "samples" / "metal"
    backbone = open_backbone("lake-cnn")
    entries = index_folder(folder)
    used = {entry.path: entry for seed in SEEDS for entry in choose_normals(entries, seed)[: max(SHOTS)]}
    used |= {entry.path: entry for entry in entries if entry.role == "test"}
    pixels = [backbone.prepare(read_example(entry).image) for entry in used.values()]
    model = open_backbone("lake-cnn")._model.visual

    def bare() -> None:
        with torch.inference_mode():
            for start in range(0, len(pixels), 4):
                model(torch.stack(pixels[start : start + 4]))

    def seconds(work: object) -> float:
        started = time.perf_counter()
        work()  # type: ignore[operator]
        return time.perf_counter() - started

    bare()
    before = seconds(bare)
    whole = seconds(lambda: evaluate([folder], backbone, protocol=FewShotProtocol(SHOTS, SEEDS)))
    ratio = whole / ((before + seconds(bare)) / 2)
    ratios.append(f"evaluate, all methods, shots {SHOTS}, 3 seeds, {len(used)} images: {ratio:.1f} x bare forwards")
    assert ratio < 10


@pytest.mark.parametrize("options", [[], ["--precision", "bf16", "--pixel"]])
def test_the_script_for_gpus_runs_on_a_tiny_model(options: list[str], tmp_path: Path) -> None:
    model = f"local-dir:{write('native-vit', tmp_path / 'tiny')}"
    small = ["--device", "cpu", "--n", "16", "--batch", "4", "--side", "64", "--rounds", "1", "--precision", "fp32"]
    found = gpu_throughput.main(["--model", model, *small, *options])
    assert found["n_images"] == 16
    assert 0 < found["share"] == pytest.approx(found["evaluate_images_per_s"] / found["bare_images_per_s"], abs=1e-3)


def test_the_script_for_several_gpus_runs_on_a_tiny_model(tmp_path: Path) -> None:
    small = ["--device", "cpu", "--fast", "fp32", "--categories", "2", "--n", "24", "--n-equal", "12", "--side", "64"]
    found = ray_gpus.main(["--model", f"local-dir:{write('native-vit', tmp_path / 'tiny')}", *small])
    assert found["documents_equal"]
    assert found["images_more"] == 24


def test_memory_hardly_grows_with_the_number_of_test_images(tmp_path: Path, ratios: list[str]) -> None:
    """With pixel metrics; an image's map and mask over its pixels would be 320 KiB for one detector alone."""
    model, few, many = write("native-vit", tmp_path / "tiny"), 200, 1000
    peaks = [_peak_kib(_masked_set(tmp_path / str(n), n), model) for n in (few, many)]
    growth = (peaks[1] - peaks[0]) / (many - few)
    ratios.append(f"evaluate, memory from {few} to {many} test images: {growth:.1f} KiB for each image more")
    assert growth < 32


def _masked_set(folder: Path, n_tests: int) -> Path:
    """Grainy images of 256 x 256 pixels, every other one with a small bright square."""
    rng = np.random.default_rng(0)

    def save(name: str, pixels: np.ndarray) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)

    for i in range(n_tests + 4):
        pixels = rng.integers(90, 160, (256, 256, 3), dtype=np.uint8)
        mask = np.zeros((256, 256), dtype=np.uint8)
        mask[100:108, i % 240 : i % 240 + 8] = 255
        if i < 4:
            save(f"train/good/{i:04}.png", pixels)
        elif i % 2:
            save(f"test/good/{i:04}.png", pixels)
        else:
            pixels[mask > 0] = 255
            save(f"test/spot/{i:04}.png", pixels)
            save(f"ground_truth/spot/{i:04}_mask.png", mask)
    return folder


def _peak_kib(data: Path, model: Path) -> float:
    """The most memory that a process of its own needs to evaluate a data set."""
    work = (
        "import resource, sys; from pathlib import Path\n"
        "from lake_core.backbones.opening import open_backbone; from lake_core.evaluation.runner import evaluate\n"
        "from lake_core.evaluation.protocol import FewShotProtocol\n"
        "backbone = open_backbone('local-dir:' + sys.argv[2])\n"
        "evaluate([Path(sys.argv[1])], backbone, protocol=FewShotProtocol(shots=(4,), seeds=(0, 1)))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", work, data, model], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])
