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

    def auroc(self, scores: ArrayLike) -> np.ndarray:
        """(n_draws,) float64, the AUROC of each draw; scores (n,) finite."""
        values = checked(self.labels, scores)[1]
        good, order = np.sort(values[~self.labels]), np.argsort(values[~self.labels])
        below, up_to = (np.searchsorted(good, values[self.labels], side) for side in ("left", "right"))

        def wins(times: np.ndarray) -> np.ndarray:
            n_drawn = times[:, ~self.labels][:, order].cumsum(1)
            drawn_up_to = np.concatenate([np.zeros((len(times), 1), n_drawn.dtype), n_drawn], axis=1)
            return np.asarray((times[:, self.labels] * (drawn_up_to[:, below] + drawn_up_to[:, up_to])).sum(1) / 2)

        n_defective = int(self.labels.sum())
        return np.concatenate(self._each(wins)) / (n_defective * (len(values) - n_defective))

    def precision_and_f1(self, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """(n_draws,) float64 twice: the average precision, and the greatest F1 over all thresholds, of each draw.

        Args:
            scores: (n,) finite.
        """
        values = checked(self.labels, scores)[1]
        order = np.argsort(-values)
        is_defective = self.labels[order]
        # The last of those with one score: with all before it, it lies at or above a threshold there.
        ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)

        def figures(times: np.ndarray) -> np.ndarray:
            drawn = times[:, order]
            n_right = (drawn * is_defective).cumsum(1)[:, ends]
            n_above = drawn.cumsum(1)[:, ends]
            precision = n_right / np.maximum(n_above, 1)
            average = (np.diff(n_right, axis=1, prepend=0) * precision).sum(1) / n_right[:, -1]
            return np.stack([average, (2 * n_right / (n_above + n_right[:, -1:])).max(1)])

        average, f1 = np.concatenate(self._each(figures), axis=1)
        return average, f1

    def _each(self, work: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
        """What some draws at a time give, (n_draws, n) int64 each."""
        n_draws, n = self.times.shape
        step = max(1, _AT_ONCE // n)
        some = (self.times[start : start + step].astype(np.int64) for start in range(0, n_draws, step))
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
    return None if drawn is None else interval(drawn.auroc(values), level)


def interval(draws: np.ndarray, level: float = 0.95) -> Interval:
    """The middle part of bootstrap draws that holds a share `level` of them."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
