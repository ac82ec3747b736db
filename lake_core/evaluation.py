"""The few-shot protocol over data sets: which normal pictures are learned from, what is compared, what comes out.

For each data set (category), number of normal pictures (shots) and seed, detectors learn from the first `shots` of one
seeded permutation of the normal pictures, so that fewer shots are a part of more, and score every labelled test
picture. Five methods share the same pictures and features:

    lake     the selected units and the text, fused, as configured
    random   the same with K random units: the mean of the figures of 5 draws
    all      the same with all units of the layers
    visual   lake's visual map alone (text weight 0)
    text     the cross-modal map alone (text weight 1)

The network runs once per picture, whatever the number of methods, shots and seeds. Each category is one task
(`lake_core.trials`); an engine runs the tasks here or elsewhere, and this file makes one document of their outcomes,
the same whichever engine it was.
"""

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from lake_core.backbones import Backbone
from lake_core.config import LakeConfig
from lake_core.datasets import index_folder
from lake_core.errors import DatasetError
from lake_core.journal import Journal, fingerprint
from lake_core.metrics import bootstrap_auroc, interval
from lake_core.trials import METHODS, METRICS, Method, Outcome, Plan, Report, Task, run_task

SCHEMA = 1
_MEAN = "mean"
_PACKAGES = ("lake-explorer", "torch", "open_clip_torch", "timm", "numpy", "scipy", "scikit-learn", "pillow")


class Engine(Protocol):
    """Runs tasks somewhere."""

    def model_key(self) -> str:
        """What the outcomes depend on besides the tasks, as a text."""

    def run(self, tasks: Sequence[Task], on_progress: Report | None) -> Iterator[Outcome]:
        """The outcomes of the tasks, each as soon as it is there, in any order."""


class LocalEngine:
    """Runs tasks in this process, one after the other."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone

    def model_key(self) -> str:
        return self.backbone.key

    def run(self, tasks: Sequence[Task], on_progress: Report | None) -> Iterator[Outcome]:
        for task in tasks:
            yield run_task(task, self.backbone, on_progress)


def evaluate(
    folders: Iterable[Path],
    backbone: Backbone | Engine,
    config: LakeConfig | None = None,
    *,
    shots: Sequence[int] = (4,),
    seeds: Sequence[int] = (0, 1, 2),
    methods: Sequence[Method] = METHODS,
    object_names: Mapping[str, str] | None = None,
    pixel: bool = True,
    with_scores: bool = False,
    batch_size: int | None = None,
    journal: Journal | None = None,
    on_progress: Report | None = None,
) -> dict[str, Any]:
    """Runs the protocol.

    Args:
        folders: One folder per category, each a data set with normal and labelled test pictures; `categories` finds
            those below a folder.
        backbone: From `open_backbone`; or an engine, such as `RayEngine`, that opens its own elsewhere.
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
        with_scores: Also give the score of each test picture, from which curves are drawn and misses are listed.
        batch_size: Pictures in a forward pass; None takes 4 on the CPU and 64 on a GPU.
        journal: Keeps the outcome of each category as soon as it is there, so that a run that was interrupted goes on.
        on_progress: Called after each few pictures.
    Returns:
        The result document, plain values for JSON:

        - schema (1), model (the spec), input_size, resize, precision
        - config: the resolved parameters, as `LakeConfig.as_dict`; object_name is that of the last category
        - object_names: category -> name in the prompts
        - results: one row per category, shots, seed and method with the five METRICS (null where they cannot be had),
          n_normal, n_test, n_defective and seconds: learning, and an equal share of the search that all detectors make
          together, without the network; lake, visual and text share one learning and report it each
        - summary: one row per category, and per "mean" over categories, for each shots and method: `<metric>_mean` and
          `<metric>_std` over seeds (population), image_auroc_low and image_auroc_high: 95 % bootstrap interval over
          test pictures of the mean over seeds
        - normals: one row per category, shots and seed with the names of the normal pictures chosen
        - seconds: category -> whole time, with the network
        - problems: one sentence for each picture left out
        - environment: versions
        - fingerprint: of all that was asked for; see `lake_core.journal`
        - scores, if asked for: one row per category, shots, seed, method and test picture with its path below the
          category's folder, label ("good" or "defective") and score; random's is the mean over its draws. A method
          without a score (text where there is no text part) has no rows
    Raises:
        ConfigError: if shots, seeds or methods make no sense.
        DatasetError: if a category has too few normal pictures or no labelled test picture.
    """
    config = config or LakeConfig()
    plan = Plan(tuple(sorted(set(shots))), tuple(dict.fromkeys(seeds)), tuple(dict.fromkeys(methods)), pixel)
    engine: Engine = LocalEngine(backbone) if isinstance(backbone, Backbone) else backbone
    named = _named(folders)
    indexed = {name: index_folder(folder) for name, folder in named.items()}
    for name, entries in indexed.items():
        plan.check(name, entries)
    tasks = []
    for name, folder in named.items():
        object_name = (object_names or {}).get(name) or _object_name(name, config)
        tasks.append(Task(name, folder.resolve(), replace(config, object_name=object_name), plan, batch_size))
    asked = fingerprint(engine.model_key(), tasks, indexed)
    outcomes = journal.begin(asked) if journal is not None else {}
    for name, outcome in outcomes.items():
        if on_progress is not None:
            on_progress(name, len(outcome["paths"]), len(outcome["paths"]))
    for outcome in engine.run([task for task in tasks if task.category not in outcomes], on_progress):
        outcomes[outcome["category"]] = outcome
        if journal is not None:
            journal.keep(outcome)
    document = _document([outcomes[task.category] for task in tasks], plan, with_scores)
    return document | {"fingerprint": asked.digest}


def _document(outcomes: Sequence[Outcome], plan: Plan, with_scores: bool) -> dict[str, Any]:
    results: list[dict[str, Any]] = []
    summary: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    draws: dict[tuple[int, Method], list[np.ndarray]] = {}
    for outcome in outcomes:
        rows = list(_rows(outcome, plan))
        results.extend(rows)
        scores.extend(score_rows(outcome, plan) if with_scores else ())
        for n_shots in plan.shots:
            for method in plan.methods:
                found = _bootstrap(outcome, n_shots, method)
                if found is not None:
                    draws.setdefault((n_shots, method), []).append(found)
                own = [row for row in rows if (row["shots"], row["method"]) == (n_shots, method)]
                summary.append(_summary(outcome["category"], n_shots, method, own, found))
    summary.extend(_means(results, len(outcomes), plan, draws))
    document = {
        "schema": SCHEMA,
        **outcomes[-1]["model"],
        "config": outcomes[-1]["config"],
        "object_names": {outcome["category"]: outcome["object_name"] for outcome in outcomes},
        "results": results,
        "summary": summary,
        "normals": [row for outcome in outcomes for row in outcome["normals"]],
        "seconds": {outcome["category"]: outcome["seconds"] for outcome in outcomes},
        "problems": [problem for outcome in outcomes for problem in outcome["problems"]],
        "environment": environment(),
    }
    return document | ({"scores": scores} if with_scores else {})


def environment() -> dict[str, str]:
    """Versions of what the figures depend on."""
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {"torch_threads": str(torch.get_num_threads())}


def score_rows(outcome: Outcome, plan: Plan) -> Iterator[dict[str, Any]]:
    """What each method said of each test picture of a category; see `evaluate`."""
    for n_shots, seed, method in _combinations(plan):
        draws = [run["scores"] for run in _runs(outcome, n_shots, method) if run["seed"] == seed]
        if not draws[0]:
            continue
        for path, is_defective, score in zip(
            outcome["paths"], outcome["labels"], np.mean(draws, axis=0).tolist(), strict=True
        ):
            yield {
                "category": outcome["category"],
                "shots": n_shots,
                "seed": seed,
                "method": method,
                "path": path,
                "label": "defective" if is_defective else "good",
                "score": score,
            }


def _rows(outcome: Outcome, plan: Plan) -> Iterator[dict[str, Any]]:
    for n_shots, seed, method in _combinations(plan):
        draws = [run for run in _runs(outcome, n_shots, method) if run["seed"] == seed]
        yield (
            {"category": outcome["category"], "shots": n_shots, "seed": seed, "method": method}
            | {metric: _rounded(_mean([run[metric] for run in draws])) for metric in METRICS}
            | {
                "n_normal": n_shots,
                "n_test": len(outcome["labels"]),
                "n_defective": sum(outcome["labels"]),
                "seconds": round(float(np.mean([run["seconds"] for run in draws])), 3),
            }
        )


def _combinations(plan: Plan) -> Iterator[tuple[int, int, Method]]:
    for n_shots in plan.shots:
        for seed in plan.seeds:
            for method in plan.methods:
                yield n_shots, seed, method


def _runs(outcome: Outcome, n_shots: int, method: Method) -> list[dict[str, Any]]:
    return [run for run in outcome["runs"] if run["shots"] == n_shots and run["method"] == method]


def _bootstrap(outcome: Outcome, n_shots: int, method: Method) -> np.ndarray | None:
    scores = [run["scores"] for run in _runs(outcome, n_shots, method)]
    return bootstrap_auroc(outcome["labels"], scores) if scores[0] else None


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
    results: Sequence[Mapping[str, Any]],
    n_categories: int,
    plan: Plan,
    draws: Mapping[tuple[int, Method], list[np.ndarray]],
) -> Iterator[dict[str, Any]]:
    """The rows over all categories: a metric counts where every category has it."""
    for n_shots in plan.shots:
        for method in plan.methods:
            by_seed = []
            for seed in plan.seeds:
                rows = [row for row in results if (row["shots"], row["seed"], row["method"]) == (n_shots, seed, method)]
                by_seed.append({metric: _mean([row[metric] for row in rows]) for metric in METRICS})
            own = draws.get((n_shots, method), [])
            together = np.mean(own, axis=0) if len(own) == n_categories else None
            yield _summary(_MEAN, n_shots, method, by_seed, together)


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, or None if a value is missing."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


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
