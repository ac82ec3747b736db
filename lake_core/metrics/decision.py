"""The decision rule: an image is anomalous if its score is greater than the threshold."""

from typing import NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike


class Counts(NamedTuple):
    """A confusion matrix, with defective as the positive class."""

    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int


@overload
def is_anomalous(scores: float, threshold: float) -> bool: ...
@overload
def is_anomalous(scores: ArrayLike, threshold: float) -> np.ndarray: ...
def is_anomalous(scores: ArrayLike, threshold: float) -> bool | np.ndarray:
    """Whether scores are greater than a threshold, compared as float64; a score on the threshold is normal.

    Args:
        scores: One score, or any shape of them.
        threshold: The decision threshold.
    Returns:
        bool for one score, else a bool array of the scores' shape.
    """
    above = np.asarray(scores, dtype=np.float64) > threshold
    return above if above.ndim else bool(above)


def counts(labels: ArrayLike, scores: ArrayLike, threshold: float) -> Counts:
    """The confusion matrix of decisions at a threshold.

    Args:
        labels: (n,) bool, True where defective.
        scores: (n,).
        threshold: The decision threshold.
    """
    truth, above = np.asarray(labels, dtype=bool), np.atleast_1d(is_anomalous(scores, threshold))
    return Counts(
        int((truth & above).sum()),
        int((truth & ~above).sum()),
        int((~truth & above).sum()),
        int((~truth & ~above).sum()),
    )


def thresholds_below(scores: ArrayLike, chosen: ArrayLike) -> np.ndarray:
    """For each chosen score the threshold below it: the chosen score is the lowest that is greater.

    The threshold lies halfway to the next lower score, or on that one if no number lies between them. Below the lowest
    score it lies a two-hundredth of the range of the scores further down.

    Args:
        scores: (n,) finite, n >= 1.
        chosen: (m,) some of them.
    Returns:
        (m,) float64.
    """
    distinct, high = np.unique(np.asarray(scores, dtype=np.float64)), np.asarray(chosen, dtype=np.float64)
    beneath = min(distinct[0] - (distinct[-1] - distinct[0]) / 100, np.nextafter(distinct[0], -np.inf))
    low = np.append(beneath, distinct)[np.searchsorted(distinct, high)]
    halfway = low + (high - low) / 2
    return np.where(halfway < high, halfway, low)
