"""LAKE beside anomalib's PatchCore with the same network, input and images, in turn; prints a Markdown table.

    python -m tests.benchmarks.peers [--data DIR] [--shots 8] [--rounds 3]

Each runs in a process of its own, so that the peak of its memory is its own. anomalib's model is called as PyTorch
calls it, without Lightning around it, which would only add time. Its WinCLIP and AnomalyDINO need weights that come
from the network; they are not measured.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.loading import load
from lake_core.backbones.opening import open_backbone
from lake_core.backbones.process import limit_threads
from lake_core.config import LakeConfig
from lake_core.data.folders import index_folder
from lake_core.data.images import InputImage, read_image
from lake_core.data.samples import assets_folder
from lake_core.detector.lake import Lake
from lake_core.evaluation.protocol import labelled_tests
from lake_core.metrics.image_metrics import auroc

NETWORK, STAGES = "tf_efficientnet_lite2", ("blocks.2", "blocks.4")
"""lake-cnn's image tower in timm, and the stages that PatchCore reads, as its authors do: those of strides 8 and 16."""
CORESET, OTHER_CORESET = 0.1, 0.05
BATCH = 2
MEMORY = {"MALLOC_MMAP_THRESHOLD_": "1000000"}
"""For both: with glibc's own setting the choice of anomalib's coreset ended 24 GB of memory."""
COLUMNS = {
    "fit": "fit, s",
    "score": "score, s",
    "setting": "another setting, s",
    "threshold": "another threshold, s",
    "peak": "peak memory, MB",
    "auroc": "image AUROC",
}


class Peer(ABC):
    """A detector with one other setting that a user might try: LAKE's K, PatchCore's share of patches kept."""

    @abstractmethod
    def fit(self, normals: Sequence[Path]) -> None:
        """Learns from image files."""

    @abstractmethod
    def score(self, tests: Sequence[Path]) -> np.ndarray:
        """(n_images,) scores."""

    @abstractmethod
    def another_setting(self, normals: Sequence[Path], tests: Sequence[Path]) -> np.ndarray:
        """(n_images,) scores with the other setting."""


class Ours(Peer):
    """LAKE as `lake score` and the dashboard run it."""

    def __init__(self) -> None:
        self.store = FeatureStore(open_backbone("lake-cnn"))

    def fit(self, normals: Sequence[Path]) -> None:
        self.lake = Lake(self.store.backbone, LakeConfig(), self.store).fit(list(normals))

    def score(self, tests: Sequence[Path]) -> np.ndarray:
        return self.lake.score_samples(list(tests))

    def another_setting(self, normals: Sequence[Path], tests: Sequence[Path]) -> np.ndarray:
        return Lake(self.store.backbone, LakeConfig(top_k=50), self.store).fit(list(normals)).score_samples(list(tests))


class Anomalib(Peer):
    """anomalib's PatchCore on lake-cnn's network."""

    def __init__(self) -> None:
        self.backbone: Backbone = open_backbone("lake-cnn")  # for its preprocessing only

    def fit(self, normals: Sequence[Path]) -> None:
        self._fit(normals, CORESET)

    def _fit(self, normals: Sequence[Path], share: float) -> None:
        from anomalib.models.image.patchcore.torch_model import PatchcoreModel

        torch.manual_seed(0)
        self.model = PatchcoreModel(STAGES, NETWORK, pre_trained=False)
        network = self.model.feature_extractor.feature_extractor
        unused = network.load_state_dict(load("lake-cnn", None).model.visual.trunk.state_dict(), strict=False)
        assert not unused.missing_keys
        self.model.train()
        self.model.feature_extractor.eval()
        with torch.no_grad():
            for batch in self._batches(normals):
                self.model(batch)
            self.model.subsample_embedding(share)
        self.model.eval()

    def score(self, tests: Sequence[Path]) -> np.ndarray:
        with torch.no_grad():
            return np.concatenate([self.model(batch).pred_score.flatten().numpy() for batch in self._batches(tests)])

    def another_setting(self, normals: Sequence[Path], tests: Sequence[Path]) -> np.ndarray:
        self._fit(normals, OTHER_CORESET)
        return self.score(tests)

    def _batches(self, files: Sequence[Path]) -> list[torch.Tensor]:
        images: list[InputImage] = [read_image(path) for path in files]
        return list(torch.stack([self.backbone.prepare(image) for image in images]).split(BATCH))


PEERS: dict[str, type[Peer]] = {"LAKE Explorer": Ours, "anomalib PatchCore": Anomalib}


def measured(name: str, data: Path, shots: int) -> dict[str, float]:
    """One peer's figures, in this process."""
    limit_threads()
    entries = index_folder(data)
    normals = [entry.path for entry in entries if entry.role == "normal"][:shots]
    labelled = labelled_tests(entries)
    tests = [entry.path for entry in labelled]
    peer = PEERS[name]()
    found: dict[str, float] = {}

    def timed(column: str, work: Any) -> Any:
        started = time.perf_counter()
        result = work()
        found[column] = time.perf_counter() - started
        return result

    timed("fit", lambda: peer.fit(normals))
    scores = timed("score", lambda: peer.score(tests))
    timed("threshold", lambda: scores > np.median(scores))
    timed("setting", lambda: peer.another_setting(normals, tests))
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["auroc"] = auroc([entry.label == "defective" for entry in labelled], scores) or float("nan")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--data", type=Path, default=assets_folder() / "samples" / "hazelnut", help="one labelled data set"
    )
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=PEERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measured(args.only, args.data, args.shots)))
        return
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in PEERS}
    for _ in range(args.rounds):
        for name, rows in rounds.items():
            given = ["--only", name, "--data", str(args.data), "--shots", str(args.shots)]
            run = subprocess.run(
                [sys.executable, "-m", "tests.benchmarks.peers", *given],
                check=True,
                capture_output=True,
                text=True,
                env=os.environ | MEMORY,
            )
            rows.append(json.loads(run.stdout.splitlines()[-1]))
    print("| | " + " | ".join(COLUMNS.values()) + " |")
    print("|---|" + "---|" * len(COLUMNS))
    for name, rows in rounds.items():
        medians = [statistics.median(row[column] for row in rows) for column in COLUMNS]
        print(f"| {name} | " + " | ".join(f"{value:.3g}" for value in medians) + " |")


if __name__ == "__main__":
    main()
