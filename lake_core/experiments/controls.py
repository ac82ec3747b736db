"""Controls of a selection: random selections, other numbers of neurons, other fusion weights.

Everything here reads a fitted `Lake` and the activations that its store holds; for images that were scored before, the
network never runs again. Long work takes `on_progress`, which is called with the steps done and in all after each step
and may raise to cancel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from lake_core.criteria import criteria
from lake_core.data.images import InputImage
from lake_core.detector.image_scores import image_scores
from lake_core.detector.lake import Lake
from lake_core.detector.neuron_choices import scores_by_choice
from lake_core.detector.result import ImageResult
from lake_core.detector.selection import Selection
from lake_core.errors import LakeError
from lake_core.findings.neurons import DrawsFinding, RandomControlFinding
from lake_core.metrics.bootstrap import Interval, interval, times_drawn
from lake_core.metrics.decision import is_anomalous
from lake_core.metrics.image_metrics import known_auroc
from lake_core.sentences import control_caveat, sentence
from lake_core.types import Labels, Neurons, Progress, counted
from lake_core.visualization.notebook import facts

Measure = Literal["auroc", "gap"]
N_DRAWS = 99
"""Random selections that a selection is compared with: then the least two-sided p-value is 0.02."""
_NO_TESTS = "There is no test image to tell from the normal ones; add at least one."


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
    return _separation(np.asarray(scores, dtype=np.float64), labels, float(lake.normal_scores_.mean()))


def _separation(scores: np.ndarray, labels: Labels | None, normal_mean: float | None) -> float:
    """The same from the normal images' mean score, which only the gap needs."""
    if labels is not None and len(labels) != len(scores):
        raise ValueError(f"{len(labels)} labels for {len(scores)} scores")
    if len(scores) == 0:
        raise LakeError(_NO_TESTS)
    if separation_measure(labels) == "auroc" and labels is not None:
        area = known_auroc(labels, scores)
        assert area is not None
        return area
    assert normal_mean is not None
    return float(scores.mean()) - normal_mean


@dataclass(frozen=True, eq=False, repr=False)
class RandomControl:
    """The selection's separation and that of random selections of the same size.

    Attributes:
        selected: Separation of the detector's own selection.
        draws: (n_draws,) float64, separation of each random selection.
        measure: What the separation is, "auroc" or "gap".
        bounds: 95% bootstrap interval, over test images, of `difference`; None without labels of both classes.
    """

    selected: float
    draws: np.ndarray
    measure: Measure
    bounds: Interval | None = None

    def __repr__(self) -> str:
        verdict = "" if self.finding is None else f", verdict={self.finding.verdict!r}, p_value={self.p_value:.2f}"
        return (
            f"RandomControl({self.measure}: selected={self.selected:.4f}, mean of {len(self.draws)} draws="
            f"{self.draws.mean():.4f}{verdict})"
        )

    @classmethod
    def of_scores(cls, labels: Labels, own: np.ndarray, drawn: Sequence[np.ndarray]) -> "RandomControl":
        """The comparison by image AUROC.

        Args:
            labels: One per image, of both classes.
            own: (n_images,) scores by the detector's own selection.
            drawn: Those by each random selection, at least one.
        """
        is_defective, is_good = (
            np.array([label is not None and bool(label) is side for label in labels]) for side in (True, False)
        )
        if not (is_defective.any() and is_good.any()):
            raise ValueError("labels are of one class only")

        def wins(scores: np.ndarray) -> np.ndarray:
            """(n_defective, n_good): 1 where the defective image has the higher score; their mean is the AUROC."""
            defective, good = scores[is_defective, None], scores[is_good]
            return np.asarray((defective > good) + 0.5 * (defective == good), dtype=np.float64)

        ahead, draws = wins(own), []
        for scores in drawn:
            theirs = wins(scores)
            draws.append(float(theirs.mean()))
            ahead = ahead - theirs / len(drawn)
        known = is_defective | is_good
        times = times_drawn(is_defective[known])
        defective, good = times[:, is_defective[known]], times[:, is_good[known]]
        differences = ((defective @ ahead) * good).sum(1) / ahead.size
        return cls(float(wins(own).mean()), np.array(draws), "auroc", interval(differences))

    @property
    def difference(self) -> float:
        """The selection's separation less the mean of the random ones."""
        return self.selected - float(self.draws.mean())

    @property
    def n_as_good(self) -> int:
        """Random selections that do as well as the detector's own, or better."""
        return int(np.count_nonzero(self.draws >= self.selected))

    @property
    def n_as_bad(self) -> int:
        """Random selections that do as badly as the detector's own, or worse."""
        return int(np.count_nonzero(self.draws <= self.selected))

    @property
    def p_value(self) -> float:
        """Two-sided permutation p-value, in (0, 1], of the null that the selection is one of the random ones.

        Twice the smaller of (1 + #{draws >= selected}) / (1 + n_draws) and the same with <=, 1 at the most. It is
        about these test images alone.
        """
        return min(1.0, 2 * (1 + min(self.n_as_good, self.n_as_bad)) / (1 + len(self.draws)))

    @property
    def finding(self) -> RandomControlFinding | None:
        """The comparison in numbers, with a verdict; None without labels of both classes."""
        if self.bounds is None:
            return None
        is_high = self.n_as_good < self.n_as_bad
        return RandomControlFinding(len(self.draws), self.difference, *self.bounds, self.p_value, is_high)

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, and how far it goes."""
        name = "image AUROC" if self.measure == "auroc" else "mean test score less mean normal score"
        numbers = [
            (f"selected, {name}", f"{self.selected:.3f}"),
            (f"{len(self.draws)} random draws, mean", f"{self.draws.mean():.3f}"),
            ("draws that do as well or better", self.n_as_good),
        ]
        verdict = [] if self.finding is None else [sentence(self.finding)]
        return facts("Selected against random neurons", numbers, [*verdict, control_caveat(self.finding is not None)])

    def draws_finding(self, lake: Lake) -> DrawsFinding:
        """How many random selections reach the selection of that detector, which this is the control of."""
        sizes = tuple(len(selection.neurons) for selection in lake.selection_.values())
        return DrawsFinding(len(self.draws), self.n_as_good, self.selected, float(self.draws.mean()), sizes)


def random_control(
    lake: Lake,
    images: Sequence[InputImage],
    labels: Labels | None = None,
    n_draws: int = N_DRAWS,
    on_progress: Progress | None = None,
) -> RandomControl:
    """Compares the detector's selection with random ones of the same size (docs/method.md, section 6).

    The same pipeline (memory bank, calibration, weights) is fitted again with as many random neurons in each layer that
    takes part, with the seeds `config.seed + 1`, `+ 2` ...; so a detector is always compared with the same draws. A
    draw in which nothing varies over the normal images gives every image the same score: 0.5, or a gap of 0.

    Args:
        lake: Fitted.
        images: Test images, at least one.
        labels: One per image, or None.
        n_draws: Number of random selections, at least 1; with fewer than 40 the p-value is never below 0.05.
        on_progress: Called after each draw.
    """
    if n_draws < 1:
        raise ValueError(f"n_draws is {n_draws}, not at least 1")
    own = image_scores(lake, images)
    sizes = {layer: len(selection.neurons) for layer, selection in lake.selection_.items()}
    seeds = range(lake.config.seed + 1, lake.config.seed + n_draws + 1)
    drawn = _outcomes(lake, [_random(lake, sizes, seed) for seed in seeds], images, labels, on_progress)
    if labels is not None and separation_measure(labels) == "auroc":
        return RandomControl.of_scores(labels, own, [one.scores for one in drawn])
    return RandomControl(separation(lake, own, labels), np.array([one.separation for one in drawn]), "gap")


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
        ks: Numbers of neurons per layer that takes part; by default about nine from 1 to all on a log scale. More than
            a layer has means all of them, where every draw equals the selection.
        n_draws: Random selections per K, at least 1.
        on_progress: Called after each selection.
    Returns:
        One row per K, ascending: k, selected, random_mean, random_std (over the draws, ddof 0), memory_bank_bytes
        (float32 memory banks of all layers).
    """
    if n_draws < 1:
        raise ValueError(f"n_draws is {n_draws}, not at least 1")
    ranked = {selection.layer: selection.order for selection in _selections(lake)}
    n_neurons = max(map(len, ranked.values()))
    wanted = sorted(set(log_scale(n_neurons) if ks is None else ks))
    seeds = range(lake.config.seed + 1, lake.config.seed + n_draws + 1)
    # Where all neurons are kept, each draw would be the selection again.
    draws = [(k, seed) for k in wanted for seed in (None, *seeds) if seed is None or k < n_neurons]
    choices = [
        {layer: order[:k] for layer, order in ranked.items()}
        if seed is None
        else _random(lake, dict.fromkeys(ranked, k), seed)
        for k, seed in draws
    ]
    outcomes = _outcomes(lake, choices, images, labels, on_progress)
    rows = []
    for k in wanted:
        selected, *drawn = [one.separation for (own, _), one in zip(draws, outcomes, strict=True) if own == k]
        drawn = drawn or [selected]
        rows.append((k, selected, float(np.mean(drawn)), float(np.std(drawn)), memory_bank_bytes(lake, k)))
    return pd.DataFrame(rows, columns=["k", "selected", "random_mean", "random_std", "memory_bank_bytes"])


def log_scale(n_neurons: int, n_steps: int = 9) -> list[int]:
    """At most n_steps different whole numbers from 1 to n_neurons, evenly spaced on a log scale."""
    return [int(k) for k in np.unique(np.round(np.geomspace(1, n_neurons, n_steps)).astype(int))]


def memory_bank_bytes(lake: Lake, k: int) -> int:
    """Bytes of the float32 memory banks of all layers if k neurons were kept in each."""
    return sum(4 * len(layer.bank) * min(k, layer.selection.n_neurons) for layer in lake.memory_bank_.layers)


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


class _Outcome(NamedTuple):
    """What other neurons make of the test images: separation, and (n_images,) scores."""

    separation: float
    scores: np.ndarray


def _outcomes(
    lake: Lake,
    choices: Sequence[Neurons],
    images: Sequence[InputImage],
    labels: Labels | None,
    on_progress: Progress | None,
) -> list[_Outcome]:
    """The same pipeline with other neurons; at chance level, with scores of 0, where nothing varies in them."""
    if not images:
        raise LakeError(_NO_TESTS)
    is_gap = separation_measure(labels) == "gap"
    scored = scores_by_choice(lake, images, choices, with_normals=is_gap, on_progress=on_progress)
    outcomes = []
    for one in scored:
        if one is None:
            outcomes.append(_Outcome(0.0 if is_gap else 0.5, np.zeros(len(images))))
        else:
            outcomes.append(_Outcome(_separation(one.scores, labels, one.normal_mean), one.scores))
    return outcomes


def _random(lake: Lake, sizes: Mapping[int, int], seed: int) -> dict[int, np.ndarray]:
    """As many random neurons in each layer, those of the criterion "random" with that seed."""
    rank = criteria()["random"].order
    return {layer: rank(lake.selection_[layer].sensitivity, layer, seed)[:k] for layer, k in sizes.items()}


def _selections(lake: Lake) -> list[Selection]:
    lake.fitted()
    return list(lake.selection_.values())
