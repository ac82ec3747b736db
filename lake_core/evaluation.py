"""The few-shot protocol over data sets: which normal pictures are learned from, what is compared, what comes out.

For each data set (category), number of normal pictures (shots) and seed, detectors learn from the first `shots` of one
seeded permutation of the normal pictures, so that fewer shots are a part of more, and score every labelled test
picture. Five methods share the same pictures and features:

    lake     the selected units and the text, fused, as configured
    random   the same with K random units: the mean of the figures of 5 draws
    all      the same with all units of the layers
    visual   lake's visual map alone (text weight 0)
    text     the cross-modal map alone (text weight 1)

The network runs once per picture, whatever the number of methods, shots and seeds. Test pictures are read, scored by
all detectors and let go a few at a time; what stays are their maps on the patch grid and, for pixel metrics, their
masks.
"""

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch

from lake_core.backbones import Backbone
from lake_core.config import LakeConfig
from lake_core.datasets import Entry, Example, index_folder, read_example
from lake_core.detector import Lake
from lake_core.errors import ConfigError, DatasetError, ImageError
from lake_core.features import FeatureStore
from lake_core.geometry import PatchGrid, Placement, map_to_picture
from lake_core.images import Picture
from lake_core.metrics import auroc, average_precision, bootstrap_auroc, f1_max, interval, pixel_metrics
from lake_core.scoring import ImageScore

Method = Literal["lake", "random", "all", "visual", "text"]
METHODS: tuple[Method, ...] = get_args(Method)
METRICS = ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_aupro")
N_RANDOM_DRAWS = 5
SCHEMA = 1
MAX_PIXEL_SIDE = 256

Report: TypeAlias = Callable[[str, int, int], None]
"""Called with the category, its pictures done and its pictures in all; it may raise to cancel."""

_MEAN = "mean"
_PACKAGES = ("lake-explorer", "torch", "open_clip_torch", "timm", "numpy", "scipy", "scikit-learn", "pillow")


def evaluate(
    folders: Iterable[Path],
    backbone: Backbone,
    config: LakeConfig | None = None,
    *,
    shots: Sequence[int] = (4,),
    seeds: Sequence[int] = (0, 1, 2),
    methods: Sequence[Method] = METHODS,
    object_names: Mapping[str, str] | None = None,
    pixel: bool = True,
    on_progress: Report | None = None,
) -> dict[str, Any]:
    """Runs the protocol.

    Args:
        folders: One folder per category, each a data set with normal and labelled test pictures; `categories` finds
            those below a folder.
        backbone: From `open_backbone`.
        config: Parameters of the method. Its object name is used for all categories, unless it is the neutral "object":
            then each category's folder name, with spaces for underscores.
        shots: Numbers of normal pictures.
        seeds: Seeds of the choice of normal pictures and of random units.
        methods: Which methods.
        object_names: Category -> what its pictures show, where the folder's name does not say it well.
        pixel: Also compare maps with masks. Maps are interpolated over the picture and compared at the size of the
            picture reduced by the least whole factor that brings its longest side to MAX_PIXEL_SIDE or below; a
            reduced pixel is defect if any of its pixels is. Defective pictures without a mask take no part, and
            without any mask the pixel metrics are null.
        on_progress: Called after each few pictures.
    Returns:
        The result document, plain values for JSON:

        - schema (1), model (the spec), input_size, resize
        - config: the resolved parameters, as `LakeConfig.as_dict`; object_name is that of the last category
        - object_names: category -> name in the prompts
        - results: one row per category, shots, seed and method with the five METRICS (null where they cannot be had),
          n_normal, n_test, n_defective and seconds: learning and scoring, without the network; lake, visual and text
          share one learning and one search, whose time each of them reports
        - summary: one row per category, and per "mean" over categories, for each shots and method: `<metric>_mean` and
          `<metric>_std` over seeds (population), image_auroc_low and image_auroc_high: 95 % bootstrap interval over
          test pictures of the mean over seeds
        - normals: one row per category, shots and seed with the names of the normal pictures chosen
        - seconds: category -> whole time, with the network
        - problems: one sentence for each picture left out
        - environment: versions
    Raises:
        ConfigError: if shots, seeds or methods make no sense.
        DatasetError: if a category has too few normal pictures or no labelled test picture.
    """
    config = config or LakeConfig()
    plan = _Plan(tuple(sorted(set(shots))), tuple(dict.fromkeys(seeds)), tuple(dict.fromkeys(methods)), pixel)
    indexed = {name: index_folder(folder) for name, folder in _named(folders).items()}
    for name, entries in indexed.items():
        plan.check(name, entries)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "model": backbone.spec,
        "input_size": list(backbone.input_size),
        "resize": backbone.resize,
        "config": {},
        "object_names": {},
        "results": [],
        "summary": [],
        "normals": [],
        "seconds": {},
        "problems": [],
        "environment": environment(),
    }
    draws: dict[tuple[int, Method], list[np.ndarray]] = {}
    for name, entries in indexed.items():
        started = time.perf_counter()
        object_name = (object_names or {}).get(name) or _object_name(name, config)
        own_config = replace(config, object_name=object_name)
        runs, normals, problems = _run_category(name, entries, backbone, own_config, plan, on_progress)
        document["config"] = own_config.resolved(backbone.recommended).as_dict()
        document["object_names"][name] = object_name
        document["normals"].extend(normals)
        document["problems"].extend(problems)
        document["results"].extend(_rows(name, runs, plan))
        for n_shots in plan.shots:
            for method in plan.methods:
                found = _bootstrap(runs, n_shots, method)
                if found is not None:
                    draws.setdefault((n_shots, method), []).append(found)
                rows = [r for r in document["results"] if _is(r, name, n_shots, method)]
                document["summary"].append(_summary(name, n_shots, method, rows, found))
        document["seconds"][name] = round(time.perf_counter() - started, 3)
    document["summary"].extend(_means(document, plan, draws))
    return document


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


def environment() -> dict[str, str]:
    """Versions of what the figures depend on."""
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {"torch_threads": str(torch.get_num_threads())}


@dataclass(frozen=True)
class _Plan:
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
class _Run:
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
    masks: "list[_Mask | None]"
    seconds: float
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
class _Mask:
    """A mask reduced for comparison, and where its picture lies in the model's input."""

    defect: np.ndarray
    placement: Placement

    def spread(self, values: np.ndarray, grid: PatchGrid) -> np.ndarray:
        height, width = self.defect.shape
        return map_to_picture(values, grid, self.placement, (width, height), smooth=True)


def _run_category(
    name: str,
    entries: Sequence[Entry],
    backbone: Backbone,
    config: LakeConfig,
    plan: _Plan,
    on_progress: Report | None,
) -> tuple[list[_Run], list[dict[str, Any]], list[str]]:
    """All runs of one category, the normal pictures they learned from, and what was left out."""
    store = FeatureStore(backbone)
    problems: list[str] = []
    tests = [entry for entry in entries if _is_labelled_test(entry)]
    chosen = {seed: _read_normals(name, choose_normals(entries, seed), plan.shots[-1], problems) for seed in plan.seeds}
    n_normals = len({picture.sha256 for pictures in chosen.values() for picture in pictures})
    n_all = n_normals + len(tests)

    labels: list[bool] = []
    masks: list[_Mask | None] = []
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
            labels.append(example.label == "defective")
            masks.append(_reduced(example, backbone) if plan.pixel else None)
        n_done += len(examples)
        if on_progress is not None:
            on_progress(name, min(n_done, n_all), n_all)
    for run in runs:
        run.labels, run.masks = np.array(labels, dtype=bool), masks
    return runs, normals, list(dict.fromkeys(problems))


def _learn(
    pictures: Sequence[Picture],
    n_shots: int,
    seed: int,
    backbone: Backbone,
    config: LakeConfig,
    plan: _Plan,
    store: FeatureStore,
) -> Iterator[_Run]:
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
                yield _Run(n_shots, seed, method, weight, detector, np.zeros(0, bool), [], seconds)


def _score(picture: Picture, runs: Sequence[_Run], keep_maps: bool) -> None:
    """Lets every detector search once, and every run weigh what its detector found."""
    by_detector: dict[int, list[_Run]] = {}
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


def _reduced(example: Example, backbone: Backbone) -> _Mask | None:
    """The mask at the size of comparison; an empty one for a good picture, None for a defective one without mask."""
    picture = example.picture
    if example.mask is None and example.label != "good":
        return None
    factor = -(-max(picture.size) // MAX_PIXEL_SIDE)
    mask = np.zeros((picture.height, picture.width), dtype=bool) if example.mask is None else example.mask
    for axis in (0, 1):
        mask = np.logical_or.reduceat(mask, np.arange(0, mask.shape[axis], factor), axis=axis)
    return _Mask(mask, backbone.placement(picture))


def _rows(name: str, runs: Sequence[_Run], plan: _Plan) -> list[dict[str, Any]]:
    rows = []
    for n_shots in plan.shots:
        for seed in plan.seeds:
            for method in plan.methods:
                draws = [run for run in runs if (run.shots, run.seed, run.method) == (n_shots, seed, method)]
                figures = [run.figures() for run in draws]
                rows.append(
                    {"category": name, "shots": n_shots, "seed": seed, "method": method}
                    | {metric: _rounded(_mean([found[metric] for found in figures])) for metric in METRICS}
                    | {
                        "n_normal": n_shots,
                        "n_test": len(draws[0].labels),
                        "n_defective": int(draws[0].labels.sum()),
                        "seconds": round(float(np.mean([run.seconds for run in draws])), 3),
                    }
                )
    return rows


def _bootstrap(runs: Sequence[_Run], n_shots: int, method: Method) -> np.ndarray | None:
    own = [run for run in runs if run.shots == n_shots and run.method == method]
    return bootstrap_auroc(own[0].labels, [run.scores for run in own]) if own[0].scores else None


def _summary(
    category: str, n_shots: int, method: Method, rows: Sequence[Mapping[str, Any]], draws: np.ndarray | None
) -> dict[str, Any]:
    """Mean and spread over the rows of one category, one row per seed."""
    summary: dict[str, Any] = {"category": category, "shots": n_shots, "method": method}
    for metric in METRICS:
        values = [row[metric] for row in rows]
        summary[f"{metric}_mean"] = _rounded(_mean(values))
        summary[f"{metric}_std"] = None if None in values else _rounded(float(np.std(values)))
    bounds = (None, None) if draws is None else interval(draws)
    return summary | {"image_auroc_low": _rounded(bounds[0]), "image_auroc_high": _rounded(bounds[1])}


def _means(
    document: Mapping[str, Any], plan: _Plan, draws: Mapping[tuple[int, Method], list[np.ndarray]]
) -> Iterator[dict[str, Any]]:
    """The rows over all categories: a metric counts where every category has it."""
    n_categories = len(document["object_names"])
    for n_shots in plan.shots:
        for method in plan.methods:
            by_seed = []
            for seed in plan.seeds:
                rows = [r for r in document["results"] if _is(r, None, n_shots, method) and r["seed"] == seed]
                by_seed.append({metric: _mean([row[metric] for row in rows]) for metric in METRICS})
            own = draws.get((n_shots, method), [])
            together = np.mean(own, axis=0) if len(own) == n_categories else None
            yield _summary(_MEAN, n_shots, method, by_seed, together)


def _is(row: Mapping[str, Any], category: str | None, n_shots: int, method: Method) -> bool:
    return category in (None, row["category"]) and row["shots"] == n_shots and row["method"] == method


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, or None if a value is missing."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _is_labelled_test(entry: Entry) -> bool:
    return entry.role == "test" and entry.label is not None


def _named(folders: Iterable[Path]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for folder in folders:
        name = folder.resolve().name
        if name in named:
            raise DatasetError(f"Two data sets are called {name}: rename a folder.")
        named[name] = folder
    if not named:
        raise DatasetError("There is no data set to evaluate: give folders with train/good and test.")
    return named


def _object_name(category: str, config: LakeConfig) -> str:
    return config.object_name if config.object_name != "object" else category.replace("_", " ")
