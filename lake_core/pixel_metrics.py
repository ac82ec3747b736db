"""How well maps find the pixels of defects: pixel AUROC and AUPRO in bounded memory, with bootstrap draws.

AUPRO is the per-region overlap of Bergmann et al. (MVTec AD, IJCV 2021), up to a false positive rate of 0.3. A figure
that the masks cannot give, because they hold one class only, is None.

Every score is a threshold, but scores that differ by less than a 32 000th of their distance from the lowest one, or
that lie within a 65 000th of the range from it, count as the same (as equal scores do: good pixels half, a sloping
line). That moved figures of real maps by 1e-8, those of a few small ones by up to 1e-5, and it makes one pass of
counting of what were two of sorting hundreds of millions of pixels. `pixel_metrics` does it to ranks, and so is exact
for up to 32 000 different scores, whatever their range.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np

from lake_core.masks import DefectMask
from lake_core.threads import results_in_order

MAX_FPR = 0.3
_N_OCTAVES, _BITS, _COARSER = 16, 15, 9
"""Scores from 2**-16 of the range on are told apart by 15 bits of their fraction; for draws by 9 bits less."""
_DRAWN_AT_ONCE = 256
_FIRST = ((127 - _N_OCTAVES) << _BITS) - 1
_N_FINE = (_N_OCTAVES << _BITS) + 2
_N_COARSE = (_N_FINE >> _COARSER) + 1

MapsOf: TypeAlias = Callable[[Sequence[int]], Sequence[np.ndarray]]
"""Called with indices of pictures, some at a time; gives the map (h, w) of each."""


class PixelMetrics(NamedTuple):
    """Pixel AUROC and AUPRO, each None where the masks hold one class only."""

    auroc: float | None
    aupro: float | None


class PixelDraws(NamedTuple):
    """(n_draws,) float64 of each figure, one per bootstrap draw."""

    auroc: np.ndarray
    aupro: np.ndarray


class Comparison(NamedTuple):
    """The figures of one detector over all pictures, and on bootstrap draws of them where these were asked for."""

    figures: PixelMetrics
    draws: PixelDraws | None


def pixel_metrics(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], max_fpr: float = MAX_FPR) -> PixelMetrics:
    """Pixel AUROC and AUPRO over all pictures at once.

    AUPRO is the area under the mean share of each defect region that is found, against the share of good pixels taken
    for defects, up to `max_fpr` and divided by it. Regions are connected over edges and corners; each counts the
    same, however small.

    Args:
        maps: For each picture (h, w) scores of its pixels; NaN, where a map says nothing, counts as lowest of all.
        masks: For each picture (h, w) bool, True where defect; all False for a good picture.
        max_fpr: In (0, 1].
    """
    if [np.shape(one) for one in maps] != [np.shape(mask) for mask in masks]:
        raise ValueError("maps and masks differ in number or shape")
    truth = PixelTruth([DefectMask.of(mask) for mask in masks])
    distinct = np.unique(np.concatenate([np.zeros(0), *(np.ravel(one)[~np.isnan(np.ravel(one))] for one in maps)]))

    def ranks(some: Sequence[int]) -> list[np.ndarray]:
        return [np.where(np.isnan(maps[i]), np.nan, np.searchsorted(distinct, maps[i])) for i in some]

    return truth.compare(ranks, 0.0, max(0.0, len(distinct) - 1.0), max_fpr).figures


def pixel_auroc(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> float | None:
    """Area under the ROC curve over all pixels of all pictures; see `pixel_metrics`."""
    return pixel_metrics(maps, masks).auroc


def aupro(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], max_fpr: float = MAX_FPR) -> float | None:
    """Area under the per-region overlap, in [0, 1]; see `pixel_metrics`."""
    return pixel_metrics(maps, masks, max_fpr).aupro


class PixelTruth:
    """The masks of a set of pictures, with which the maps of any number of detectors are compared; see `pixel_metrics`.

    Each map is asked for once and let go: its pixels are counted in bins of their scores, so that memory does not
    depend on the number of pictures.

    Args:
        masks: One per picture.
        times: (n_draws, n_pictures) how often each bootstrap draw takes each picture; None draws nothing. A draw takes
            at least one picture with defects.
        pixels_at_once: How many pixels of maps are held together, at least those of one picture.
        n_threads: How many share the work; each holds so many pixels.
    """

    def __init__(
        self,
        masks: Sequence[DefectMask],
        times: np.ndarray | None = None,
        pixels_at_once: int = 2**21,
        n_threads: int = 1,
    ) -> None:
        self._masks, self._times, self._n_threads = masks, times, n_threads
        self._groups = _grouped([mask.n_pixels for mask in masks], pixels_at_once)
        n_defect = sum(mask.n_defect for mask in masks)
        self._has_both = 0 < n_defect < sum(mask.n_pixels for mask in masks)

    def compare(self, maps_of: MapsOf, low: float, high: float, max_fpr: float = MAX_FPR) -> Comparison:
        """The figures of one detector.

        Args:
            maps_of: Its maps.
            low, high: Its lowest and highest score; what lies outside counts as one of them.
            max_fpr: In (0, 1].
        """
        if not 0 < max_fpr <= 1:
            raise ValueError(f"max_fpr is {max_fpr}, not in (0, 1]")
        if not self._has_both:
            return Comparison(PixelMetrics(None, None), None)
        fine = np.zeros((3, _N_FINE))
        n_draws = 0 if self._times is None else len(self._times)
        coarse = np.zeros((3, n_draws + 1, _N_COARSE))
        work = partial(self._count, maps_of, _Scale(low, high))
        waiting: list[_Counts] = []
        for counts in results_in_order(work, self._groups, self._n_threads):
            for total, row in zip(fine, counts.fine, strict=False):
                total += row
            waiting.append(counts)
            if sum(len(one.pictures) for one in waiting) >= _DRAWN_AT_ONCE:
                self._draw(waiting, coarse)
                waiting = []
        self._draw(waiting, coarse)
        area, overlap = (float(figure) for figure in _areas(fine, max_fpr))
        figures = PixelMetrics(area, overlap)
        if self._times is None:
            return Comparison(figures, None)
        # The coarse bins tell how far a draw's figures are from those over all pictures.
        areas, overlaps = _areas(coarse, max_fpr)
        draws = areas[1:] + (area - areas[0]), overlaps[1:] + (overlap - overlaps[0])
        return Comparison(figures, PixelDraws(*(np.clip(one, 0, 1) for one in draws)))

    def _draw(self, counts: "list[_Counts]", coarse: np.ndarray) -> None:
        """Adds pictures to the counts of all draws, as often as each takes them."""
        if self._times is None or not counts:
            return
        numbers = [number for one in counts for number in one.pictures]
        # The first row is no draw: it takes each picture once.
        times = np.concatenate([np.ones((1, len(numbers))), self._times[:, numbers]])
        coarse[0] += times @ np.concatenate([one.coarse[0] for one in counts])
        with_defects = [i for i, number in enumerate(numbers) if self._masks[number].n_defect]
        for kind in (1, 2):
            coarse[kind] += times[:, with_defects] @ np.concatenate([one.coarse[kind] for one in counts])[with_defects]

    def _count(self, maps_of: MapsOf, scale: "_Scale", group: list[int]) -> "_Counts":
        """The pixels of some pictures."""
        maps = maps_of(group)
        if [np.shape(one) for one in maps] != [self._masks[number].shape for number in group]:
            raise ValueError("maps and masks differ in number or shape")
        good, defect, weight = [], [], []
        coarse = np.zeros((3, len(group), _N_COARSE))
        for i, (one, number) in enumerate(zip(maps, group, strict=True)):
            bins, mask = scale.bins(one), self._masks[number]
            if mask.n_defect:
                regions = mask.regions.reshape(-1)
                is_defect = regions > 0
                defect.append(bins[is_defect])
                weight.append(1 / np.bincount(regions)[regions[is_defect]])
                bins = bins[~is_defect]
                if self._times is not None:
                    coarse[1, i] = np.bincount(defect[-1] >> _COARSER, minlength=_N_COARSE)
                    coarse[2, i] = np.bincount(defect[-1] >> _COARSER, weight[-1], minlength=_N_COARSE)
            if self._times is not None:
                coarse[0, i] = np.bincount(bins >> _COARSER, minlength=_N_COARSE)
            good.append(bins)
        fine = [np.bincount(np.concatenate(good), minlength=_N_FINE)]
        if defect:
            defects = np.concatenate(defect)
            fine.append(np.bincount(defects, minlength=_N_FINE))
            fine.append(np.bincount(defects, np.concatenate(weight), minlength=_N_FINE))
        return _Counts(group, fine, coarse)


class _Counts(NamedTuple):
    """Good pixels, defect pixels, and defect pixels weighed so that each region weighs 1, in bins of scores.

    Attributes:
        pictures: Their numbers.
        fine: 3 times (_N_FINE,), of some pictures together; only the first where none of them has a defect.
        coarse: (3, n_pictures, _N_COARSE), of each picture; zeros where no draws are asked for.
    """

    pictures: list[int]
    fine: list[np.ndarray]
    coarse: np.ndarray


class _Scale:
    """Bins of scores: each as wide as a fixed share of its distance from the lowest score, as floating numbers are.

    Args:
        low, high: Lowest and highest score.
    """

    def __init__(self, low: float, high: float) -> None:
        self._low, self._span = np.float32(low), np.float32(high - low if high > low else 1)

    def bins(self, scores: np.ndarray) -> np.ndarray:
        """(n,) int64 in [0, _N_FINE) for scores of any shape; 0 for NaN."""
        share = ((np.asarray(scores, np.float32) - self._low) / self._span).reshape(-1)
        held = np.clip(share, np.float32(2.0**-_N_OCTAVES), np.float32(1))
        bins = (held.view(np.int32) >> (23 - _BITS)).astype(np.int64) - _FIRST
        bins[np.isnan(share)] = 0
        return bins


def _grouped(sizes: Sequence[int], at_once: int) -> list[list[int]]:
    """Numbers from 0 on in groups whose sizes together are at most `at_once`, at least one each."""
    groups: list[list[int]] = []
    together = 0
    for number, size in enumerate(sizes):
        together += size
        if not groups or together > at_once:
            groups.append([])
            together = size
        groups[-1].append(number)
    return groups


def _areas(counts: np.ndarray, max_fpr: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixel AUROC and AUPRO, (...), of counts (3, ..., n_bins) by ascending score."""
    good, defect, weight = counts
    n_good = np.maximum(good.sum(-1, keepdims=True), 1)
    above, equal = 1 - good.cumsum(-1) / n_good, good / n_good
    area = (defect * (1 - above - equal / 2)).sum(-1) / defect.sum(-1)
    overlap = (weight * _right_of(above, equal, max_fpr)).sum(-1) / (weight.sum(-1) * max_fpr)
    return area, overlap


def _right_of(above: np.ndarray, equal: np.ndarray, limit: float) -> np.ndarray:
    """Area up to `limit` below lines that are 0 up to `above`, rise to 1 over a length `equal`, and stay there."""
    room = np.maximum(limit - above, 0)
    within = np.minimum(room, equal)
    slope = np.divide(within**2, 2 * equal, out=np.zeros_like(within), where=equal > 0)
    return slope + np.maximum(room - equal, 0)
