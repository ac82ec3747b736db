"""The report of an evaluation: a typed model, made of the outcomes of its categories, and its JSON document.

The report is the same whichever engine ran the tasks. A metric that cannot be computed, because masks or one of the two
classes are missing, is null.
"""

import platform
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Literal, TypeAlias

import numpy as np
import torch
from pydantic import Field, FiniteFloat, SerializerFunctionWrapHandler, model_serializer, model_validator

from lake_core.backbones.devices import Precision
from lake_core.backbones.patch_grid import Resize
from lake_core.config import ResolvedConfig
from lake_core.evaluation.outcome import CategoryOutcome, FrozenModel, MetricValues, NormalsRow, RunResult
from lake_core.evaluation.protocol import METRICS, FewShotProtocol, Method, MethodKey, Metric, RunKey
from lake_core.metrics.auroc_interval import newcombe
from lake_core.metrics.bootstrap import interval
from lake_core.types import Label

MEAN = "mean"
"""Stands for the category in the summary's rows over all categories."""
_PACKAGES = ("lake-explorer", "torch", "open_clip_torch", "timm", "numpy", "scipy", "scikit-learn", "pillow")

Cell: TypeAlias = str | int | float | None
"""A cell of a row as it is written to a table."""


class ScoreRow(FrozenModel):
    """One method's score of one test image; random's is the mean over its draws, text's a difference of cosines."""

    category: str
    shots: int
    seed: int
    method: Method
    path: str
    label: Label
    score: FiniteFloat


class Spread(FrozenModel):
    """A metric over runs: mean and sample standard deviation over seeds, and the bounds of a 95% interval.

    One seed has no deviation. The interval is of the mean over seeds, by a bootstrap over test images and seeds. The
    image AUROC of a single run has that of Newcombe, in which the choice of the normal images is not.
    """

    mean: FiniteFloat | None
    std: FiniteFloat | None
    low: FiniteFloat | None
    high: FiniteFloat | None


class SummaryRow(FrozenModel):
    """One method with one number of normal images, on a category or, as the category "mean", over all of them.

    In JSON the metrics lie side by side: image_auroc_mean, image_auroc_std, image_auroc_low, image_auroc_high ...
    A mean over categories is null where one of them has no value.
    """

    category: str
    shots: int
    method: Method
    metrics: dict[Metric, Spread]

    @model_validator(mode="before")
    @classmethod
    def _nested(cls, row: dict[str, object]) -> dict[str, object]:
        if "metrics" in row:
            return row
        rest = dict(row)
        metrics = {
            metric: {part: rest.pop(f"{metric}_{part}", None) for part in Spread.model_fields} for metric in METRICS
        }
        return rest | {"metrics": metrics}

    @model_serializer
    def _flat(self) -> dict[str, Cell]:
        row: dict[str, Cell] = {"category": self.category, "shots": self.shots, "method": self.method}
        for metric, spread in self.metrics.items():
            row |= {f"{metric}_{part}": value for part, value in spread}
        return row


class EvaluationReport(FrozenModel):
    """The results of an evaluation.

    Attributes:
        model, input_size, resize, precision: As in `BackboneInfo`.
        config: The parameters with every gap filled in; its object name is that of the last category.
        object_names: Category -> its name in the prompts.
        results: One row for each category, number of shots, seed and method.
        summary: One row for each category, and for "mean", with each number of shots and method.
        normals: One row for each category, number of shots and seed.
        seconds: Category -> time in all, with the network.
        leakage_check, turn_normals: As in the protocol.
        problems: What was left out or should be known, one sentence each.
        environment: Versions, and what computed.
        scores: One row for each category, number of shots, seed, method and test image, none for a method without
            scores; None, and not written, after `without_scores`.
    """

    schema_version: Literal[2] = Field(2, alias="schema")
    model: str
    input_size: tuple[int, int]
    resize: Resize
    precision: Precision
    config: ResolvedConfig
    object_names: dict[str, str]
    results: tuple[RunResult, ...]
    summary: tuple[SummaryRow, ...]
    normals: tuple[NormalsRow, ...]
    seconds: dict[str, float]
    leakage_check: bool = False
    turn_normals: bool = False
    problems: tuple[str, ...]
    environment: dict[str, str]
    scores: tuple[ScoreRow, ...] | None = None

    @cached_property
    def _summary(self) -> dict[tuple[str, MethodKey], SummaryRow]:
        return {(row.category, MethodKey(row.shots, row.method)): row for row in self.summary}

    @cached_property
    def _normals(self) -> dict[tuple[str, int, int], tuple[str, ...]]:
        return {(row.category, row.shots, row.seed): row.names for row in self.normals}

    def summary_of(self, category: str, shots: int, method: Method) -> SummaryRow:
        """The row of the summary for a category, or for "mean"."""
        return self._summary[category, MethodKey(shots, method)]

    def normals_of(self, category: str, shots: int, seed: int) -> tuple[str, ...]:
        """Names of the normal images that were learned from."""
        return self._normals[category, shots, seed]

    def rows(self, part: Literal["results", "summary", "scores"]) -> list[dict[str, Cell]]:
        """The rows of a part as plain values, for tables and CSV."""
        found: Sequence[FrozenModel] = getattr(self, part) or ()
        return [row.model_dump(mode="json") for row in found]

    def without_scores(self) -> "EvaluationReport":
        """The report without the scores of the test images, which are most of its size."""
        return self.model_copy(update={"scores": None})

    def to_json(self) -> str:
        """The JSON document."""
        return self.model_dump_json(by_alias=True, indent=1)

    @model_serializer(mode="wrap")
    def _without_absent_scores(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        document: dict[str, object] = handler(self)
        if self.scores is None:
            document.pop("scores", None)
        return document


def report_of(outcomes: Sequence[CategoryOutcome], protocol: FewShotProtocol) -> EvaluationReport:
    """The report over categories.

    Args:
        outcomes: One for each category, at least one.
        protocol: What was run on each of them.
    """
    last = outcomes[-1]
    return EvaluationReport(
        **dict(last.backbone),
        config=last.config,
        object_names={one.category: one.config.object_name for one in outcomes},
        results=tuple(one.by_run[key].result for one in outcomes for key in protocol.runs()),
        summary=(*_by_category(outcomes, protocol), *_over_categories(outcomes, protocol)),
        normals=tuple(row for one in outcomes for row in one.normals),
        seconds={one.category: one.seconds for one in outcomes},
        leakage_check=protocol.leakage_check,
        turn_normals=protocol.turn_normals,
        problems=tuple(problem for one in outcomes for problem in one.problems),
        environment=_environment() | {"device": ", ".join(sorted({one.device for one in outcomes}))},
        scores=tuple(row for one in outcomes for row in _score_rows(one, protocol)),
    )


def mean_or_none(values: Sequence[float | None], digits: int | None = None) -> float | None:
    """The mean, rounded to so many digits; None if a value is missing, or there is none."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    mean = float(np.mean(known))
    return mean if digits is None else round(mean, digits)


def _score_rows(outcome: CategoryOutcome, protocol: FewShotProtocol) -> Iterator[ScoreRow]:
    for key in protocol.runs():
        scores = outcome.by_run[key].scores
        for path, label, score in zip(outcome.paths, outcome.labels, scores, strict=False):  # a run may have no scores
            yield ScoreRow(**key._asdict(), category=outcome.category, path=path, label=label, score=score)


def _by_category(outcomes: Sequence[CategoryOutcome], protocol: FewShotProtocol) -> Iterator[SummaryRow]:
    for outcome in outcomes:
        for key in protocol.method_keys():
            results = [outcome.by_run[RunKey(key.shots, seed, key.method)].result for seed in protocol.seeds]
            by_seed = [result.metrics() for result in results]
            row = _summary_row(outcome.category, key, by_seed, outcome.by_method[key])
            yield row if len(results) > 1 else _with_auroc_interval(row, results[0])


def _with_auroc_interval(row: SummaryRow, result: RunResult) -> SummaryRow:
    """The row of a single run with the interval of its image AUROC after Newcombe, which holds near 1 as well."""
    if result.image_auroc is None:
        return row
    bounds = newcombe(result.image_auroc, result.n_defective, result.n_test - result.n_defective)
    low, high = (round(bound, 6) for bound in bounds)
    spread = row.metrics["image_auroc"].model_copy(update={"low": low, "high": high})
    return row.model_copy(update={"metrics": {**row.metrics, "image_auroc": spread}})


def _over_categories(outcomes: Sequence[CategoryOutcome], protocol: FewShotProtocol) -> Iterator[SummaryRow]:
    for key in protocol.method_keys():
        by_seed: list[MetricValues] = []
        for seed in protocol.seeds:
            results = [one.by_run[RunKey(key.shots, seed, key.method)] for one in outcomes]
            values = [one.result.metrics() for one in results]
            by_seed.append({metric: mean_or_none([one[metric] for one in values]) for metric in METRICS})
        draws = [one.by_method[key] for one in outcomes]
        together = {
            metric: np.mean([one[metric] for one in draws], axis=0)
            for metric in METRICS
            if all(metric in one for one in draws)
        }
        row = _summary_row(MEAN, key, by_seed, together)
        is_one_run = len(outcomes) == len(protocol.seeds) == 1
        yield _with_auroc_interval(row, results[0].result) if is_one_run else row


def _summary_row(
    category: str, key: MethodKey, by_seed: Sequence[MetricValues], draws: Mapping[Metric, np.ndarray]
) -> SummaryRow:
    metrics = {metric: _spread([values[metric] for values in by_seed], draws.get(metric)) for metric in METRICS}
    return SummaryRow(category=category, shots=key.shots, method=key.method, metrics=metrics)


def _spread(values: Sequence[float | None], draws: np.ndarray | None) -> Spread:
    """Of one value per seed, and of (n_draws,) values on bootstrap draws, if there are any."""
    known = [value for value in values if value is not None]
    std = round(float(np.std(known, ddof=1)), 6) if 1 < len(known) == len(values) else None
    low, high = (None, None) if draws is None else (round(bound, 6) for bound in interval(draws))
    return Spread(mean=mean_or_none(values, 6), std=std, low=low, high=high)


def _environment() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {"torch_threads": str(torch.get_num_threads())}
