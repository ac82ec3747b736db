"""What the protocol costs: all methods, several numbers of normal pictures and seeds, against bare forward passes.

The limit is 10 times the bare network; the ratio is measured in this run, no absolute time is asserted.
"""

import time
from pathlib import Path

import pytest
import torch

from lake_core.assets import assets_folder
from lake_core.backbones import open_backbone
from lake_core.datasets import index_folder, read_example
from lake_core.evaluation import evaluate
from lake_core.plan import choose_normals
from tests.benchmarks import gpu_throughput
from tests.core.tiny import write

SEEDS, SHOTS = (0, 1, 2), (1, 4, 6)


def test_the_whole_protocol_costs_less_than_ten_times_the_network(ratios: list[str]) -> None:
    torch.set_num_threads(1)
    folder = assets_folder() / "samples" / "metal"
    backbone = open_backbone("lake-cnn")
    entries = index_folder(folder)
    used = {entry.path: entry for seed in SEEDS for entry in choose_normals(entries, seed)[: max(SHOTS)]}
    used |= {entry.path: entry for entry in entries if entry.role == "test"}
    pixels = [backbone.prepare(read_example(entry).picture) for entry in used.values()]
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
    whole = seconds(lambda: evaluate([folder], backbone, shots=SHOTS, seeds=SEEDS))
    ratio = whole / ((before + seconds(bare)) / 2)
    ratios.append(f"evaluate, all methods, shots {SHOTS}, 3 seeds, {len(used)} pictures: {ratio:.1f} x bare forwards")
    assert ratio < 10


@pytest.mark.parametrize("options", [[], ["--precision", "bf16", "--pixel"]])
def test_the_script_for_gpus_runs_on_a_tiny_model(options: list[str], tmp_path: Path) -> None:
    model = f"local-dir:{write('native-vit', tmp_path / 'tiny')}"
    small = ["--device", "cpu", "--n", "16", "--batch", "4", "--side", "64", "--rounds", "1", "--precision", "fp32"]
    found = gpu_throughput.main(["--model", model, *small, *options])
    assert found["n_pictures"] == 16
    assert 0 < found["share"] == pytest.approx(found["evaluate_images_per_s"] / found["bare_images_per_s"], abs=1e-3)
