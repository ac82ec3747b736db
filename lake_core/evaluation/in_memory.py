"""The few-shot protocol over images that are in memory already: their normal images are the pool to choose from."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig
from lake_core.data.datasets import Dataset, Example
from lake_core.data.folders import Entry
from lake_core.evaluation.loading import Batch
from lake_core.evaluation.protocol import METHODS, FewShotProtocol, Method, Report, seeded_order
from lake_core.evaluation.reading import Loaded, reduced_mask
from lake_core.evaluation.report import document
from lake_core.evaluation.runs import run_category


def evaluate_dataset(
    dataset: Dataset,
    store: FeatureStore,
    config: LakeConfig | None = None,
    *,
    shots: Sequence[int] = (4,),
    seeds: Sequence[int] = (0, 1, 2),
    methods: Sequence[Method] = METHODS,
    pixel: bool = True,
    on_progress: Report | None = None,
) -> dict[str, Any]:
    """Runs the protocol of `lake_core.evaluation.runner.evaluate` on one data set in memory.

    Args:
        dataset: Its labelled test images are scored, the others take no part.
        store: Of activations; those that it holds are not computed again.
        config: Parameters of the method.
        shots, seeds, methods, pixel, on_progress: As for `evaluate`.
    Returns:
        The same document, with "scores".
    Raises:
        ConfigError: if shots, seeds or methods make no sense.
        DatasetError: if there are too few normal images or no labelled test image.
    """
    config = config or LakeConfig()
    protocol = FewShotProtocol.of(shots, seeds, methods, pixel)
    tests = [example for example in dataset.tests if example.label is not None]
    protocol.check(
        dataset.name,
        [*(_entry(example, "normal") for example in dataset.normals), *(_entry(example, "test") for example in tests)],
    )
    normals = [example.image for example in dataset.normals]
    chosen = {seed: [normals[i] for i in seeded_order(len(normals), seed)] for seed in protocol.seeds}
    batches = _batches(tests, store.backbone, store.batch_size, pixel)
    outcome = run_category(dataset.name, chosen, batches, len(tests), store, config, protocol, on_progress=on_progress)
    return document([outcome], protocol, with_scores=True)


def _entry(example: Example, role: Literal["normal", "test"]) -> Entry:
    return Entry(Path(example.image.name), example.image.name, role, example.label, example.kind)


def _batches(examples: Sequence[Example], backbone: Backbone, size: int, with_masks: bool) -> Iterator[Batch]:
    for start in range(0, len(examples), size):
        of_batch = examples[start : start + size]
        canvases = torch.from_numpy(np.stack([backbone.frame.canvas(example.image) for example in of_batch]))
        yield Batch(tuple(_loaded(example, backbone, with_masks) for example in of_batch), canvases, len(of_batch))


def _loaded(example: Example, backbone: Backbone, with_mask: bool) -> Loaded:
    image, placement = example.image, backbone.placement(example.image)
    can_compare = with_mask and (example.mask is not None or example.label == "good")
    mask = reduced_mask(example.mask, image, placement) if can_compare else None
    return Loaded(_entry(example, "test"), image.sha256, placement, mask)
