"""The runs of one category, wherever its images come from: detectors learn, score every test image, are judged.

Test images arrive in batches, are scored by all detectors and let go. What stays of each in memory are its name, its
scores and, for pixel metrics, its mask as runs of pixels; its maps on the patch grid go into a temporary file.
"""

import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from lake_core.backbones.devices import device_name
from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.batch import BatchScorer, Variant
from lake_core.detector.lake import Lake
from lake_core.errors import DatasetError
from lake_core.evaluation.loading import Batch
from lake_core.evaluation.maps import MapFile
from lake_core.evaluation.protocol import N_RANDOM_DRAWS, FewShotProtocol, Method, Outcome, Report
from lake_core.evaluation.run_metrics import Run, mean_draws, measure_runs
from lake_core.evaluation.test_scores import TestScores, score_tests


def run_category(
    category: str,
    chosen: Mapping[int, Sequence[InputImage]],
    batches: Iterable[Batch],
    n_tests: int,
    store: FeatureStore,
    config: LakeConfig,
    protocol: FewShotProtocol,
    problems: Sequence[str] = (),
    on_progress: Report | None = None,
) -> Outcome:
    """All runs of one category.

    Args:
        category: Its name.
        chosen: Seed -> the normal images in the order in which it takes them, at least as many as the most shots.
        batches: The labelled test images; those not asked for yet need not have been read.
        n_tests: How many they are.
        store: Of activations; those that it holds are not computed again.
        config: Parameters of the method.
        plan: What is asked for.
        problems: What was left out so far, one sentence each.
        on_progress: Called after each few images.
    Raises:
        DatasetError: if no test image can be read.
    """
    started = time.perf_counter()
    backbone, most = store.backbone, protocol.shots[-1]
    distinct = {image.sha256: image for images in chosen.values() for image in images[:most]}
    n_all = len(distinct) + n_tests

    def report(n_done: int) -> None:
        if on_progress is not None:
            on_progress(category, min(n_done, n_all), n_all)

    hook_points = Lake(backbone, config, store).hook_points
    store.ensure(list(distinct.values()), hook_points, lambda done, _: report(done))
    runs: list[Run] = []
    for n in protocol.shots:
        for seed in protocol.seeds:
            runs.extend(_learn(chosen[seed][:n], n, seed, store, config, protocol))
            report(len(distinct))
    scorer = BatchScorer([run.variant for run in runs], store)
    with MapFile([run.variant.grid.n_patches for run in runs]) if protocol.pixel else nullcontext() as maps:
        test_scores = score_tests(scorer, batches, hook_points, maps, lambda done: report(len(distinct) + done))
        metrics = list(measure_runs(runs, test_scores, maps, backbone.device)) if test_scores.images else []
    told = [
        *problems,
        *(f"{category}: {said}" for said in (*test_scores.problems, *_remarks(test_scores, distinct, protocol))),
    ]
    if not test_scores.images:
        raise DatasetError(f"None of the {n_tests} test images of {category} can be read: {told[-1]}")
    return {
        "category": category,
        "model": {
            "model": backbone.spec,
            "input_size": list(backbone.input_size),
            "resize": backbone.resize,
            "precision": backbone.precision,
        },
        "config": config.resolved(backbone.recommended).as_dict(),
        "object_name": config.object_name,
        "normals": [
            {"category": category, "shots": n, "seed": seed, "names": [image.name for image in chosen[seed][:n]]}
            for n in protocol.shots
            for seed in protocol.seeds
        ],
        "problems": list(dict.fromkeys(told)),
        "paths": [image.entry.name for image in test_scores.images],
        "labels": [image.entry.label == "defective" for image in test_scores.images],
        "runs": [run_metrics.row for run_metrics in metrics],
        "draws": mean_draws(metrics),
        "device": device_name(store.backbone.device),
        "seconds": round(time.perf_counter() - started, 3),
    }


def _remarks(test_scores: TestScores, learned: Container[str], protocol: FewShotProtocol) -> Iterator[str]:
    """What makes figures null, or better than they should be."""
    for image in test_scores.images:
        if image.sha256 in learned:
            yield f"{image.entry.name} is also among the normal images learned from: its score says nothing."
    labels = {image.entry.label for image in test_scores.images}
    if len(labels) == 1:
        yield f"all {len(test_scores.images)} test images are {labels.pop()}: AUROC, AP and F1 need both kinds."
    masks = [image.mask for image in test_scores.images if image.entry.label == "defective"]
    if protocol.pixel and None in masks:
        n_bare = masks.count(None)
        yield f"{n_bare} of {len(masks)} defective images have no usable mask: pixel metrics leave them out."
    n_blank = sum(mask is not None and not mask.defects.n_defect for mask in masks)
    if n_blank:
        yield f"{n_blank} of {len(masks)} defective images have an empty mask: all their pixels count as good."


def _learn(
    images: Sequence[InputImage],
    n_shots: int,
    seed: int,
    store: FeatureStore,
    config: LakeConfig,
    protocol: FewShotProtocol,
) -> Iterator[Run]:
    """The runs of one choice of normal images; lake, visual and text share a detector."""
    own_weights: dict[Method, float | None] = {"lake": None, "visual": 0.0, "text": None}
    for learning, draw in protocol.learning():
        changes: dict[str, Any] = {"lake": {}, "all": {"criterion": "all"}}.get(
            learning, {"criterion": "random", "seed": N_RANDOM_DRAWS * seed + draw}
        )
        started = time.perf_counter()
        detector = Lake(store.backbone, replace(config, **changes), store).fit(images)
        seconds = time.perf_counter() - started
        weights = own_weights if learning == "lake" else {learning: None}
        for method, weight in weights.items():
            if method in protocol.methods:
                yield Run(n_shots, seed, method, draw, Variant(detector, weight, method == "text"), seconds)
