"""Bootstrap intervals over pictures: how much a figure depends on which test pictures happened to be there.

In each draw good and defective pictures are drawn anew, with replacement, as many of each as there are.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lake_core.metrics import checked, has_both
from lake_core.threads import results_in_order

N_DRAWS = 1000
_AT_ONCE = 2**17
"""Drawn pictures that are looked at together, so that memory does not grow with draws times pictures."""


class Interval(NamedTuple):
    """Bounds of an interval."""

    low: float
    high: float


class Figures(NamedTuple):
    """(n_draws,) float64 each: AUROC, average precision and greatest F1 over all thresholds, one per draw."""

    auroc: np.ndarray
    average_precision: np.ndarray
    f1_max: np.ndarray


@dataclass(frozen=True, eq=False)
class Resampling:
    """Which pictures each draw takes; the same for all that is asked of it, so that figures can be compared.

    Attributes:
        labels: (n,) bool, True where defective; both are there.
        times: (n_draws, n) uint16, how often a draw takes each picture.
        n_threads: How many share the work.
    """

    labels: np.ndarray
    times: np.ndarray = field(repr=False)
    n_threads: int = 1

    @classmethod
    def of(cls, labels: ArrayLike, n_draws: int = N_DRAWS, seed: int = 0, n_threads: int = 1) -> "Resampling | None":
        """Draws for these labels, (n,) bool, True where defective; None if there is one class only."""
        truth = np.asarray(labels, dtype=bool)
        if not has_both(truth):
            return None
        return cls(truth, times_drawn(truth, n_draws, seed), n_threads)

    def figures(self, scores: ArrayLike) -> Figures:
        """The figures of each draw; scores (n,) finite."""
        values = checked(self.labels, scores)[1]
        order = np.argsort(-values)
        is_defective = self.labels[order]
        # The last of those with one score: with all before it, it lies at or above a threshold there.
        ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)

        def of_some(times: np.ndarray) -> np.ndarray:
            drawn = times[:, order]
            n_right = (drawn * is_defective).cumsum(1, dtype=np.int32)
            n_above = drawn.cumsum(1, dtype=np.int32)
            if len(ends) < len(values):
                n_right, n_above = n_right[:, ends], n_above[:, ends]
            n_defective = n_right[:, -1:]
            found = np.diff(n_right, axis=1, prepend=np.int32(0))
            n_wrong = n_above - n_right
            # Good ones of the same score count half; those before are wrong for sure.
            n_lost = n_wrong - np.diff(n_wrong, axis=1, prepend=np.int32(0)) / 2
            area = 1 - (found * n_lost).sum(1) / n_defective[:, 0] / n_wrong[:, -1]
            precision = (found * (n_right / np.maximum(n_above, 1))).sum(1) / n_defective[:, 0]
            return np.stack([area, precision, (2 * n_right / (n_above + n_defective)).max(1)])

        return Figures(*np.concatenate(self._each(of_some), axis=1))

    def _each(self, work: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
        """What some draws at a time give, of (n_draws, n) uint16 each."""
        n_draws, n = self.times.shape
        step = max(1, _AT_ONCE // n)
        some = (self.times[start : start + step] for start in range(0, n_draws, step))
        return list(results_in_order(work, some, self.n_threads))


def times_drawn(labels: np.ndarray, n_draws: int = N_DRAWS, seed: int = 0) -> np.ndarray:
    """(n_draws, n) uint16: how often each draw takes each picture, those with either label (n,) bool drawn apart."""
    rng = np.random.default_rng(seed)
    times = np.empty((n_draws, len(labels)), dtype=np.uint16)
    for alike in (labels, ~labels):
        if alike.any():
            times[:, alike] = _times_drawn(int(alike.sum()), n_draws, rng)
    return times


def _times_drawn(n: int, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """(n_draws, n) uint16: how often each of n pictures is in each draw of n with replacement."""
    times = np.empty((n_draws, n), dtype=np.uint16)
    step = max(1, _AT_ONCE // n)
    for start in range(0, n_draws, step):
        some = times[start : start + step]
        drawn = rng.integers(n, size=some.shape) + n * np.arange(len(some))[:, None]
        some[:] = np.bincount(drawn.reshape(-1), minlength=some.size).reshape(some.shape)
    return times


def auroc_interval(
    labels: ArrayLike, scores: ArrayLike, level: float = 0.95, n_draws: int = N_DRAWS, seed: int = 0
) -> Interval | None:
    """The bootstrap interval of the AUROC over pictures.

    Args:
        labels: (n,) bool, True where defective.
        scores: (n,) finite.
        level: Share of the draws that lie inside.
        n_draws: Number of draws.
        seed: Of the drawing.
    Returns:
        Its bounds, or None if there is one class only.
    """
    truth, values = checked(labels, scores)
    drawn = Resampling.of(truth, n_draws, seed)
    return None if drawn is None else interval(drawn.figures(values).auroc, level)


def interval(draws: np.ndarray, level: float = 0.95) -> Interval:
    """The middle part of bootstrap draws that holds a share `level` of them."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
