"""Image AUROC on the built-in samples, for their cards: `make measured` writes assets/samples/measured.json anew.

The few-shot protocol as `lake evaluate` runs it, at the defaults, each sample under its own object name. Beside it
stands a control that needs no model: the brightness of the border.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.opening import open_backbone
from lake_core.backbones.registry import DEFAULT_BACKBONE
from lake_core.config import LakeConfig
from lake_core.data.datasets import Dataset, Example
from lake_core.data.images import InputImage
from lake_core.data.samples import assets_folder, load_sample, sample_facts, sample_names
from lake_core.evaluation.protocol import DEFAULT_METHODS, FewShotProtocol, Method, seeded_order
from lake_core.evaluation.runner import evaluate
from lake_core.metrics.image_metrics import auroc
from lake_core.version import METHOD_VERSION

PATH = assets_folder() / "samples" / "measured.json"
SHOTS, SEEDS = 4, (0, 1, 2)
DIGITS = 4


def content_hash(name: str) -> str:
    """SHA-256 over the names and bytes of a sample's images and masks."""
    folder, digest = assets_folder() / "samples" / name, hashlib.sha256()
    for path in sorted(path for part in ("train", "test", "ground_truth") for path in (folder / part).rglob("*.*")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def aurocs(
    name: str, backbone: Backbone, methods: Sequence[Method] = DEFAULT_METHODS, seeds: Sequence[int] = SEEDS
) -> dict[str, dict[str, Any]]:
    """Method -> image AUROC: its mean over seeds, the interval of the mean, and its value for each seed."""
    facts = sample_facts(name)
    config = LakeConfig(object_name=facts.object_name if facts else name)
    protocol = FewShotProtocol((SHOTS,), seeds, methods, pixel=False)
    report = evaluate([assets_folder() / "samples" / name], backbone, config, protocol)
    found: dict[str, dict[str, Any]] = {}
    for method in methods:
        spread = report.summary_of(name, SHOTS, method).metrics["image_auroc"]
        values = {"mean": spread.mean, "low": spread.low, "high": spread.high}
        rows = [row for row in report.results if row.method == method]
        by_seed = [rounded(row.metrics()["image_auroc"]) for row in rows]
        found[method] = {key: rounded(value) for key, value in values.items()} | {"by_seed": by_seed}
    return found


def border_auroc(dataset: Dataset) -> float:
    """Image AUROC without a model: distance of the border's mean brightness from that of the same normal images."""
    tests = np.array([border_brightness(example.image) for example in dataset.tests])
    is_defective = np.array([example.label == "defective" for example in dataset.tests])
    found = [
        rounded(auroc(is_defective, np.abs(tests - np.mean([border_brightness(e.image) for e in chosen]))))
        for chosen in (chosen_normals(dataset, seed) for seed in SEEDS)
    ]
    return rounded(float(np.mean(found)))


def chosen_normals(dataset: Dataset, seed: int) -> list[Example]:
    """The normal images that the protocol takes."""
    return [dataset.normals[i] for i in seeded_order(len(dataset.normals), seed)[:SHOTS]]


def border_brightness(image: InputImage) -> float:
    """Mean of red, green and blue over the outermost eighth on each side."""
    grey = image.rgb.mean(axis=2)
    rows, cols = grey.shape[0] // 8, grey.shape[1] // 8
    inner = grey[rows:-rows, cols:-cols]
    return float((grey.sum() - inner.sum()) / (grey.size - inner.size))


def rounded(value: float | None) -> float:
    """A metric as it is written; every sample has both classes, so that none is missing."""
    assert value is not None
    return round(value, DIGITS)


def main() -> None:
    """Writes the file anew."""
    backbone = open_backbone(DEFAULT_BACKBONE)
    document = {
        "made_by": "make measured",
        "method_version": METHOD_VERSION,
        "model": DEFAULT_BACKBONE,
        "shots": SHOTS,
        "seeds": SEEDS,
        "samples": {
            name: {
                "sha256": content_hash(name),
                "image_auroc": aurocs(name, backbone),
                "border": border_auroc(load_sample(name)),
            }
            for name in sample_names()
        },
    }
    PATH.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
