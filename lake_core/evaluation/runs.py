"""The runs of one category, wherever its pictures come from: detectors learn, score every test picture, are judged.

Test pictures arrive in batches, are scored by all detectors and let go. What stays of each in memory are its name, its
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
from lake_core.data.images import Picture
from lake_core.detector.batch import Panel, Seat
from lake_core.detector.lake import Lake
from lake_core.errors import DatasetError
from lake_core.evaluation.loading import Batch
from lake_core.evaluation.maps import MapFile
from lake_core.evaluation.protocol import N_RANDOM_DRAWS, Method, Outcome, Plan, Report
from lake_core.evaluation.run_metrics import Run, judge, mean_draws
from lake_core.evaluation.test_scores import Heard, ask_all


def run_category(
    category: str,
    chosen: Mapping[int, Sequence[Picture]],
    batches: Iterable[Batch],
    n_tests: int,
    store: FeatureStore,
    config: LakeConfig,
    plan: Plan,
    problems: Sequence[str] = (),
    on_progress: Report | None = None,
) -> Outcome:
    """All runs of one category.

    Args:
        category: Its name.
        chosen: Seed -> the normal pictures in the order in which it takes them, at least as many as the most shots.
        batches: The labelled test pictures; those not asked for yet need not have been read.
        n_tests: How many they are.
        store: Of activations; those that it holds are not computed again.
        config: Parameters of the method.
        plan: What is asked for.
        problems: What was left out so far, one sentence each.
        on_progress: Called after each few pictures.
    Raises:
        DatasetError: if no test picture can be read.
    """
    started = time.perf_counter()
    backbone, most = store.backbone, plan.shots[-1]
    distinct = {picture.sha256: picture for pictures in chosen.values() for picture in pictures[:most]}
    n_all = len(distinct) + n_tests

    def report(n_done: int) -> None:
        if on_progress is not None:
            on_progress(category, min(n_done, n_all), n_all)

    places = Lake(backbone, config, store).places
    store.ensure(list(distinct.values()), places, lambda done, _: report(done))
    runs: list[Run] = []
    for n in plan.shots:
        for seed in plan.seeds:
            runs.extend(_learn(chosen[seed][:n], n, seed, store, config, plan))
            report(len(distinct))
    panel = Panel([run.seat for run in runs], store)
    with MapFile([run.seat.grid.n_patches for run in runs]) if plan.pixel else nullcontext() as maps:
        heard = ask_all(panel, batches, places, maps, lambda done: report(len(distinct) + done))
        judgements = list(judge(runs, heard, maps, backbone.device)) if heard.pictures else []
    told = [*problems, *(f"{category}: {said}" for said in (*heard.problems, *_remarks(heard, distinct, plan)))]
    if not heard.pictures:
        raise DatasetError(f"None of the {n_tests} test pictures of {category} can be read: {told[-1]}")
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
            {"category": category, "shots": n, "seed": seed, "names": [picture.name for picture in chosen[seed][:n]]}
            for n in plan.shots
            for seed in plan.seeds
        ],
        "problems": list(dict.fromkeys(told)),
        "paths": [picture.entry.name for picture in heard.pictures],
        "labels": [picture.entry.label == "defective" for picture in heard.pictures],
        "runs": [judgement.row for judgement in judgements],
        "draws": mean_draws(judgements),
        "device": device_name(store.backbone.device),
        "seconds": round(time.perf_counter() - started, 3),
    }


def _remarks(heard: Heard, learned: Container[str], plan: Plan) -> Iterator[str]:
    """What makes figures null, or better than they should be."""
    for picture in heard.pictures:
        if picture.sha256 in learned:
            yield f"{picture.entry.name} is also among the normal pictures learned from: its score says nothing."
    labels = {picture.entry.label for picture in heard.pictures}
    if len(labels) == 1:
        yield f"all {len(heard.pictures)} test pictures are {labels.pop()}: AUROC, AP and F1 need both kinds."
    masks = [picture.mask for picture in heard.pictures if picture.entry.label == "defective"]
    if plan.pixel and None in masks:
        n_bare = masks.count(None)
        yield f"{n_bare} of {len(masks)} defective pictures have no usable mask: pixel metrics leave them out."
    n_blank = sum(mask is not None and not mask.defects.n_defect for mask in masks)
    if n_blank:
        yield f"{n_blank} of {len(masks)} defective pictures have an empty mask: all their pixels count as good."


def _learn(
    pictures: Sequence[Picture], n_shots: int, seed: int, store: FeatureStore, config: LakeConfig, plan: Plan
) -> Iterator[Run]:
    """The runs of one choice of normal pictures; lake, visual and text share a detector."""
    own_weights: dict[Method, float | None] = {"lake": None, "visual": 0.0, "text": None}
    for learning, draw in plan.learning():
        changes: dict[str, Any] = {"lake": {}, "all": {"criterion": "all"}}.get(
            learning, {"criterion": "random", "seed": N_RANDOM_DRAWS * seed + draw}
        )
        started = time.perf_counter()
        detector = Lake(store.backbone, replace(config, **changes), store).fit(pictures)
        seconds = time.perf_counter() - started
        weights = own_weights if learning == "lake" else {learning: None}
        for method, weight in weights.items():
            if method in plan.methods:
                yield Run(n_shots, seed, method, draw, Seat(detector, weight, method == "text"), seconds)
