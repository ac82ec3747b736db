"""How well scores separate good from defective: for pictures and for pixels, with bootstrap intervals.

Higher scores mean more anomalous. A figure that the data cannot give, because only one class is there, is None: never
0 and never 0.5. AUPRO is the per-region overlap of Bergmann et al. (MVTec AD, IJCV 2021), up to a false positive rate
of 0.3.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

MAX_FPR = 0.3
_EIGHT_CONNECTED = np.ones((3, 3), dtype=int)


class BestF1(NamedTuple):
    """The greatest F1 over all thresholds, and the lowest score that still counts as defective there."""

    f1: float
    threshold: float


class PixelMetrics(NamedTuple):
    """Pixel AUROC and AUPRO, each None where the masks hold one class only."""

    auroc: float | None
    aupro: float | None


class Interval(NamedTuple):
    """Bounds of an interval."""

    low: float
    high: float


def auroc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Area under the ROC curve: how often a defective one scores above a good one, ties counted half.

    Args:
        labels: (n,) bool, True where defective.
        scores: (n,) finite.
    Returns:
        A number in [0, 1], or None if there is one class only.
    """
    truth, values = _checked(labels, scores)
    return float(roc_auc_score(truth, values)) if _has_both(truth) else None


def known_auroc(labels: Sequence[bool | None], scores: Sequence[float] | np.ndarray) -> float | None:
    """Image AUROC over the pictures whose label is known; None without both classes."""
    pairs = [(label, score) for label, score in zip(labels, scores, strict=True) if label is not None]
    return auroc([label for label, _ in pairs], [score for _, score in pairs])


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Average precision with defective as the positive class, in [0, 1]; None if there is one class only."""
    truth, values = _checked(labels, scores)
    return float(average_precision_score(truth, values)) if _has_both(truth) else None


def best_f1(labels: ArrayLike, scores: ArrayLike) -> BestF1 | None:
    """The greatest F1 over all thresholds, with defective as the positive class; None if there is one class only."""
    truth, values = _checked(labels, scores)
    if not _has_both(truth):
        return None
    precision, recall, thresholds = precision_recall_curve(truth, values)
    total = precision[:-1] + recall[:-1]
    f1 = np.divide(2 * precision[:-1] * recall[:-1], total, out=np.zeros_like(total), where=total > 0)
    best = int(f1.argmax())
    return BestF1(float(f1[best]), float(thresholds[best]))


def f1_max(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """The greatest F1 alone."""
    best = best_f1(labels, scores)
    return None if best is None else best.f1


def bootstrap_auroc(labels: ArrayLike, scores: ArrayLike, n_draws: int = 1000, seed: int = 0) -> np.ndarray | None:
    """Bootstrap draws of the AUROC over pictures: good and defective ones are each drawn anew, with replacement.

    Args:
        labels: (n,) bool, True where defective.
        scores: (n,) or (n_runs, n) finite. With several runs (seeds) over the same pictures a draw is the mean of their
            AUROCs, all on the same drawn pictures: the interval of the mean over seeds.
        n_draws: Number of draws.
        seed: Of the drawing.
    Returns:
        (n_draws,) float64, or None if there is one class only.
    """
    truth = np.asarray(labels, dtype=bool)
    runs = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    for run in runs:
        _checked(truth, run)
    if not _has_both(truth):
        return None
    rng = np.random.default_rng(seed)
    n_defective, n_good = int(truth.sum()), int((~truth).sum())
    times_defective, times_good = _times_drawn(n_defective, n_draws, rng), _times_drawn(n_good, n_draws, rng)
    wins = np.zeros(n_draws)
    for run in runs:
        good, order = np.sort(run[~truth]), np.argsort(run[~truth])
        drawn_up_to = np.concatenate([np.zeros((n_draws, 1), int), times_good[:, order].cumsum(1)], axis=1)
        below, below_or_equal = (drawn_up_to[:, np.searchsorted(good, run[truth], side)] for side in ("left", "right"))
        wins += (times_defective * (below + below_or_equal)).sum(1) / 2
    return np.asarray(wins / (len(runs) * n_defective * n_good))


def _times_drawn(n: int, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """(n_draws, n) int64: how often each of n pictures is in each draw of n with replacement."""
    drawn = rng.integers(n, size=(n_draws, n)) + n * np.arange(n_draws)[:, None]
    return np.bincount(drawn.reshape(-1), minlength=n_draws * n).reshape(n_draws, n)


def auroc_interval(
    labels: ArrayLike, scores: ArrayLike, level: float = 0.95, n_draws: int = 1000, seed: int = 0
) -> Interval | None:
    """The bootstrap interval of the AUROC over pictures; arguments as in `bootstrap_auroc`."""
    draws = bootstrap_auroc(labels, scores, n_draws, seed)
    return None if draws is None else interval(draws, level)


def interval(draws: np.ndarray, level: float = 0.95) -> Interval:
    """The middle part of bootstrap draws that holds a share `level` of them."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def pixel_metrics(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], max_fpr: float = MAX_FPR) -> PixelMetrics:
    """Pixel AUROC and AUPRO over all pictures at once, exactly: every distinct value is a threshold.

    AUPRO is the area under the mean share of each defect region that is found, against the share of good pixels taken
    for defects, up to `max_fpr` and divided by it. Regions are connected over edges and corners; each counts the
    same, however small.

    Args:
        maps: For each picture (h, w) scores of its pixels; NaN, where a map says nothing, counts as lowest of all.
        masks: For each picture (h, w) bool, True where defect; all False for a good picture.
        max_fpr: In (0, 1].
    """
    return PixelTruth(masks).metrics(maps, max_fpr)


class PixelTruth:
    """The masks of a set of pictures, made ready once for the maps of any number of detectors; see `pixel_metrics`.

    A defect pixel adds to both areas what lies to the right of its place on the axis of false positives; good pixels of
    the same score are counted half, as a sloping line does. So only the scores of defect pixels are held, and the maps
    are asked for some pictures at a time.

    Args:
        masks: For each picture (h, w) bool, True where defect.
        pixels_at_once: How many pixels of maps are held together, at least those of one picture.
    """

    def __init__(self, masks: Sequence[np.ndarray], pixels_at_once: int = 2**22) -> None:
        self._masks = [np.asarray(mask, dtype=bool) for mask in masks]
        has_defect = [bool(mask.any()) for mask in self._masks]
        # Those with defects come first, so that the others are asked for once only.
        self._groups = _groups(sorted(range(len(masks)), key=lambda i: not has_defect[i]), self._masks, pixels_at_once)
        self._with_defect = [group for group in self._groups if has_defect[group[0]]]
        self._n_defect = sum(int(mask.sum()) for mask in self._masks)
        self._n_good = sum(mask.size for mask in self._masks) - self._n_defect
        weights = [_region_weights(self._masks[i])[self._masks[i]] for group in self._with_defect for i in group]
        self._weights = np.concatenate(weights or [np.zeros(0)])
        self._weights /= max(self._weights.sum(), 1e-300)

    def metrics(self, maps: Sequence[np.ndarray], max_fpr: float = MAX_FPR) -> PixelMetrics:
        """The figures of one detector's maps, arguments as in `pixel_metrics`."""
        if [one.shape for one in maps] != [mask.shape for mask in self._masks]:
            raise ValueError("maps and masks differ in number or shape")
        return self.metrics_of(lambda indices: [maps[i] for i in indices], max_fpr)

    def metrics_of(
        self, maps_of: Callable[[Sequence[int]], Sequence[np.ndarray]], max_fpr: float = MAX_FPR
    ) -> PixelMetrics:
        """The figures of one detector.

        Args:
            maps_of: Called with indices of pictures, some at a time; gives their maps. May be called twice for one.
            max_fpr: In (0, 1].
        """
        if not 0 < max_fpr <= 1:
            raise ValueError(f"max_fpr is {max_fpr}, not in (0, 1]")
        if not self._n_defect or not self._n_good:
            return PixelMetrics(None, None)
        held = [self._split(maps_of, self._groups[0])] if len(self._groups) == 1 else None
        defect = np.concatenate([part for part, _ in held or (self._split(maps_of, g) for g in self._with_defect)])
        order = np.argsort(defect)
        defect, weights = defect[order], self._weights[order]
        n_below, n_up_to = np.zeros(len(defect), np.int64), np.zeros(len(defect), np.int64)
        for _, good in held or (self._split(maps_of, group) for group in self._groups):
            good.sort()
            n_below += np.searchsorted(good, defect, side="left")
            n_up_to += np.searchsorted(good, defect, side="right")
        above = 1 - n_up_to / self._n_good
        equal = 1 - n_below / self._n_good - above
        area = float(np.mean(1 - above - equal / 2))
        overlap = float(weights @ _right_of(above, equal, max_fpr)) / max_fpr
        return PixelMetrics(area, overlap)

    def _split(
        self, maps_of: Callable[[Sequence[int]], Sequence[np.ndarray]], group: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the defect pixels and of the good pixels of some pictures, float32."""
        maps, masks = maps_of(group), [self._masks[i] for i in group]
        scores = np.concatenate([np.asarray(one, np.float32).ravel() for one in maps])
        scores[np.isnan(scores)] = -np.inf
        is_defect = np.concatenate([mask.ravel() for mask in masks])
        return scores[is_defect], scores[~is_defect]


def pixel_auroc(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> float | None:
    """Area under the ROC curve over all pixels of all pictures; see `pixel_metrics`."""
    return pixel_metrics(maps, masks).auroc


def aupro(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], max_fpr: float = MAX_FPR) -> float | None:
    """Area under the per-region overlap, in [0, 1]; see `pixel_metrics`."""
    return pixel_metrics(maps, masks, max_fpr).aupro


def _groups(indices: Sequence[int], masks: Sequence[np.ndarray], pixels_at_once: int) -> list[list[int]]:
    """The indices in groups of at most so many pixels, at least one picture each."""
    groups: list[list[int]] = []
    n_pixels = 0
    for i in indices:
        n_pixels += masks[i].size
        if not groups or n_pixels > pixels_at_once:
            groups.append([])
            n_pixels = masks[i].size
        groups[-1].append(i)
    return groups


def _region_weights(mask: np.ndarray) -> np.ndarray:
    """(h, w) float64: 1 / area of its region for a defect pixel, so that each region weighs 1; 0 elsewhere."""
    regions, n_regions = ndimage.label(mask, _EIGHT_CONNECTED)
    if n_regions == 0:
        return np.zeros(mask.shape)
    areas = np.bincount(regions.ravel()).astype(np.float64)
    return np.where(regions > 0, 1 / areas[regions], 0.0)


def _right_of(above: np.ndarray, equal: np.ndarray, limit: float) -> np.ndarray:
    """Area up to `limit` below lines that are 0 up to `above`, rise to 1 over a length `equal`, and stay there."""
    room = np.maximum(limit - above, 0)
    within = np.minimum(room, equal)
    slope = np.divide(within**2, 2 * equal, out=np.zeros_like(within), where=equal > 0)
    return slope + np.maximum(room - equal, 0)


def _has_both(truth: np.ndarray) -> bool:
    return bool(truth.any()) and not bool(truth.all())


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    truth, values = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    if truth.shape != values.shape or truth.ndim != 1:
        raise ValueError(f"labels {truth.shape} and scores {values.shape} are not two lists of one length")
    if not np.isfinite(values).all():
        raise ValueError("scores hold NaN or infinite values")
    return truth, values
