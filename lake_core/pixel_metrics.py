"""How well maps find the pixels of defects: pixel AUROC and AUPRO, exactly, in bounded memory, with bootstrap draws.

AUPRO is the per-region overlap of Bergmann et al. (MVTec AD, IJCV 2021), up to a false positive rate of 0.3. A figure
that the masks cannot give, because they hold one class only, is None.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import NamedTuple, TypeAlias

import numpy as np

from lake_core.masks import DefectMask
from lake_core.threads import results_in_order

MAX_FPR = 0.3
_N_BINS = 512
"""Bins of scores in which the pixels of bootstrap draws are counted."""

MapsOf: TypeAlias = Callable[[Sequence[int]], Sequence[np.ndarray]]
"""Called with indices of pictures, some at a time; gives the map (h, w) of each. One may be asked for several times."""


Group: TypeAlias = tuple[int, ...]
"""Numbers of pictures."""


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
    """Pixel AUROC and AUPRO over all pictures at once, exactly: every distinct value is a threshold.

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
    return truth.compare(lambda some: [maps[i] for i in some], max_fpr).figures


def pixel_auroc(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> float | None:
    """Area under the ROC curve over all pixels of all pictures; see `pixel_metrics`."""
    return pixel_metrics(maps, masks).auroc


def aupro(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], max_fpr: float = MAX_FPR) -> float | None:
    """Area under the per-region overlap, in [0, 1]; see `pixel_metrics`."""
    return pixel_metrics(maps, masks, max_fpr).aupro


class PixelTruth:
    """The masks of a set of pictures, with which the maps of any number of detectors are compared; see `pixel_metrics`.

    A defect pixel adds to both areas what lies to the right of its place on the axis of false positives; good pixels of
    the same score are counted half, as a sloping line does. So only the scores of some defect pixels are held, and the
    maps of all pictures are asked for, some at a time, to find their places: once, unless defect pixels are very many.

    Args:
        masks: One per picture.
        times: (n_draws, n_pictures) how often each bootstrap draw takes each picture; None draws nothing. A draw takes
            at least one picture with defects.
        pixels_at_once: How many pixels of maps are held together, at least those of one picture.
        defects_at_once: How many defect pixels are held together, at least those of one group of pictures.
        n_threads: How many share the work; each holds so many pixels.
    """

    def __init__(
        self,
        masks: Sequence[DefectMask],
        times: np.ndarray | None = None,
        pixels_at_once: int = 2**21,
        defects_at_once: int = 2**20,
        n_threads: int = 1,
    ) -> None:
        self._masks, self._times, self._n_threads = masks, times, n_threads
        # Those with defects come first, so that the others are asked for once only.
        ordered = sorted(range(len(masks)), key=lambda i: not masks[i].n_defect)
        self._groups = _grouped(ordered, [mask.n_pixels for mask in masks], pixels_at_once)
        n_defects = [sum(masks[i].n_defect for i in group) for group in self._groups]
        with_defects = [number for number, n in enumerate(n_defects) if n]
        self._chunks = [
            [self._groups[number] for number in chunk] for chunk in _grouped(with_defects, n_defects, defects_at_once)
        ]
        self._n_defect = sum(n_defects)
        self._n_good = sum(mask.n_pixels for mask in masks) - self._n_defect
        self._n_regions = sum(mask.n_regions for mask in masks)

    def compare(self, maps_of: MapsOf, max_fpr: float = MAX_FPR) -> Comparison:
        """The figures of one detector.

        Args:
            maps_of: Its maps.
            max_fpr: In (0, 1].
        """
        if not 0 < max_fpr <= 1:
            raise ValueError(f"max_fpr is {max_fpr}, not in (0, 1]")
        if not self._n_defect or not self._n_good:
            return Comparison(PixelMetrics(None, None), None)
        apart: Apart = partial(self._apart, maps_of)
        if len(self._groups) == 1:
            apart = cache(apart)
        area = overlap = 0.0
        bins: _Bins | None = None
        for chunk in self._chunks:
            parts = results_in_order(apart, chunk, self._n_threads)
            places = _Places(parts, self._times if bins is None else None)
            for found in results_in_order(partial(places.look, apart), self._groups, self._n_threads):
                places.add(found)
            bins = bins or places.bins
            above = 1 - places.n_up_to / self._n_good
            equal = 1 - places.n_below / self._n_good - above
            area += float((1 - above - equal / 2).sum())
            overlap += float(places.weights @ _right_of(above, equal, max_fpr))
        figures = PixelMetrics(area / self._n_defect, overlap / (self._n_regions * max_fpr))
        return Comparison(figures, None if bins is None else bins.draws(figures, max_fpr))

    def _apart(self, maps_of: MapsOf, group: Group) -> "_Pixels":
        maps, masks = maps_of(group), [self._masks[i] for i in group]
        if [np.shape(one) for one in maps] != [mask.shape for mask in masks]:
            raise ValueError("maps and masks differ in number or shape")
        found = _Pixels(group, [], [], [])
        for one, mask in zip(maps, masks, strict=True):
            scores = np.array(one, np.float32).reshape(-1)
            scores[np.isnan(scores)] = -np.inf
            if mask.n_defect:
                regions = mask.regions.reshape(-1)
                is_defect = regions > 0
                found.defect.append(scores[is_defect])
                found.weights.append(1 / np.bincount(regions)[regions[is_defect]])
                scores = scores[~is_defect]
            else:
                found.defect.append(scores[:0])
                found.weights.append(np.zeros(0))
            found.good.append(scores)
        return found


class _Pixels(NamedTuple):
    """Scores of some pictures' pixels.

    Attributes:
        pictures: Their numbers.
        defect: For each picture the scores of its defect pixels.
        weights: For each of those 1 / area of its region, so that each region weighs 1.
        good: For each picture the scores of its good pixels.
    """

    pictures: Group
    defect: list[np.ndarray]
    weights: list[np.ndarray]
    good: list[np.ndarray]


Apart: TypeAlias = Callable[[Group], _Pixels]


class _Bins:
    """Pixels of all bootstrap draws, counted in bins of scores that hold about as many defect pixels each.

    All that is counted is used for differences only: how far a draw's figures are from those over all pictures.

    Args:
        defect: Scores of defect pixels, ascending.
        times: (n_draws, n_pictures) how often each draw takes each picture.
    """

    def __init__(self, defect: np.ndarray, times: np.ndarray) -> None:
        self._edges = np.unique(defect[np.linspace(0, len(defect) - 1, _N_BINS).astype(np.int64)])
        self._times = times
        # The first row is no draw: it takes each picture once.
        shape = (len(times) + 1, len(self._edges) + 1)
        self._good, self._defect, self._weight = (np.zeros(shape) for _ in range(3))

    def counts(self, pixels: _Pixels) -> tuple[np.ndarray, ...]:
        """For each of the pictures (n_pictures, n_bins) float64: good pixels, defect pixels, and their weights."""
        n_bins = len(self._edges) + 1
        good = [np.diff(np.searchsorted(np.sort(one), self._edges), prepend=0, append=len(one)) for one in pixels.good]
        bins = [np.searchsorted(self._edges, one, side="right") for one in pixels.defect]
        defect = [np.bincount(one, minlength=n_bins) for one in bins]
        weight = [np.bincount(one, row, minlength=n_bins) for one, row in zip(bins, pixels.weights, strict=True)]
        return tuple(np.array(rows, dtype=np.float64) for rows in (good, defect, weight))

    def add(self, pictures: Sequence[int], counts: tuple[np.ndarray, ...]) -> None:
        """Adds pictures, as often as each draw takes them."""
        times = np.concatenate([np.ones((1, len(pictures))), self._times[:, list(pictures)]])
        for total, rows in zip((self._good, self._defect, self._weight), counts, strict=True):
            total += times @ rows

    def draws(self, exact: PixelMetrics, max_fpr: float) -> PixelDraws:
        """The draws' figures, shifted by what the bins make of the figures over all pictures."""
        assert exact.auroc is not None
        assert exact.aupro is not None
        n_good = np.maximum(self._good.sum(1, keepdims=True), 1)
        equal = self._good / n_good
        above = 1 - equal.cumsum(1)
        area = (self._defect * (1 - above - equal / 2)).sum(1) / self._defect.sum(1)
        overlap = (self._weight * _right_of(above, equal, max_fpr)).sum(1) / (self._weight.sum(1) * max_fpr)
        shifted = area[1:] + (exact.auroc - area[0]), overlap[1:] + (exact.aupro - overlap[0])
        return PixelDraws(*(np.clip(draws, 0, 1) for draws in shifted))


class _Found(NamedTuple):
    """How many good pixels of some pictures lie below each defect pixel, and below or at it; and the counts of bins."""

    pictures: Group
    n_below: np.ndarray
    n_up_to: np.ndarray
    counts: tuple[np.ndarray, ...] | None


class _Places:
    """Places of defect pixels among all good ones.

    Args:
        parts: Pictures with the defect pixels; their good pixels are let go part by part.
        times: For bins of bootstrap draws; None has none.
    Attributes:
        weights: (n_defect,) of the defect pixels, by ascending score.
        n_below, n_up_to: (n_defect,) int64, good pixels with a lower score, and with a lower or the same.
        bins: Of the draws, or None.
    """

    def __init__(self, parts: Iterable[_Pixels], times: np.ndarray | None) -> None:
        scores, weights = [], []
        for pixels in parts:
            scores.extend(pixels.defect)
            weights.extend(pixels.weights)
        defect = np.concatenate(scores)
        order = np.argsort(defect)
        self._defect, self.weights = defect[order], np.concatenate(weights)[order]
        self.n_below, self.n_up_to = np.zeros(len(defect), np.int64), np.zeros(len(defect), np.int64)
        self.bins = None if times is None else _Bins(self._defect, times)

    def look(self, apart: Apart, group: Group) -> _Found:
        """What a group of pictures adds; changes nothing, so that threads can share the work."""
        pixels = apart(group)
        good = np.sort(np.concatenate(pixels.good))
        if len(self._defect) <= len(good):
            below, up_to = (np.searchsorted(good, self._defect, side) for side in ("left", "right"))
        else:
            # A good pixel is below all defect pixels from its own place on.
            n = len(self._defect)
            below, up_to = (
                np.bincount(np.searchsorted(self._defect, good, side), minlength=n + 1)[:n].cumsum()
                for side in ("right", "left")
            )
        return _Found(pixels.pictures, below, up_to, None if self.bins is None else self.bins.counts(pixels))

    def add(self, found: _Found) -> None:
        self.n_below += found.n_below
        self.n_up_to += found.n_up_to
        if self.bins is not None and found.counts is not None:
            self.bins.add(found.pictures, found.counts)


def _grouped(numbers: Iterable[int], sizes: Sequence[int], at_once: int) -> list[Group]:
    """The numbers in groups whose sizes together are at most `at_once`, at least one each."""
    groups: list[list[int]] = []
    together = 0
    for number in numbers:
        together += sizes[number]
        if not groups or together > at_once:
            groups.append([])
            together = sizes[number]
        groups[-1].append(number)
    return [tuple(group) for group in groups]


def _right_of(above: np.ndarray, equal: np.ndarray, limit: float) -> np.ndarray:
    """Area up to `limit` below lines that are 0 up to `above`, rise to 1 over a length `equal`, and stay there."""
    room = np.maximum(limit - above, 0)
    within = np.minimum(room, equal)
    slope = np.divide(within**2, 2 * equal, out=np.zeros_like(within), where=equal > 0)
    return slope + np.maximum(room - equal, 0)
