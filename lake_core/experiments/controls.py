"""Controls of a selection: random selections, other criteria, other numbers of neurons, other fusion weights.

Everything here reads a fitted `Lake` and the activations that its store holds; for images that were scored before, the
network never runs again. Long work takes `on_progress`, which is called with the steps done and in all after each step
and may raise to cancel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from lake_core.criteria import criteria
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from lake_core.detector.selection import Selection, jaccard, select
from lake_core.errors import LakeError
from lake_core.metrics.decision import is_anomalous
from lake_core.metrics.image_metrics import known_auroc
from lake_core.types import Labels, Progress, counted

Measure = Literal["auroc", "gap"]
RANKINGS = tuple(name for name, one in criteria().items() if not one.keeps_all)


# Separation ----------------------------------------------------------------------------------------------------------


def separation_measure(labels: Labels | None) -> Measure:
    """How separation is measured: "auroc" where both good and defective images are known, else "gap"."""
    return "auroc" if {True, False} <= set(labels or ()) else "gap"


def separation(lake: Lake, scores: Sequence[float] | np.ndarray, labels: Labels | None = None) -> float:
    """How well the image scores set defective images apart.

    With labels of both classes it is the image AUROC over the labelled images, in [0, 1], 0.5 for chance. Without, it
    is the gap: the mean score of the test images minus the mean leave-one-out score of the fitted normal images, on
    the calibrated scale of the scores (1 is the calibration quantile of normal patches); 0 where they score the
    same. The gap grows with the share of defective images, so compare it over the same images only.

    Args:
        lake: Fitted.
        scores: (n,) image scores of the test images.
        labels: One per image, or None.
    Raises:
        LakeError: if there is no image.
    """
    values = np.asarray(scores, dtype=np.float64)
    if labels is not None and len(labels) != len(values):
        raise ValueError(f"{len(labels)} labels for {len(values)} scores")
    if len(values) == 0:
        raise LakeError("There is no test image to tell from the normal ones; add at least one.")
    if separation_measure(labels) == "auroc" and labels is not None:
        area = known_auroc(labels, values)
        assert area is not None
        return area
    return float(values.mean() - lake.normal_scores_.mean())


@dataclass(frozen=True, eq=False)
class RandomControl:
    """The selection's separation and that of random selections of the same size.

    Attributes:
        selected: Separation of the detector's own selection.
        draws: (n_draws,) float64, separation of each random selection.
        measure: What the separation is, "auroc" or "gap".
    """

    selected: float
    draws: np.ndarray = field(repr=False)
    measure: Measure

    @property
    def p_value(self) -> float:
        """Probability, in (0, 1], that one more random draw would do as well as the selection or better.

        The exact one-sided permutation p-value (1 + #{draws >= selected}) / (1 + n_draws), under the null that the
        selection is one of the random ones; it says nothing about other test images.
        """
        return float((1 + np.count_nonzero(self.draws >= self.selected)) / (1 + len(self.draws)))


def random_control(
    lake: Lake,
    images: Sequence[InputImage],
    labels: Labels | None = None,
    n_draws: int = 10,
    on_progress: Progress | None = None,
) -> RandomControl:
    """Compares the detector's selection with random ones of the same size (docs/method.md, section 6).

    The same pipeline (memory bank, calibration, text part, weights) is fitted again with K random neurons per layer,
    with the seeds `config.seed + 1`, `+ 2` ...; so a detector is always compared with the same draws. A draw in which
    nothing varies over the normal images gives every image the same score: 0.5, or a gap of 0.

    Args:
        lake: Fitted.
        images: Test images, at least one.
        labels: One per image, or None.
        n_draws: Number of random selections, at least 1.
        on_progress: Called after each draw.
    """
    if n_draws < 1:
        raise ValueError(f"n_draws is {n_draws}, not at least 1")
    selected = separation(lake, _scores(lake, images), labels)
    config = lake.config
    keeps_all = criteria()[config.criterion].keeps_all
    top_k = max(selection.n_neurons for selection in _selections(lake)) if keeps_all else config.top_k
    seeds = range(config.seed + 1, config.seed + n_draws + 1)
    draws = np.array(
        [
            _separation_of(lake, images, labels, criterion="random", top_k=top_k, seed=seed)
            for seed in counted(seeds, on_progress)
        ]
    )
    return RandomControl(selected, draws, separation_measure(labels))


def sweep_k(
    lake: Lake,
    images: Sequence[InputImage],
    labels: Labels | None = None,
    ks: Sequence[int] | None = None,
    n_draws: int = 3,
    on_progress: Progress | None = None,
) -> pd.DataFrame:
    """Separation and memory against K, for the detector's criterion and for random neurons.

    Args:
        lake: Fitted.
        images: Test images, at least one.
        labels: One per image, or None.
        ks: Numbers of neurons per layer; by default about nine from 1 to all on a log scale. More than a layer has
            means all of them, where every draw equals the selection.
        n_draws: Random selections per K, at least 1.
        on_progress: Called after each K.
    Returns:
        One row per K, ascending: k, selected, random_mean, random_std (over the draws, ddof 0), memory_bank_bytes
        (float32 memory banks of all layers).
    """
    if n_draws < 1:
        raise ValueError(f"n_draws is {n_draws}, not at least 1")
    n_neurons = max(selection.n_neurons for selection in _selections(lake))
    wanted = sorted(set(log_scale(n_neurons) if ks is None else ks))
    criterion = "variance" if criteria()[lake.config.criterion].keeps_all else lake.config.criterion
    seeds = range(lake.config.seed + 1, lake.config.seed + n_draws + 1)
    rows = []
    for k in counted(wanted, on_progress):
        selected = _separation_of(lake, images, labels, criterion=criterion, top_k=k)
        draws = [selected]
        if k < n_neurons:
            draws = [_separation_of(lake, images, labels, criterion="random", top_k=k, seed=seed) for seed in seeds]
        rows.append((k, selected, float(np.mean(draws)), float(np.std(draws)), memory_bank_bytes(lake, k)))
    return pd.DataFrame(rows, columns=["k", "selected", "random_mean", "random_std", "memory_bank_bytes"])


def log_scale(n_neurons: int, n_steps: int = 9) -> list[int]:
    """At most n_steps different whole numbers from 1 to n_neurons, evenly spaced on a log scale."""
    return [int(k) for k in np.unique(np.round(np.geomspace(1, n_neurons, n_steps)).astype(int))]


def memory_bank_bytes(lake: Lake, k: int) -> int:
    """Bytes of the float32 memory banks of all layers if k neurons were kept in each."""
    return sum(4 * len(layer.bank) * min(k, layer.selection.n_neurons) for layer in lake.memory_bank_.layers)


# Other criteria, and the shape of the ranked curve -------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class CriteriaComparison:
    """What different criteria select, and how much they agree.

    Attributes:
        selections: Layer number -> criterion -> its selection.
        jaccard: Layer number -> square table of the overlaps, criteria as rows and columns, 1 on the diagonal.
    """

    selections: dict[int, dict[str, Selection]] = field(repr=False)
    jaccard: dict[int, pd.DataFrame]


def compare_criteria(lake: Lake, names: Sequence[str] = RANKINGS) -> CriteriaComparison:
    """Selects neurons by each criterion from the fitted normal images; K and seed are the detector's own."""
    config = lake.config
    selections: dict[int, dict[str, Selection]] = {}
    for layer in (selection.layer for selection in _selections(lake)):
        patches = lake.normal_patches(layer)
        selections[layer] = {
            name: select(*patches, layer, config.site, name, config.k_of(layer), config.seed) for name in names
        }
    overlaps = {
        layer: pd.DataFrame(
            [[jaccard(found[a].neurons, found[b].neurons) for b in names] for a in names],
            index=list(names),
            columns=list(names),
        )
        for layer, found in selections.items()
    }
    return CriteriaComparison(selections, overlaps)


def participation_ratio(sensitivity: np.ndarray) -> float:
    """Participation ratio (sum s)^2 / sum s^2: over how many neurons the sensitivity is spread.

    It counts neurons, not directions: correlated neurons count each.

    Args:
        sensitivity: (n_neurons,) >= 0.
    Returns:
        From 1 (one neuron has it all) to n_neurons (all equal); 0 where all are 0.
    """
    values = np.asarray(sensitivity, dtype=np.float64)
    values = values / values.max() if values.max(initial=0.0) > 0 else values
    squares = float((values**2).sum())
    return float(values.sum()) ** 2 / squares if squares > 0 else 0.0


def elbow(sensitivity: np.ndarray) -> int:
    """A suggestion for K: where the cumulative curve of ranked sensitivity is farthest above its chord.

    After the idea of Kneedle (Satopaa et al., ICDCSW 2011), without its smoothing. Up to the elbow each further neuron
    adds more than the average one, so K is the number of neurons above the mean. It is a property of the curve alone
    and says nothing of how well defects are found.

    Args:
        sensitivity: (n_neurons,) >= 0, in any order.
    Returns:
        From 1 to n_neurons; n_neurons where all are equal, since a straight line has no elbow.
    """
    values = np.asarray(sensitivity, dtype=np.float64)
    return int((values > values.mean()).sum()) or len(values)


# The fusion weight ---------------------------------------------------------------------------------------------------


def weight_curve(
    lake: Lake,
    results: Sequence[ImageResult],
    labels: Labels | None = None,
    weights: Sequence[float] = tuple(np.linspace(0, 1, 21).round(2).tolist()),
    on_progress: Progress | None = None,
) -> pd.DataFrame:
    """Separation against the fusion weight: the two parts of each score are weighted anew, nothing is computed again.

    Args:
        lake: Fitted.
        results: The detector's results for the test images, at least one; their own weights do not matter.
        labels: One per image, or None.
        weights: Each in [0, 1].
        on_progress: Called with weights done and in all; may raise to cancel.
    Returns:
        Columns fusion_weight, separation (see `separation`), threshold and n_anomalous (images above it).
    """
    rows = []
    for weight in counted(weights, on_progress):
        other = lake.with_weights(fusion_weight=float(weight))
        scores = [other.aggregate(result.patch_scores).score for result in results]
        above = int(is_anomalous(scores, other.threshold_).sum())
        rows.append((float(weight), separation(other, scores, labels), other.threshold_, above))
    return pd.DataFrame(rows, columns=["fusion_weight", "separation", "threshold", "n_anomalous"])


# What the parts above share ------------------------------------------------------------------------------------------


def _scores(lake: Lake, images: Sequence[InputImage]) -> list[float]:
    return [lake.explain(image).score for image in images]


def _separation_of(lake: Lake, images: Sequence[InputImage], labels: Labels | None, **changes: Any) -> float:
    """Separation of the same pipeline with other neurons; chance level where nothing varies in them."""
    other = Lake(lake.backbone, replace(lake.config, **changes), lake.store)
    try:
        other.fit(lake.normals_)
    except LakeError:
        return 0.5 if separation_measure(labels) == "auroc" else 0.0
    return separation(other, _scores(other, images), labels)


def _selections(lake: Lake) -> list[Selection]:
    lake.fitted()
    return list(lake.selection_.values())
