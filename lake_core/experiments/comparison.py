"""Comparisons: two images' contributions, the same images' scores by two detectors, and two detectors' neurons."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult, Level
from lake_core.detector.selection import Selection, jaccard
from lake_core.errors import LakeError
from lake_core.metrics.bootstrap import Interval, Resampling, interval
from lake_core.metrics.decision import is_anomalous
from lake_core.metrics.image_metrics import auroc, known_auroc
from lake_core.types import Labels, Progress, counted

_KEYS: dict[Level, list[str]] = {"neuron": ["part", "layer", "neuron"], "layer": ["part", "layer"], "part": ["part"]}
_COLUMNS = ["image", "label", "before", "after", "change"]
_COLUMNS += ["anomalous_before", "anomalous_after", "anomalous_at_kept_threshold"]

# Two images ----------------------------------------------------------------------------------------------------------


def compare_contributions(
    a: ImageResult,
    b: ImageResult,
    level: Level = "neuron",
    patch_a: int | Sequence[int] | None = None,
    patch_b: int | Sequence[int] | None = None,
) -> pd.DataFrame:
    """The differences between two results' contributions, row by row.

    The two may come from different detectors: a row that only one of them has counts as 0 in the other.

    Args:
        a, b: Scores of two images, or of one image by two detectors.
        level: As in `ImageResult.contributions`.
        patch_a, patch_b: A patch or region of each, as in `ImageResult.contributions`; None takes the image score.
    Returns:
        Columns part, layer and neuron (as far as the level has them), contribution_a, contribution_b, and difference
        (a - b, float64), greatest absolute difference first. The differences add up to score a - score b, to float32
        rounding.
    """
    keys = _KEYS[level]
    table = a.contributions(patch_a, level).merge(
        b.contributions(patch_b, level), how="outer", on=keys, suffixes=("_a", "_b")
    )
    values = ["contribution_a", "contribution_b"]
    table[values] = table[values].fillna(0.0)
    table["difference"] = table["contribution_a"] - table["contribution_b"]
    return table.sort_values("difference", key=lambda column: -column.abs(), kind="stable", ignore_index=True)


# The same images by two detectors ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ScoreComparison:
    """The scores of images by two detectors, such as one before and after a change.

    Attributes:
        table: One row per image: image (name), label (True, False or missing), before, after, change,
            anomalous_before, anomalous_after, anomalous_at_kept_threshold (the score after by the threshold before).
        auroc_before, auroc_after: Image AUROC over the labelled images, or None without both labels.
        threshold_before, threshold_after: Decision thresholds.
    """

    table: pd.DataFrame = field(repr=False)
    auroc_before: float | None
    auroc_after: float | None
    threshold_before: float
    threshold_after: float

    @property
    def n_missed(self) -> int:
        """Defective images that were above the threshold before and no longer are."""
        is_defective = self.table["label"].fillna(False).astype(bool)
        still_found = self.table["anomalous_after"].astype(bool)
        return int((is_defective & self.table["anomalous_before"] & ~still_found).sum())


def compare_scores(
    lake: Lake,
    after: Lake,
    results: Sequence[ImageResult],
    labels: Labels | None = None,
    on_progress: Progress | None = None,
) -> ScoreComparison:
    """Scores images that one detector has scored by another.

    Args:
        lake, after: Fitted.
        results: What `lake` found on any number of images.
        labels: One per image, or None.
        on_progress: Called after each image with images done and in all; may raise to cancel.
    """
    known = checked_labels(results, labels)
    rows = []
    for old, label in counted(list(zip(results, known, strict=True)), on_progress):
        new = after.explain(old.image)
        rows.append(
            (
                old.image.name,
                pd.NA if label is None else label,
                old.score,
                new.score,
                new.score - old.score,
                old.is_anomalous,
                new.is_anomalous,
                is_anomalous(new.score, old.threshold),
            )
        )
    table = pd.DataFrame(rows, columns=_COLUMNS).astype({"label": "boolean"})
    return ScoreComparison(
        table,
        known_auroc(known, table["before"].to_numpy()),
        known_auroc(known, table["after"].to_numpy()),
        lake.threshold_,
        after.threshold_,
    )


def checked_labels(results: Sequence[ImageResult], labels: Labels | None) -> Labels:
    """One label per image, None for each where there are no labels."""
    if labels is not None and len(labels) != len(results):
        raise ValueError(f"{len(labels)} labels for {len(results)} images")
    return [None] * len(results) if labels is None else labels


class Difference(NamedTuple):
    """AUROC of the first detector less that of the second, with its bootstrap interval over images."""

    value: float
    bounds: Interval


def auroc_difference(labels: ArrayLike, first: ArrayLike, second: ArrayLike) -> Difference | None:
    """How much better the first scores separate, both on the same bootstrap draws of images.

    Args:
        labels: (n,) bool, True where defective.
        first, second: (n,) scores of the same images.
    Returns:
        None if there is one class only.
    """
    ours, theirs = auroc(labels, first), auroc(labels, second)
    drawn = Resampling.of(labels)
    if ours is None or theirs is None or drawn is None:
        return None
    return Difference(ours - theirs, interval(drawn.draws(first).auroc - drawn.draws(second).auroc))


# The neurons of two detectors ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Overlap:
    """The neurons that two detectors select in one layer.

    Attributes:
        n_neurons: Neurons that the layer has.
        common: (n,) int64, selected by both, most sensitive (to the first detector) first.
        only_first: (n,) int64, selected by the first alone.
        only_second: (n,) int64, selected by the second alone.
        jaccard: Size of the intersection over size of the union, 0 to 1.
        by_chance: The Jaccard overlap to expect of two random selections of these sizes.
    """

    layer: int
    n_neurons: int
    common: np.ndarray = field(repr=False)
    only_first: np.ndarray = field(repr=False)
    only_second: np.ndarray = field(repr=False)
    jaccard: float
    by_chance: float


def overlaps(first: Lake, second: Lake) -> list[Overlap]:
    """The neurons that two fitted detectors select, for each layer that both use.

    Raises:
        LakeError: where there is nothing to compare: other backbones, activation sites or layers have other neurons.
    """
    if first.backbone.spec != second.backbone.spec:
        raise LakeError(
            f"Neurons of {first.backbone.spec} and {second.backbone.spec} are different neurons: those of two "
            "backbones cannot be matched one by one."
        )
    if first.config.site != second.config.site:
        raise LakeError(
            "MLP hidden neurons and residual channels are different neurons, so the two selections share none."
        )
    layers = sorted(first.selection_.keys() & second.selection_.keys())
    if not layers:
        ours, theirs = (", ".join(map(str, lake.selection_)) for lake in (first, second))
        raise LakeError(f"There is no layer in common (layers {ours} and {theirs}), so there is no neuron in common.")
    return [_overlap(first.selection_[layer], second.selection_[layer]) for layer in layers]


def _overlap(first: Selection, second: Selection) -> Overlap:
    in_both = np.isin(first.neurons, second.neurons)
    n_first, n_second = len(first.neurons), len(second.neurons)
    expected = n_first * n_second / first.n_neurons
    return Overlap(
        first.layer,
        first.n_neurons,
        first.neurons[in_both],
        first.neurons[~in_both],
        second.neurons[~np.isin(second.neurons, first.neurons)],
        jaccard(first.neurons, second.neurons),
        expected / (n_first + n_second - expected),
    )
