"""What comes out of one category, as typed models: what a task returns, Ray sends and the checkpoint keeps.

A metric that cannot be computed, because masks or one of the two classes are missing, is None.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat

from lake_core.backbones.devices import Precision
from lake_core.backbones.patch_grid import Resize
from lake_core.config import ResolvedConfig
from lake_core.evaluation.protocol import METRICS, Method, MethodKey, Metric, RunKey
from lake_core.types import Label

MetricValues: TypeAlias = Mapping[Metric, float | None]


class FrozenModel(BaseModel):
    """A model that cannot be changed and knows all of its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BackboneInfo(FrozenModel):
    """The backbone and the input it was given: its spec, (height, width) in pixels, resizing and precision."""

    model: str
    input_size: tuple[int, int]
    resize: Resize
    precision: Precision


class NormalsRow(FrozenModel):
    """The normal images that one choice took, in the order in which it took them."""

    category: str
    shots: int
    seed: int
    names: tuple[str, ...]


class RunResult(FrozenModel):
    """The metrics of one method with one choice of normal images; of random neurons, the mean over the draws.

    Attributes:
        pointing_game: Share of the defective images with a mask whose max-scoring patch touches it;
            `pointing_chance` is that of a patch drawn at random.
        covered_auroc: Image AUROC with the defects covered; None without the leakage check.
        n_normal, n_test, n_defective: Numbers of images: learned from, scored, and defective among the latter.
        seconds: Fitting and searching, without the network; 0 where the method gives no scores for want of what it
            needs. LAKE's detectors search together and report an equal share; lake, visual and text share one fit, and
            each reports it.
    """

    category: str
    shots: int
    seed: int
    method: Method
    image_auroc: FiniteFloat | None
    image_ap: FiniteFloat | None
    image_f1_max: FiniteFloat | None
    pixel_auroc: FiniteFloat | None
    pixel_aupro: FiniteFloat | None
    pointing_game: FiniteFloat | None
    pointing_chance: FiniteFloat | None
    covered_auroc: FiniteFloat | None
    n_normal: int
    n_test: int
    n_defective: int
    seconds: float

    def metrics(self) -> dict[Metric, float | None]:
        """The metrics by name."""
        return {metric: getattr(self, metric) for metric in METRICS}


class RunOutcome(FrozenModel):
    """A run's result and its score of each test image; no scores where the method gives none."""

    result: RunResult
    scores: tuple[FiniteFloat, ...]


class MethodDraws(FrozenModel):
    """For each metric that every run of a method has: its mean over the runs, on each bootstrap draw of images."""

    shots: int
    method: Method
    values: dict[Metric, tuple[FiniteFloat, ...]]


class CategoryOutcome(FrozenModel):
    """Everything that was found out about one category.

    Attributes:
        paths, labels: Of the test images that could be read; paths below the category's folder.
        runs: One for each number of shots, seed and method.
        draws: One for each number of shots and method.
        problems: What was left out or should be known, one sentence each.
        device: "cpu", or the name of the GPU.
        seconds: In all, with the network.
    """

    category: str
    backbone: BackboneInfo
    config: ResolvedConfig
    normals: tuple[NormalsRow, ...]
    paths: tuple[str, ...]
    labels: tuple[Label, ...]
    runs: tuple[RunOutcome, ...]
    draws: tuple[MethodDraws, ...]
    problems: tuple[str, ...]
    device: str
    seconds: float

    @cached_property
    def by_run(self) -> dict[RunKey, RunOutcome]:
        return {RunKey(run.result.shots, run.result.seed, run.result.method): run for run in self.runs}

    @cached_property
    def by_method(self) -> dict[MethodKey, dict[Metric, np.ndarray]]:
        """For each method the metrics on bootstrap draws, (n_draws,) float64 each."""
        return {
            MethodKey(one.shots, one.method): {metric: np.array(values) for metric, values in one.values.items()}
            for one in self.draws
        }
