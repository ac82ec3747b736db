"""The interval of an AUROC, from the number of images alone: how much it depends on the choice of test images."""

import numpy as np
from numpy.typing import ArrayLike

from lake_core.metrics.bootstrap import Interval
from lake_core.metrics.image_metrics import auroc as area

_INSIDE = 1e-9
"""Relative step from the AUROC towards a bound: at an AUROC of 0 or 1 itself the excess is 0 as well."""


def newcombe(auroc: float, n_defective: int, n_good: int, level: float = 0.95) -> Interval:
    """The interval of an AUROC by Newcombe's method 5.

    R. G. Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2:
    asymptotic methods and evaluation", Statistics in Medicine 25 (2006). The bounds are those true values from which
    the AUROC is `z` standard errors away, with the error after Hanley and McNeil at the true value. Unlike a
    percentile bootstrap it is no single point where the separation is perfect, and covers the true value about as
    often as it says also near 1 (simulated in the tests and in docs/results.md).

    The choice of the normal images is not in it.

    Args:
        auroc: In [0, 1].
        n_defective, n_good: Images of either kind, at least one each.
        level: How often the interval holds the true value.
    """
    from scipy.optimize import brentq  # takes long to import, and few pages show an interval
    from scipy.stats import norm

    z = float(norm.ppf((1 + level) / 2))

    def excess(true: float) -> float:
        """Squared distance from the AUROC, less that of `z` standard errors; times the number of pairs."""
        n_more = (n_defective + n_good) / 2 - 1
        spread = 1 + n_more * ((1 - true) / (2 - true) + true / (1 + true))
        return n_defective * n_good * (auroc - true) ** 2 - z**2 * true * (1 - true) * spread

    low = 0.0 if auroc <= 0 else brentq(excess, 0.0, auroc - _INSIDE * auroc)
    high = 1.0 if auroc >= 1 else brentq(excess, auroc + _INSIDE * (1 - auroc), 1.0)
    return Interval(float(np.clip(low, 0, auroc)), float(np.clip(high, auroc, 1)))


def auroc_interval(labels: ArrayLike, scores: ArrayLike, level: float = 0.95) -> Interval | None:
    """The interval of the AUROC of one detector, after Newcombe (see `newcombe`).

    Args:
        labels: (n,) bool, True where defective.
        scores: (n,) finite.
        level: How often the interval holds the true value.
    Returns:
        Its bounds, or None if there is one class only.
    """
    value, truth = area(labels, scores), np.asarray(labels, dtype=bool)
    return None if value is None else newcombe(value, int(truth.sum()), int((~truth).sum()), level)
