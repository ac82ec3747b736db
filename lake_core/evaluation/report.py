"""The JSON document of an evaluation, made of the outcomes of its categories, the same whichever engine ran them.

Its shape (SCHEMA 1); a figure that cannot be had, for want of masks or of one class, is null:

- schema; model (the spec), input_size, resize, precision
- config: the resolved parameters, as `LakeConfig.as_dict`; object_name is that of the last category
- object_names: category -> name in the prompts
- results: one row per category, shots, seed and method with the five METRICS, n_normal, n_test, n_defective and
  seconds: learning, and an equal share of the search that all detectors make together, without the network; lake,
  visual and text share one learning and report it each. random's figures are means over its draws
- summary: one row per category, and per "mean" over categories, for each shots and method: `<metric>_mean` and
  `<metric>_std` over seeds (population), `<metric>_low` and `<metric>_high`: 95 % bootstrap interval over test
  images of the mean over seeds. A mean over categories is null where one of them has no figure
- normals: one row per category, shots and seed with the names of the normal images chosen
- seconds: category -> whole time, with the network
- problems: one sentence for each thing that was left out or should be known
- environment: versions, and what computed (cpu, or the name of the GPU)
- scores, if asked for: one row per category, shots, seed, method and test image with its path below the category's
  folder, label ("good" or "defective") and score; random's is the mean over its draws, text's a difference of cosines.
  A method without a score (text where there is no text part) has no rows
"""

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeAlias

import numpy as np
import torch

from lake_core.evaluation.protocol import METRICS, FewShotProtocol, Method, Outcome
from lake_core.metrics.bootstrap import interval

SCHEMA = 1
_MEAN = "mean"
Draws: TypeAlias = dict[str, np.ndarray]
"""Metric -> (n_draws,) figures on bootstrap draws of images."""
_PACKAGES = ("lake-explorer", "torch", "open_clip_torch", "timm", "numpy", "scipy", "scikit-learn", "pillow")


def document(outcomes: Sequence[Outcome], protocol: FewShotProtocol, with_scores: bool) -> dict[str, Any]:
    """The document of these outcomes.

    Args:
        outcomes: One per category, at least one.
        plan: What was asked for.
        with_scores: Also give the score of each test image.
    """
    results: list[dict[str, Any]] = []
    summary: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    draws: dict[tuple[int, Method], list[Draws]] = {}
    for outcome in outcomes:
        rows = list(_rows(outcome, protocol))
        results.extend(rows)
        scores.extend(_score_rows(outcome, protocol) if with_scores else ())
        for n_shots in protocol.shots:
            for method in protocol.methods:
                drawn = _draws(outcome, n_shots, method)
                draws.setdefault((n_shots, method), []).append(drawn)
                own = [row for row in rows if (row["shots"], row["method"]) == (n_shots, method)]
                summary.append(_summary(outcome["category"], n_shots, method, own, drawn))
    summary.extend(_means(results, protocol, draws))
    found = {
        "schema": SCHEMA,
        **outcomes[-1]["model"],
        "config": outcomes[-1]["config"],
        "object_names": {outcome["category"]: outcome["object_name"] for outcome in outcomes},
        "results": results,
        "summary": summary,
        "normals": [row for outcome in outcomes for row in outcome["normals"]],
        "seconds": {outcome["category"]: outcome["seconds"] for outcome in outcomes},
        "problems": [problem for outcome in outcomes for problem in outcome["problems"]],
        "environment": environment() | {"device": ", ".join(sorted({outcome["device"] for outcome in outcomes}))},
    }
    return found | ({"scores": scores} if with_scores else {})


def environment() -> dict[str, str]:
    """Versions of what the figures depend on."""
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {"torch_threads": str(torch.get_num_threads())}


def _score_rows(outcome: Outcome, protocol: FewShotProtocol) -> Iterator[dict[str, Any]]:
    """What each method said of each test image of a category."""
    for n_shots, seed, method in _combinations(protocol):
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


def _rows(outcome: Outcome, protocol: FewShotProtocol) -> Iterator[dict[str, Any]]:
    for n_shots, seed, method in _combinations(protocol):
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


def _combinations(protocol: FewShotProtocol) -> Iterator[tuple[int, int, Method]]:
    for n_shots in protocol.shots:
        for seed in protocol.seeds:
            for method in protocol.methods:
                yield n_shots, seed, method


def _runs(outcome: Outcome, n_shots: int, method: Method) -> list[dict[str, Any]]:
    return [run for run in outcome["runs"] if run["shots"] == n_shots and run["method"] == method]


def _draws(outcome: Outcome, n_shots: int, method: Method) -> Draws:
    """For each metric that could be had its figures on the bootstrap draws."""
    row = next(row for row in outcome["draws"] if (row["shots"], row["method"]) == (n_shots, method))
    return {metric: np.array(row[metric]) for metric in METRICS if metric in row}


def _summary(
    category: str, n_shots: int, method: Method, rows: Sequence[Mapping[str, Any]], draws: Draws
) -> dict[str, Any]:
    """Mean and spread over the rows of one category, one row per seed."""
    summary: dict[str, Any] = {"category": category, "shots": n_shots, "method": method}
    for metric in METRICS:
        values = [row[metric] for row in rows]
        summary[f"{metric}_mean"] = _rounded(_mean(values))
        summary[f"{metric}_std"] = None if None in values else _rounded(float(np.std(values)))
        bounds = interval(draws[metric]) if metric in draws else (None, None)
        summary[f"{metric}_low"], summary[f"{metric}_high"] = map(_rounded, bounds)
    return summary


def _means(
    results: Sequence[Mapping[str, Any]], protocol: FewShotProtocol, draws: Mapping[tuple[int, Method], Sequence[Draws]]
) -> Iterator[dict[str, Any]]:
    """The rows over all categories: a metric counts where every category has it."""
    for n_shots in protocol.shots:
        for method in protocol.methods:
            by_seed = []
            for seed in protocol.seeds:
                rows = [row for row in results if (row["shots"], row["seed"], row["method"]) == (n_shots, seed, method)]
                by_seed.append({metric: _mean([row[metric] for row in rows]) for metric in METRICS})
            own = draws[n_shots, method]
            together = {
                metric: np.mean([one[metric] for one in own], axis=0)
                for metric in METRICS
                if all(metric in one for one in own)
            }
            yield _summary(_MEAN, n_shots, method, by_seed, together)


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, or None if a value is missing."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
