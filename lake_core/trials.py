"""One category of the few-shot protocol: detectors learn from chosen normal pictures and score every test picture.

A category is one task: what it needs fits into a `Task`, what comes out is plain values, so that it can run in another
process or be read back from a file. Test pictures are read ahead, scored by all detectors and let go a few at a time;
what stays are their maps on the patch grid and, for pixel metrics, their masks.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from lake_core.asking import Heard, ask_all
from lake_core.backbones import Backbone
from lake_core.config import LakeConfig
from lake_core.datasets import Entry, index_folder
from lake_core.detector import Lake
from lake_core.errors import ConfigError, DatasetError, ImageError
from lake_core.features import FeatureStore
from lake_core.geometry import PatchGrid, Placement, map_to_picture
from lake_core.images import Picture, read_picture
from lake_core.loading import load_ahead
from lake_core.metrics import PixelTruth, auroc, average_precision, f1_max
from lake_core.panel import Panel, Seat
from lake_core.reading import Mask

Method = Literal["lake", "random", "all", "visual", "text"]
METHODS: tuple[Method, ...] = get_args(Method)
METRICS = ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_aupro")
N_RANDOM_DRAWS = 5
BATCH_ON_CPU, BATCH_ON_GPU = 4, 64

Outcome: TypeAlias = dict[str, Any]
"""What a task gives, plain values for JSON: category, model, config, object_name, normals, problems, paths and labels
of the test pictures, runs (shots, seed, method, draw, the METRICS, seconds, scores), seconds."""

Report: TypeAlias = Callable[[str, int, int], None]
"""Called with the category, its pictures done and its pictures in all; it may raise to cancel."""


def choose_normals(entries: Sequence[Entry], seed: int) -> list[Entry]:
    """The normal pictures of a data set in the order in which a seed takes them."""
    normals = [entry for entry in entries if entry.role == "normal"]
    return [normals[i] for i in np.random.default_rng(seed).permutation(len(normals))]


def checked_methods(names: Sequence[str]) -> tuple[Method, ...]:
    """Names of methods, each once.

    Raises:
        ConfigError: if there is none, or one is not known.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise ConfigError(f"methods is {', '.join(names) or 'empty'}; choose from {', '.join(METHODS)}.")
    return tuple(method for method in dict.fromkeys(names) if method in METHODS)


@dataclass(frozen=True)
class Plan:
    """What is asked for: the numbers and choices of normal pictures, the methods, and whether maps are compared."""

    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    methods: tuple[Method, ...]
    pixel: bool

    def __post_init__(self) -> None:
        if not self.shots or self.shots[0] < 1:
            raise ConfigError(f"shots is {list(self.shots)}; give whole numbers of normal pictures, at least 1 each.")
        if not self.seeds or min(self.seeds) < 0:
            raise ConfigError(f"seeds is {list(self.seeds)}; give whole numbers of at least 0.")
        checked_methods(self.methods)

    def check(self, name: str, entries: Sequence[Entry]) -> None:
        n_normal = sum(entry.role == "normal" for entry in entries)
        if n_normal < self.shots[-1]:
            raise DatasetError(
                f"{name} has {n_normal} normal pictures and {self.shots[-1]} shots are asked for: ask for fewer."
            )
        if not any(_is_labelled_test(entry) for entry in entries):
            raise DatasetError(f"{name} has no labelled test picture: put them into test/good and test/<kind>.")

    def variants(self) -> list[tuple[Method, int]]:
        """The detectors that learn for themselves, with the number of the draw; visual and text come out of lake's."""
        learning: list[tuple[Method, int]] = []
        if {"lake", "visual", "text"} & set(self.methods):
            learning.append(("lake", 0))
        if "random" in self.methods:
            learning.extend(("random", draw) for draw in range(N_RANDOM_DRAWS))
        if "all" in self.methods:
            learning.append(("all", 0))
        return learning


@dataclass(frozen=True)
class Task:
    """One category to be run; small, and the same wherever it runs."""

    category: str
    folder: Path
    config: LakeConfig
    plan: Plan
    batch_size: int | None = None


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


def run_task(task: Task, backbone: Backbone, on_progress: Report | None = None) -> Outcome:
    """All runs of one category.

    Raises:
        DatasetError: if it has too few normal pictures that can be read, or no labelled test picture.
    """
    started = time.perf_counter()
    name, plan = task.category, task.plan
    entries = index_folder(task.folder)
    plan.check(name, entries)
    store = FeatureStore(backbone, batch_size=task.batch_size or _batch_size(backbone))
    tests = [entry for entry in entries if _is_labelled_test(entry)]
    problems: list[str] = []
    chosen = {seed: _read_normals(name, choose_normals(entries, seed), plan.shots[-1], problems) for seed in plan.seeds}
    distinct = list({p.sha256: p for pictures in chosen.values() for p in pictures}.values())
    n_all = len(distinct) + len(tests)

    def report(n_done: int) -> None:
        if on_progress is not None:
            on_progress(name, min(n_done, n_all), n_all)

    places = Lake(backbone, task.config, store).places
    store.ensure(distinct, places, lambda done, _: report(done))
    runs = [
        run
        for n in plan.shots
        for seed in plan.seeds
        for run in _learn(chosen[seed][:n], n, seed, backbone, task.config, plan, store)
    ]
    panel = Panel([run.seat for run in runs], store)
    batches = load_ahead(tests, backbone, store.batch_size, plan.pixel)
    heard = ask_all(panel, batches, places, plan.pixel, lambda n_tests: report(len(distinct) + n_tests))
    problems.extend(heard.problems)
    if not heard.pictures:
        raise DatasetError(f"None of the {len(tests)} test pictures of {name} can be read: {problems[0]}")
    return {
        "category": name,
        "model": {
            "model": backbone.spec,
            "input_size": list(backbone.input_size),
            "resize": backbone.resize,
            "precision": backbone.precision,
        },
        "config": task.config.resolved(backbone.recommended).as_dict(),
        "object_name": task.config.object_name,
        "normals": [
            {"category": name, "shots": n, "seed": seed, "names": [picture.name for picture in chosen[seed][:n]]}
            for n in plan.shots
            for seed in plan.seeds
        ],
        "problems": list(dict.fromkeys(problems)),
        "paths": [picture.entry.name for picture in heard.pictures],
        "labels": [picture.entry.label == "defective" for picture in heard.pictures],
        "runs": list(_figures(runs, heard)),
        "seconds": round(time.perf_counter() - started, 3),
    }


def _learn(
    pictures: Sequence[Picture],
    n_shots: int,
    seed: int,
    backbone: Backbone,
    config: LakeConfig,
    plan: Plan,
    store: FeatureStore,
) -> Iterator[Run]:
    """The runs of one choice of normal pictures; lake, visual and text share a detector."""
    own_weights: dict[Method, float | None] = {"lake": None, "visual": 0.0, "text": 1.0}
    for learning, draw in plan.variants():
        changes: dict[str, Any] = {"lake": {}, "all": {"criterion": "all"}}.get(
            learning, {"criterion": "random", "seed": N_RANDOM_DRAWS * seed + draw}
        )
        started = time.perf_counter()
        detector = Lake(backbone, replace(config, **changes), store).fit(pictures)
        seconds = time.perf_counter() - started
        weights = own_weights if learning == "lake" else {learning: None}
        for method, weight in weights.items():
            if method in plan.methods:
                yield Run(n_shots, seed, method, draw, Seat(detector, weight), seconds)


def _figures(runs: Sequence[Run], heard: Heard) -> Iterator[dict[str, Any]]:
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
                row["pixel_auroc"], row["pixel_aupro"] = truth.metrics(_spread(maps[masked], masks, run.seat.grid))
            row["scores"] = scores.tolist()
        yield row


def _spread(maps: np.ndarray, masks: Sequence[Mask], grid: PatchGrid) -> list[np.ndarray]:
    """Maps (n, n_patches) over the pixels of their masks, those of one size together."""
    alike: dict[tuple[tuple[int, ...], Placement], list[int]] = {}
    for i, mask in enumerate(masks):
        alike.setdefault((mask.defect.shape, mask.placement), []).append(i)
    spread: list[np.ndarray] = [np.zeros(0)] * len(masks)
    for ((height, width), placement), indices in alike.items():
        together = map_to_picture(maps[indices], grid, placement, (width, height), smooth=True)
        for i, one in zip(indices, together, strict=True):
            spread[i] = one
    return spread


def _read_normals(name: str, entries: Iterable[Entry], n: int, problems: list[str]) -> list[Picture]:
    """The first n pictures that can be read and are not copies of each other."""
    found: dict[str, Picture] = {}
    for entry in entries:
        if len(found) == n:
            break
        try:
            picture = read_picture(entry.path, entry.name)
        except ImageError as error:
            problems.append(f"{name}: {error}")
            continue
        found.setdefault(picture.sha256, picture)
    if len(found) < n:
        raise DatasetError(f"{name} has only {len(found)} different normal pictures that can be read: ask for fewer.")
    return list(found.values())


def _batch_size(backbone: Backbone) -> int:
    return BATCH_ON_GPU if backbone.device.type == "cuda" else BATCH_ON_CPU


def _is_labelled_test(entry: Entry) -> bool:
    return entry.role == "test" and entry.label is not None
