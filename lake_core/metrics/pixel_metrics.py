"""How well maps find the pixels of defects: pixel AUROC and AUPRO in bounded memory, with bootstrap draws.

AUPRO is the per-region overlap of Bergmann et al. (MVTec AD, IJCV 2021), up to a false-positive rate of 0.3. A metric
that cannot be computed, because the masks hold one class only, is None.

Every score is a threshold, but scores that differ by less than a 32 000th of their distance from the lowest one, or
that lie within a 65 000th of the range from it, count as the same (as equal scores do: good pixels half, a sloping
line). This moved the metrics of real maps by 1e-8, those of a few small ones by up to 1e-5, and it replaces two
sorts of hundreds of millions of pixels by one pass of counting. `pixel_metrics` bins ranks instead, and so is exact
for up to 32 000 different scores, whatever their range.

Counts are whole numbers, those of weights too (in units of 2**-40 of a region), so that they are the same in whatever
order pixels are counted, on a GPU as on the CPU.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lake_core.metrics.defect_mask import DefectMask

MAX_FPR = 0.3
_N_OCTAVES, _BITS, _COARSER = 16, 15, 9
"""Scores from 2**-16 of the range on are resolved to 15 bits of their fraction; for draws to 9 bits less."""
_REGION = 2**40
"""What all pixels of a region weigh together; up to 2**23 regions can be counted."""
_FIRST = ((127 - _N_OCTAVES) << _BITS) - 1
_N_FINE = (_N_OCTAVES << _BITS) + 2
_N_COARSE = (_N_FINE >> _COARSER) + 1
_CPU = torch.device("cpu")

MapsOf: TypeAlias = Callable[[Sequence[int]], Tensor]
"""Called with numbers of images, some at a time; gives the scores of their pixels, row by row, one image after the
other: (n_pixels,) float32 on the device of comparison; NaN, where a map has no value, counts as lowest of all."""


class Maps(NamedTuple):
    """One detector's scores of all pixels, with the lowest and highest of them; scores beyond are clipped."""

    of: MapsOf
    low: float
    high: float


class PixelMetrics(NamedTuple):
    """Pixel AUROC and AUPRO, each None where the masks hold one class only."""

    auroc: float | None
    aupro: float | None


class PixelDraws(NamedTuple):
    """(n_draws,) float64 of each metric, one per bootstrap draw."""

    auroc: np.ndarray
    aupro: np.ndarray


class Comparison(NamedTuple):
    """The metrics of one detector over all images, and on bootstrap draws of them where there are any."""

    metrics: PixelMetrics
    draws: PixelDraws | None


def pixel_metrics(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], max_fpr: float = MAX_FPR) -> PixelMetrics:
    """Pixel AUROC and AUPRO over all images at once.

    AUPRO is the area under the mean share of each defect region above the threshold, against the false-positive rate
    of pixels, up to `max_fpr` and divided by it. Regions are connected over edges and corners; each counts the
    same, however small.

    Args:
        maps: For each image (h, w) scores of its pixels; NaN, where a map has no value, counts as lowest of all.
        masks: For each image (h, w) bool, True where defect; all False for a good image.
        max_fpr: In (0, 1].
    Raises:
        ValueError: if maps and masks differ in number or shape.
    """
    if [np.shape(one) for one in maps] != [np.shape(mask) for mask in masks]:
        raise ValueError("maps and masks differ in number or shape")
    truth = PixelTruth([DefectMask.of(mask) for mask in masks])
    distinct = np.unique(np.concatenate([np.zeros(0), *(np.ravel(one)[~np.isnan(np.ravel(one))] for one in maps)]))

    def ranks(some: Sequence[int]) -> Tensor:
        scores = np.concatenate([np.ravel(maps[i]) for i in some])
        return torch.from_numpy(np.where(np.isnan(scores), np.nan, np.searchsorted(distinct, scores)))

    return truth.compare([Maps(ranks, 0.0, max(0.0, len(distinct) - 1.0))], max_fpr)[0].metrics


def pixel_auroc(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> float | None:
    """Area under the ROC curve over all pixels of all images; see `pixel_metrics`."""
    return pixel_metrics(maps, masks).auroc


def aupro(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], max_fpr: float = MAX_FPR) -> float | None:
    """Area under the per-region overlap, in [0, 1]; see `pixel_metrics`."""
    return pixel_metrics(maps, masks, max_fpr).aupro


class PixelTruth:
    """The masks of a set of images, with which the maps of any number of detectors are compared; see `pixel_metrics`.

    Each map is asked for once and let go: its pixels are counted in bins of their scores, so that memory does not
    depend on the number of images.

    Args:
        masks: One per image.
        times: (n_draws, n_images) whole numbers, how often each bootstrap draw takes each image; None draws
            nothing. A draw takes at least one image with defects.
        device: Where pixels are counted.
        pixels_at_once: How many pixels of maps are held together, at least those of one image.
    """

    def __init__(
        self,
        masks: Sequence[DefectMask],
        times: np.ndarray | Tensor | None = None,
        device: torch.device = _CPU,
        pixels_at_once: int = 2**21,
    ) -> None:
        self._masks, self._device = masks, device
        self._times = None if times is None else torch.as_tensor(times).to(device)
        self._groups = _grouped([mask.n_pixels for mask in masks], pixels_at_once)
        n_defect = sum(mask.n_defect for mask in masks)
        self._has_both = 0 < n_defect < sum(mask.n_pixels for mask in masks)

    def compare(self, several: Sequence[Maps], max_fpr: float = MAX_FPR) -> list[Comparison]:
        """The metrics of each of several detectors, group of images by group.

        Args:
            several: Their maps. Up to 40 MB of counts are held for each.
            max_fpr: In (0, 1].
        """
        if not 0 < max_fpr <= 1:
            raise ValueError(f"max_fpr is {max_fpr}, not in (0, 1]")
        if not self._has_both:
            return [Comparison(PixelMetrics(None, None), None) for _ in several]
        n_draws = None if self._times is None else len(self._times)
        totals = [_Totals(maps, n_draws, self._device) for maps in several]
        for images in self._groups:
            group = self._group(images)
            for total in totals:
                total.add(group)
        return [total.comparison(max_fpr) for total in totals]

    def _group(self, images: list[int]) -> "_Group":
        masks = [self._masks[image] for image in images]
        sizes = np.array([mask.n_pixels for mask in masks])
        # Pixels and regions are numbered through all images of the group.
        before = np.stack([_before(sizes), 0 * sizes, _before(np.array([mask.n_regions for mask in masks]))])
        runs = np.concatenate([mask.runs for mask in masks], axis=1)
        runs = runs + before.repeat([mask.runs.shape[1] for mask in masks], axis=1)
        first, length, region = torch.from_numpy(runs).to(self._device)
        # Run after run, the defect pixels are as many as there are before them from where their run begins.
        n_defect = int(runs[1].sum())
        at_run = torch.arange(runs.shape[1], device=self._device).repeat_interleave(length, output_size=n_defect)
        defect_at = torch.arange(n_defect, device=self._device) + (first - length.cumsum(0) + length)[at_run]
        of_defect = region[at_run]
        weights = (_REGION / torch.bincount(of_defect).double()).round()
        numbers = torch.arange(len(masks), dtype=torch.int32, device=self._device)
        with_defect = np.flatnonzero([mask.n_regions for mask in masks])
        times = None
        if self._times is not None:
            # The first row is no draw: it takes each image once.
            drawn = self._times[:, images[0] : images[-1] + 1].double()
            times = torch.cat([drawn.new_ones(1, len(images)), drawn])
        return _Group(
            images,
            numbers.repeat_interleave(torch.from_numpy(sizes).to(self._device), output_size=int(sizes.sum())),
            defect_at,
            weights[of_defect].long(),
            torch.from_numpy(with_defect).to(self._device),
            times,
        )


class _Group(NamedTuple):
    """The truth of some images, their pixels one image after the other, on the device of comparison.

    Attributes:
        images: Their numbers.
        image_of: (n_pixels,) int32, which of them each pixel belongs to.
        defect_at: (n_defect,) int64, which pixels are defect.
        weight: (n_defect,) int64, of each of these; all pixels of a region weigh _REGION together.
        with_defect: int64, which of the images have defects.
        times: (1 + n_draws, n_images) float64, how often each draw takes each image, after a row of ones; None
            where there are no draws.
    """

    images: list[int]
    image_of: Tensor
    defect_at: Tensor
    weight: Tensor
    with_defect: Tensor
    times: Tensor | None

    def counted(self, bins: Tensor, n_bins: int) -> Tensor:
        """(3, n_bins) int64: good pixels, defect pixels and weights of these in each bin; bins (n_pixels,) int32."""
        defect, one = bins[self.defect_at], self.weight.new_ones(())
        counts = self.weight.new_zeros(3, n_bins)
        counts[1].index_add_(0, defect, one.expand(len(defect)))
        counts[0].index_add_(0, bins, one.expand(len(bins)))
        counts[0] -= counts[1]
        counts[2].index_add_(0, defect, self.weight)
        return counts


class _Totals:
    """Counts of the pixels of one detector: over all images in fine bins, over those of each draw in coarse ones."""

    def __init__(self, maps: Maps, n_draws: int | None, device: torch.device) -> None:
        self._maps = maps
        self._fine = torch.zeros(3, _N_FINE, dtype=torch.int64, device=device)
        self._coarse = None
        if n_draws is not None:
            self._coarse = torch.zeros(3, 1 + n_draws, _N_COARSE, dtype=torch.float64, device=device)

    def add(self, group: _Group) -> None:
        """Counts the pixels of some images."""
        scores = self._maps.of(group.images)
        if scores.shape != group.image_of.shape:
            raise ValueError(f"{len(scores)} pixels of maps, {len(group.image_of)} of masks: their shapes differ")
        bins = _bins(scores, self._maps.low, self._maps.high)
        self._fine += group.counted(bins, _N_FINE)
        if self._coarse is None or group.times is None:
            return
        n = len(group.images)
        of_image = group.counted(group.image_of * _N_COARSE + (bins >> _COARSER), n * _N_COARSE)
        own = of_image.view(3, n, _N_COARSE).double()
        self._coarse[0].addmm_(group.times, own[0])
        for row in (1, 2):
            self._coarse[row].addmm_(group.times[:, group.with_defect], own[row, group.with_defect])

    def comparison(self, max_fpr: float) -> Comparison:
        """The metrics of all pixels counted."""
        area, overlap = (float(value) for value in _areas(self._fine.double(), max_fpr))
        metrics = PixelMetrics(area, overlap)
        if self._coarse is None:
            return Comparison(metrics, None)
        # The coarse bins give how far a draw's metrics are from those over all images.
        areas, overlaps = (one.cpu().numpy() for one in _areas(self._coarse, max_fpr))
        draws = areas[1:] + (area - areas[0]), overlaps[1:] + (overlap - overlaps[0])
        return Comparison(metrics, PixelDraws(*(np.clip(one, 0, 1) for one in draws)))


def _bins(scores: Tensor, low: float, high: float) -> Tensor:
    """Bins in [0, _N_FINE) of scores between their lowest and highest, as many int32; 0 for NaN.

    Each bin is as wide as a fixed share of its distance from the lowest score, as floating numbers are.
    """
    share = (scores.to(torch.float32) - low) / (high - low if high > low else 1.0)
    held = share.clamp(2.0**-_N_OCTAVES, 1.0)
    return ((held.view(torch.int32) >> (23 - _BITS)) - _FIRST).masked_fill_(share.isnan(), 0)


def _before(sizes: np.ndarray) -> np.ndarray:
    """For each of several sizes the sum of those before it."""
    return np.asarray(sizes.cumsum() - sizes)


def _grouped(sizes: Sequence[int], at_once: int) -> list[list[int]]:
    """Successive numbers from 0 on in groups whose sizes together are at most `at_once`, at least one each."""
    groups: list[list[int]] = []
    together = 0
    for number, size in enumerate(sizes):
        together += size
        if not groups or together > at_once:
            groups.append([])
            together = size
        groups[-1].append(number)
    return groups


def _areas(counts: Tensor, max_fpr: float) -> tuple[Tensor, Tensor]:
    """Pixel AUROC and AUPRO, (...), of counts (3, ..., n_bins) float64 by ascending score."""
    good, defect, weight = counts
    n_good = good.sum(-1, keepdim=True).clamp(min=1)
    above, equal = 1 - good.cumsum(-1) / n_good, good / n_good
    area = (defect * (1 - above - equal / 2)).sum(-1) / defect.sum(-1)
    overlap = (weight * _right_of(above, equal, max_fpr)).sum(-1) / (weight.sum(-1) * max_fpr)
    return area, overlap


def _right_of(above: Tensor, equal: Tensor, limit: float) -> Tensor:
    """Area up to `limit` below lines that are 0 up to `above`, rise to 1 over a length `equal`, and stay there."""
    room = (limit - above).clamp(min=0)
    within = torch.minimum(room, equal)
    slope = (within**2 / (2 * equal)).where(equal > 0, 0)
    return slope + (room - equal).clamp(min=0)
