"""How well scores separate good images from defective ones.

Higher scores mean more anomalous. scikit-learn is imported where it is called, as it takes longer than all else here. A
metric that cannot be computed, because only one class is present, is None: never
0 and never 0.5. `pixel_metrics` does the same for pixels, `bootstrap` gives intervals.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lake_core.metrics.decision import thresholds_below


class BestF1(NamedTuple):
    """The greatest F1 over all thresholds, and the threshold between two scores (or below all) that gives it."""

    f1: float
    threshold: float


def auroc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Area under the ROC curve: how often a defective image scores above a good one, ties counted half.

    Args:
        labels: (n,) bool, True where defective.
        scores: (n,) finite.
    Returns:
        A number in [0, 1], or None if there is one class only.
    """
    from sklearn.metrics import roc_auc_score

    truth, values = checked(labels, scores)
    return float(roc_auc_score(truth, values)) if has_both(truth) else None


def known_auroc(labels: Sequence[bool | None], scores: Sequence[float] | np.ndarray) -> float | None:
    """Image AUROC over the images whose label is known; None without both classes."""
    pairs = [(label, score) for label, score in zip(labels, scores, strict=True) if label is not None]
    return auroc([label for label, _ in pairs], [score for _, score in pairs])


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Average precision with defective as the positive class, in [0, 1]; None if there is one class only."""
    from sklearn.metrics import average_precision_score

    truth, values = checked(labels, scores)
    return float(average_precision_score(truth, values)) if has_both(truth) else None


def best_f1(labels: ArrayLike, scores: ArrayLike) -> BestF1 | None:
    """The greatest F1 over all thresholds, with defective as the positive class; None if there is one class only."""
    from sklearn.metrics import precision_recall_curve

    truth, values = checked(labels, scores)
    if not has_both(truth):
        return None
    precision, recall, thresholds = precision_recall_curve(truth, values)
    total = precision[:-1] + recall[:-1]
    f1 = np.divide(2 * precision[:-1] * recall[:-1], total, out=np.zeros_like(total), where=total > 0)
    best = int(f1.argmax())
    return BestF1(float(f1[best]), float(thresholds_below(values, thresholds[best])))


def f1_max(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """The greatest F1 alone."""
    best = best_f1(labels, scores)
    return None if best is None else best.f1


def has_both(truth: np.ndarray) -> bool:
    """Whether both classes are present; truth (n,) bool."""
    return bool(truth.any()) and not bool(truth.all())


def checked(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) bool and finite scores (n,) float64.

    Raises:
        ValueError: if their lengths differ, or a score is not finite.
    """
    truth, values = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    if truth.shape != values.shape or truth.ndim != 1:
        raise ValueError(f"labels {truth.shape} and scores {values.shape} are not two lists of one length")
    if not np.isfinite(values).all():
        raise ValueError("scores hold NaN or infinite values")
    return truth, values
