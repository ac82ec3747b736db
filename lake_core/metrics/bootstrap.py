"""Bootstrap intervals over images: how much a figure depends on which test images happened to be there.

In each draw good and defective images are drawn anew, with replacement, as many of each as there are.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lake_core.metrics.image_metrics import checked, has_both

N_DRAWS = 1000
_AT_ONCE = 2**17
"""Drawn images that are looked at together, so that memory does not grow with draws times images; on a GPU 64
times as many."""


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
    """Which images each draw takes; the same for all that is asked of it, so that figures can be compared.

    Attributes:
        labels: (n,) bool, True where defective; both are there.
        times: (n_draws, n) int16, how often a draw takes each image, on the device where figures are computed.
    """

    labels: np.ndarray
    times: Tensor = field(repr=False)

    @classmethod
    def of(
        cls, labels: ArrayLike, n_draws: int = N_DRAWS, seed: int = 0, device: torch.device | None = None
    ) -> "Resampling | None":
        """Draws for these labels, (n,) bool, True where defective; None if there is one class only."""
        truth = np.asarray(labels, dtype=bool)
        if not has_both(truth):
            return None
        return cls(truth, torch.from_numpy(times_drawn(truth, n_draws, seed)).to(device))

    def figures(self, scores: ArrayLike) -> Figures:
        """The figures of each draw; scores (n,) finite."""
        values = checked(self.labels, scores)[1]
        device = self.times.device
        order = np.argsort(-values)
        is_defective = torch.from_numpy(self.labels[order]).to(device)
        # The last of those with one score: with all before it, it lies at or above a threshold there.
        last = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
        ends = None if len(last) == len(values) else torch.from_numpy(last).to(device)
        by_score = torch.from_numpy(order).to(device)
        at_once = max(1, _AT_ONCE * (64 if device.type == "cuda" else 1) // len(values))
        parts = [_figures(some[:, by_score], is_defective, ends) for some in self.times.split(at_once)]
        return Figures(*torch.cat(parts, dim=1).cpu().numpy())


def _figures(drawn: Tensor, is_defective: Tensor, ends: Tensor | None) -> Tensor:
    """AUROC, average precision and greatest F1 of some draws.

    Args:
        drawn: (n_draws, n) int16, how often each image is drawn, by descending score.
        is_defective: (n,) bool.
        ends: int64, the last image of each score; None where all scores differ.
    Returns:
        (3, n_draws) float64.
    """
    n_right = (drawn * is_defective).cumsum(1)
    n_above = drawn.cumsum(1)
    if ends is not None:
        n_right, n_above = n_right[:, ends], n_above[:, ends]
    nobody = n_right.new_zeros(len(drawn), 1)
    n_defective = n_right[:, -1:]
    found = n_right.diff(dim=1, prepend=nobody)
    n_wrong = n_above - n_right
    # Good ones of the same score count half; those before are wrong for sure.
    n_lost = n_wrong - n_wrong.diff(dim=1, prepend=nobody).double() / 2
    area = 1 - (found * n_lost).sum(1) / n_defective[:, 0] / n_wrong[:, -1]
    precision = (found * (n_right / n_above.clamp(min=1).double())).sum(1) / n_defective[:, 0]
    f1_max = (2 * n_right / (n_above + n_defective).double()).amax(1)
    return torch.stack([area, precision, f1_max])


def times_drawn(labels: np.ndarray, n_draws: int = N_DRAWS, seed: int = 0) -> np.ndarray:
    """(n_draws, n) int16: how often each draw takes each image, those with either label (n,) bool drawn apart."""
    rng = np.random.default_rng(seed)
    times = np.empty((n_draws, len(labels)), dtype=np.int16)
    for alike in (labels, ~labels):
        if alike.any():
            times[:, alike] = _times_drawn(int(alike.sum()), n_draws, rng)
    return times


def _times_drawn(n: int, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """(n_draws, n) int16: how often each of n images is in each draw of n with replacement."""
    times = np.empty((n_draws, n), dtype=np.int16)
    step = max(1, _AT_ONCE // n)
    for start in range(0, n_draws, step):
        some = times[start : start + step]
        drawn = rng.integers(n, size=some.shape) + n * np.arange(len(some))[:, None]
        some[:] = np.bincount(drawn.reshape(-1), minlength=some.size).reshape(some.shape)
    return times


def auroc_interval(
    labels: ArrayLike, scores: ArrayLike, level: float = 0.95, n_draws: int = N_DRAWS, seed: int = 0
) -> Interval | None:
    """The bootstrap interval of the AUROC over images.

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
