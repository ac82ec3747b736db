"""Bootstrap intervals over images: how much a metric depends on the choice of test images.

The bootstrap is stratified: in each draw, good and defective images are drawn apart, with replacement, as many of each
as there are (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).
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
"""Drawn images that are counted together, so that memory does not grow with draws times images; on a GPU 64
times as many."""


class Interval(NamedTuple):
    """Bounds of an interval."""

    low: float
    high: float


class ImageDraws(NamedTuple):
    """(n_draws,) float64 in [0, 1] each, one per draw: AUROC, average precision, greatest F1 over all thresholds."""

    auroc: np.ndarray
    average_precision: np.ndarray
    f1_max: np.ndarray


@dataclass(frozen=True, eq=False)
class Resampling:
    """Which images each draw takes; the same for all scores, so that their metrics can be compared.

    Attributes:
        labels: (n,) bool, True where defective; both are there.
        times: (n_draws, n) int16, how often a draw takes each image, on the device where metrics are computed.
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

    def draws(self, scores: ArrayLike) -> ImageDraws:
        """The metrics of each draw; scores (n,) finite."""
        values = checked(self.labels, scores)[1]
        device = self.times.device
        order = np.argsort(-values)
        is_defective = torch.from_numpy(self.labels[order]).to(device)
        # The last of those with one score: with all before it, it lies at or above a threshold there.
        last = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
        ends = None if len(last) == len(values) else torch.from_numpy(last).to(device)
        by_score = torch.from_numpy(order).to(device)
        at_once = max(1, _AT_ONCE * (64 if device.type == "cuda" else 1) // len(values))
        parts = [
            _metrics_of(self.times[start : start + at_once, by_score], is_defective, ends)
            for start in range(0, len(self.times), at_once)
        ]
        return ImageDraws(*torch.cat(parts, dim=1).cpu().numpy())


def _metrics_of(drawn: Tensor, is_defective: Tensor, ends: Tensor | None) -> Tensor:
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
    none_above = n_right.new_zeros(len(drawn), 1)
    n_defective = n_right[:, -1:]
    n_hit = n_right.diff(dim=1, prepend=none_above)
    n_wrong = n_above - n_right
    # Good images with the same score count half, those with a higher one in full.
    n_lost = n_wrong - n_wrong.diff(dim=1, prepend=none_above).double() / 2
    area = 1 - (n_hit * n_lost).sum(1) / n_defective[:, 0] / n_wrong[:, -1]
    precision = (n_hit * (n_right / n_above.clamp(min=1).double())).sum(1) / n_defective[:, 0]
    f1_max = (2 * n_right / (n_above + n_defective).double()).amax(1)
    return torch.stack([area, precision, f1_max])


def times_drawn(labels: np.ndarray, n_draws: int = N_DRAWS, seed: int = 0) -> np.ndarray:
    """(n_draws, n) int16: how often each draw takes each image, those with either label (n,) bool drawn apart."""
    rng = np.random.default_rng(seed)
    times = np.empty((n_draws, len(labels)), dtype=np.int16)
    for of_class in (labels, ~labels):
        if of_class.any():
            times[:, of_class] = _times_drawn(int(of_class.sum()), n_draws, rng)
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


def interval(draws: np.ndarray, level: float = 0.95) -> Interval:
    """The middle part of bootstrap draws that holds a share `level` of them."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
