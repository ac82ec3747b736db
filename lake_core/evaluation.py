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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lake_core.backbones import Backbone
from lake_core.config import LakeConfig
from lake_core.datasets import index_folder
from lake_core.errors import DatasetError
from lake_core.metrics import bootstrap_auroc, interval
from lake_core.trials import METHODS, METRICS, Method, Plan, Report, Run, run_category

SCHEMA = 1
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
    with_scores: bool = False,
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
        with_scores: Also give the score of each test picture, from which curves are drawn and misses are listed.
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
        - scores, if asked for: one row per category, shots, seed, method and test picture with its path below the
          category's folder, label ("good" or "defective") and score; random's is the mean over its draws. A method
          without a score (text where there is no text part) has no rows
    Raises:
        ConfigError: if shots, seeds or methods make no sense.
        DatasetError: if a category has too few normal pictures or no labelled test picture.
    """
    config = config or LakeConfig()
    plan = Plan(tuple(sorted(set(shots))), tuple(dict.fromkeys(seeds)), tuple(dict.fromkeys(methods)), pixel)
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
    if with_scores:
        document["scores"] = []
    draws: dict[tuple[int, Method], list[np.ndarray]] = {}
    for name, entries in indexed.items():
        started = time.perf_counter()
        object_name = (object_names or {}).get(name) or _object_name(name, config)
        own_config = replace(config, object_name=object_name)
        runs, normals, problems = run_category(name, entries, backbone, own_config, plan, on_progress)
        document["config"] = own_config.resolved(backbone.recommended).as_dict()
        document["object_names"][name] = object_name
        document["normals"].extend(normals)
        document["problems"].extend(problems)
        document["results"].extend(_rows(name, runs, plan))
        if with_scores:
            document["scores"].extend(score_rows(name, runs, plan))
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


def environment() -> dict[str, str]:
    """Versions of what the figures depend on."""
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {"torch_threads": str(torch.get_num_threads())}


def _rows(name: str, runs: Sequence[Run], plan: Plan) -> list[dict[str, Any]]:
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


def score_rows(name: str, runs: Sequence[Run], plan: Plan) -> Iterator[dict[str, Any]]:
    """What each method said of each test picture; see `evaluate`."""
    for n_shots in plan.shots:
        for seed in plan.seeds:
            for method in plan.methods:
                draws = [run for run in runs if (run.shots, run.seed, run.method) == (n_shots, seed, method)]
                if not draws[0].scores:
                    continue
                for path, is_defective, score in zip(
                    draws[0].names, draws[0].labels, np.mean([run.scores for run in draws], axis=0), strict=True
                ):
                    yield {
                        "category": name,
                        "shots": n_shots,
                        "seed": seed,
                        "method": method,
                        "path": path,
                        "label": "defective" if is_defective else "good",
                        "score": float(score),
                    }


def _bootstrap(runs: Sequence[Run], n_shots: int, method: Method) -> np.ndarray | None:
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
    document: Mapping[str, Any], plan: Plan, draws: Mapping[tuple[int, Method], list[np.ndarray]]
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
