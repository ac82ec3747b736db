"""One category of the few-shot protocol: detectors learn from chosen normal pictures and score every test picture.

Test pictures are read, scored by all detectors and let go a few at a time; what stays are their maps on the patch grid
and, for pixel metrics, their masks.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from lake_core.backbones import Backbone
from lake_core.config import LakeConfig
from lake_core.datasets import Entry, Example, read_example
from lake_core.detector import Lake
from lake_core.errors import ConfigError, DatasetError, ImageError
from lake_core.features import FeatureStore
from lake_core.geometry import PatchGrid, Placement, map_to_picture
from lake_core.images import Picture
from lake_core.metrics import auroc, average_precision, f1_max, pixel_metrics
from lake_core.scoring import ImageScore

Method = Literal["lake", "random", "all", "visual", "text"]
METHODS: tuple[Method, ...] = get_args(Method)
METRICS = ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_aupro")
N_RANDOM_DRAWS = 5
MAX_PIXEL_SIDE = 256

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


@dataclass
class Run:
    """One method (one draw of it) with one choice of normal pictures, and what it said of each test picture.

    `weight` is the text weight that replaces the configured one, or None. `scores` stays empty where the method needs a
    text part that the backbone does not have.
    """

    shots: int
    seed: int
    method: Method
    weight: float | None
    detector: Lake
    labels: np.ndarray
    masks: "list[Mask | None]"
    seconds: float
    names: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    maps: list[np.ndarray] = field(default_factory=list)

    def take(self, result: ImageScore, keep_map: bool) -> None:
        if self.method == "text" and result.witnesses.cross_modal is None:
            return
        self.scores.append(result.score)
        if keep_map:
            self.maps.append(result.map.ravel())

    @property
    def grid(self) -> PatchGrid:
        return self.detector.normality_.grid

    def figures(self) -> dict[str, float | None]:
        """The five metrics."""
        if not self.scores:
            return dict.fromkeys(METRICS)
        pixel_auroc, pixel_aupro = self._pixel_figures() if self.maps else (None, None)
        return {
            "image_auroc": auroc(self.labels, self.scores),
            "image_ap": average_precision(self.labels, self.scores),
            "image_f1_max": f1_max(self.labels, self.scores),
            "pixel_auroc": pixel_auroc,
            "pixel_aupro": pixel_aupro,
        }

    def _pixel_figures(self) -> tuple[float | None, float | None]:
        pairs = [(values, mask) for values, mask in zip(self.maps, self.masks, strict=True) if mask is not None]
        spread = [mask.spread(values, self.grid) for values, mask in pairs]
        return pixel_metrics(spread, [mask.defect for _, mask in pairs])


@dataclass(frozen=True)
class Mask:
    """A mask reduced for comparison, and where its picture lies in the model's input."""

    defect: np.ndarray
    placement: Placement

    def spread(self, values: np.ndarray, grid: PatchGrid) -> np.ndarray:
        height, width = self.defect.shape
        return map_to_picture(values, grid, self.placement, (width, height), smooth=True)


def run_category(
    name: str,
    entries: Sequence[Entry],
    backbone: Backbone,
    config: LakeConfig,
    plan: Plan,
    on_progress: Report | None,
) -> tuple[list[Run], list[dict[str, Any]], list[str]]:
    """All runs of one category, the normal pictures they learned from, and what was left out."""
    store = FeatureStore(backbone)
    problems: list[str] = []
    tests = [entry for entry in entries if _is_labelled_test(entry)]
    chosen = {seed: _read_normals(name, choose_normals(entries, seed), plan.shots[-1], problems) for seed in plan.seeds}
    n_normals = len({picture.sha256 for pictures in chosen.values() for picture in pictures})
    n_all = n_normals + len(tests)

    names: list[str] = []
    labels: list[bool] = []
    masks: list[Mask | None] = []
    places = Lake(backbone, config, store).places
    unique = list({p.sha256: p for pictures in chosen.values() for p in pictures}.values())
    store.ensure(unique, places, None if on_progress is None else lambda done, _: on_progress(name, done, n_all))
    normals = [
        {"category": name, "shots": n, "seed": seed, "names": [picture.name for picture in chosen[seed][:n]]}
        for n in plan.shots
        for seed in plan.seeds
    ]
    runs = [
        run
        for n in plan.shots
        for seed in plan.seeds
        for run in _learn(chosen[seed][:n], n, seed, backbone, config, plan, store)
    ]

    n_done = n_normals
    for examples in _read_tests(tests, store.batch_size, problems):
        store.ensure([example.picture for example in examples], places)
        for example in examples:
            _score(example.picture, runs, plan.pixel)
            names.append(example.picture.name)
            labels.append(example.label == "defective")
            masks.append(_reduced(example, backbone) if plan.pixel else None)
        n_done += len(examples)
        if on_progress is not None:
            on_progress(name, min(n_done, n_all), n_all)
    for run in runs:
        run.names, run.labels, run.masks = names, np.array(labels, dtype=bool), masks
    return runs, normals, list(dict.fromkeys(problems))


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
                yield Run(n_shots, seed, method, weight, detector, np.zeros(0, bool), [], seconds)


def _score(picture: Picture, runs: Sequence[Run], keep_maps: bool) -> None:
    """Lets every detector search once, and every run weigh what its detector found."""
    by_detector: dict[int, list[Run]] = {}
    for run in runs:
        by_detector.setdefault(id(run.detector), []).append(run)
    for sharing in by_detector.values():
        detector = sharing[0].detector
        started = time.perf_counter()
        witnesses = detector.measure(picture)
        for run in sharing:
            weight = detector.config.text_weight if run.weight is None else run.weight
            run.take(ImageScore(witnesses, weight, detector.config.top_q, detector.threshold_), keep_maps)
        for run in sharing:
            run.seconds += time.perf_counter() - started


def _read_normals(name: str, entries: Iterable[Entry], n: int, problems: list[str]) -> list[Picture]:
    """The first n pictures that can be read and are not copies of each other."""
    found: dict[str, Picture] = {}
    for entry in entries:
        if len(found) == n:
            break
        try:
            picture = read_example(entry).picture
        except ImageError as error:
            problems.append(f"{name}: {error}")
            continue
        found.setdefault(picture.sha256, picture)
    if len(found) < n:
        raise DatasetError(f"{name} has only {len(found)} different normal pictures that can be read: ask for fewer.")
    return list(found.values())


def _read_tests(entries: Sequence[Entry], at_a_time: int, problems: list[str]) -> Iterator[list[Example]]:
    for start in range(0, len(entries), at_a_time):
        examples = []
        for entry in entries[start : start + at_a_time]:
            try:
                examples.append(read_example(entry))
            except ImageError as error:
                problems.append(str(error))
        if examples:
            yield examples


def _reduced(example: Example, backbone: Backbone) -> Mask | None:
    """The mask at the size of comparison; an empty one for a good picture, None for a defective one without mask."""
    picture = example.picture
    if example.mask is None and example.label != "good":
        return None
    factor = -(-max(picture.size) // MAX_PIXEL_SIDE)
    mask = np.zeros((picture.height, picture.width), dtype=bool) if example.mask is None else example.mask
    for axis in (0, 1):
        mask = np.logical_or.reduceat(mask, np.arange(0, mask.shape[axis], factor), axis=axis)
    return Mask(mask, backbone.placement(picture))


def _is_labelled_test(entry: Entry) -> bool:
    return entry.role == "test" and entry.label is not None
