"""The few-shot protocol over pictures that are in memory already: their normal pictures are the pool to choose from."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lake_core.asking import ask_all
from lake_core.backbones import Backbone
from lake_core.config import LakeConfig
from lake_core.datasets import Dataset, Example
from lake_core.detector import Lake
from lake_core.evaluation import _document
from lake_core.features import FeatureStore
from lake_core.folders import Entry
from lake_core.loading import Batch
from lake_core.panel import Panel
from lake_core.reading import Loaded, reduced_mask
from lake_core.trials import METHODS, Method, Plan, Report, Run, _figures, _learn, choose_normals


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
    """Runs the protocol of `lake_core.evaluation.evaluate` on one data set in memory.

    Args:
        dataset: Its labelled test pictures are scored, the others take no part.
        store: Of activations; those that it holds are not computed again.
        config: Parameters of the method.
        shots, seeds, methods, pixel, on_progress: As for `evaluate`.
    Returns:
        The same document, with "scores" and without "fingerprint".
    Raises:
        ConfigError: if shots, seeds or methods make no sense.
        DatasetError: if there are too few normal pictures or no labelled test picture.
    """
    started = time.perf_counter()
    config, backbone = config or LakeConfig(), store.backbone
    plan = Plan(tuple(sorted(set(shots))), tuple(dict.fromkeys(seeds)), tuple(dict.fromkeys(methods)), pixel)
    normals = {_entry(example, "normal").name: example.picture for example in dataset.normals}
    tests = [example for example in dataset.tests if example.label is not None]
    entries = [_entry(example, "normal") for example in dataset.normals]
    plan.check(dataset.name, [*entries, *(_entry(example, "test") for example in tests)])
    chosen = {seed: [normals[entry.name] for entry in choose_normals(entries, seed)] for seed in plan.seeds}
    distinct = {p.sha256: p for pictures in chosen.values() for p in pictures[: plan.shots[-1]]}
    n_all = len(distinct) + len(tests)

    def report(n_done: int) -> None:
        if on_progress is not None:
            on_progress(dataset.name, min(n_done, n_all), n_all)

    places = Lake(backbone, config, store).places
    store.ensure(list(distinct.values()), places, lambda done, _: report(done))
    runs: list[Run] = []
    for n in plan.shots:
        for seed in plan.seeds:
            runs.extend(_learn(chosen[seed][:n], n, seed, backbone, config, plan, store))
            report(len(distinct))
    heard = ask_all(
        Panel([run.seat for run in runs], store),
        _batches(tests, backbone, store.batch_size, pixel),
        places,
        pixel,
        lambda n_tests: report(len(distinct) + n_tests),
    )
    outcome = {
        "category": dataset.name,
        "model": {
            "model": backbone.spec,
            "input_size": list(backbone.input_size),
            "resize": backbone.resize,
            "precision": backbone.precision,
        },
        "config": config.resolved(backbone.recommended).as_dict(),
        "object_name": config.object_name,
        "normals": [
            {"category": dataset.name, "shots": n, "seed": seed, "names": [p.name for p in chosen[seed][:n]]}
            for n in plan.shots
            for seed in plan.seeds
        ],
        "problems": list(heard.problems),
        "paths": [picture.entry.name for picture in heard.pictures],
        "labels": [picture.entry.label == "defective" for picture in heard.pictures],
        "runs": list(_figures(runs, heard)),
        "seconds": round(time.perf_counter() - started, 3),
    }
    return _document([outcome], plan, with_scores=True)


def _entry(example: Example, role: Any) -> Entry:
    return Entry(Path(example.picture.name), example.picture.name, role, example.label, example.kind)


def _batches(examples: Sequence[Example], backbone: Backbone, size: int, with_masks: bool) -> Iterator[Batch]:
    for start in range(0, len(examples), size):
        of_batch = examples[start : start + size]
        canvases = torch.from_numpy(np.stack([backbone.frame.canvas(example.picture) for example in of_batch]))
        yield Batch(tuple(_loaded(example, backbone, with_masks) for example in of_batch), canvases, len(of_batch))


def _loaded(example: Example, backbone: Backbone, with_mask: bool) -> Loaded:
    picture, placement = example.picture, backbone.placement(example.picture)
    can_compare = with_mask and (example.mask is not None or example.label == "good")
    mask = reduced_mask(example.mask, picture, placement) if can_compare else None
    return Loaded(_entry(example, "test"), picture.sha256, placement, mask)
