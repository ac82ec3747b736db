"""The runs of one category, wherever its pictures come from: detectors learn, score every test picture, are judged.

Test pictures arrive in batches, are scored by all detectors and let go; what stays of each are its scores and, for
pixel metrics, its maps on the patch grid and its reduced mask.
"""

import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from lake_core.asking import Heard, ask_all
from lake_core.config import LakeConfig
from lake_core.detector import Lake
from lake_core.errors import DatasetError
from lake_core.features import FeatureStore
from lake_core.geometry import PatchGrid, Placement, map_to_picture
from lake_core.images import Picture
from lake_core.loading import Batch
from lake_core.metrics import PixelTruth, auroc, average_precision, f1_max
from lake_core.panel import Panel, Seat
from lake_core.plan import METRICS, N_RANDOM_DRAWS, Method, Outcome, Plan, Report
from lake_core.reading import Mask


@dataclass(frozen=True)
class Run:
    """One method (one draw of it) with one choice of normal pictures; `seconds` is what learning took."""

    shots: int
    seed: int
    method: Method
    draw: int
    seat: Seat
    seconds: float

    @property
    def says_nothing(self) -> bool:
        """Whether the method needs a text part that the backbone does not have."""
        return self.method == "text" and not self.seat.has_text


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
    heard = ask_all(panel, batches, places, plan.pixel, lambda done: report(len(distinct) + done))
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
        "runs": list(_judged(runs, heard)),
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


def _learn(
    pictures: Sequence[Picture], n_shots: int, seed: int, store: FeatureStore, config: LakeConfig, plan: Plan
) -> Iterator[Run]:
    """The runs of one choice of normal pictures; lake, visual and text share a detector."""
    own_weights: dict[Method, float | None] = {"lake": None, "visual": 0.0, "text": 1.0}
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
                yield Run(n_shots, seed, method, draw, Seat(detector, weight), seconds)


def _judged(runs: Sequence[Run], heard: Heard) -> Iterator[dict[str, Any]]:
    """The metrics and scores of each run."""
    labels = [picture.entry.label == "defective" for picture in heard.pictures]
    masked = [i for i, picture in enumerate(heard.pictures) if picture.mask is not None]
    masks = [picture.mask for picture in heard.pictures if picture.mask is not None]
    truth = PixelTruth([mask.defect for mask in masks])
    for run, scores, maps in zip(runs, heard.scores, heard.maps, strict=True):
        row: dict[str, Any] = {"shots": run.shots, "seed": run.seed, "method": run.method, "draw": run.draw}
        row |= dict.fromkeys(METRICS)
        row |= {"seconds": round(run.seconds + heard.seconds / heard.n_detectors, 3), "scores": []}
        if not run.says_nothing:
            row["image_auroc"] = auroc(labels, scores)
            row["image_ap"] = average_precision(labels, scores)
            row["image_f1_max"] = f1_max(labels, scores)
            if masks:
                spread = partial(_spread, maps[masked], masks, run.seat.grid)
                row["pixel_auroc"], row["pixel_aupro"] = truth.metrics_of(spread)
            row["scores"] = scores.tolist()
        yield row


def _spread(maps: np.ndarray, masks: Sequence[Mask], grid: PatchGrid, indices: Sequence[int]) -> list[np.ndarray]:
    """Some of the maps (n, n_patches) over the pixels of their masks, those of one size together."""
    alike: dict[tuple[tuple[int, ...], Placement], list[int]] = {}
    for i in indices:
        alike.setdefault((masks[i].defect.shape, masks[i].placement), []).append(i)
    spread: dict[int, np.ndarray] = {}
    for ((height, width), placement), of_size in alike.items():
        together = map_to_picture(maps[of_size], grid, placement, (width, height), smooth=True)
        spread |= dict(zip(of_size, together, strict=True))
    return [spread[i] for i in indices]
