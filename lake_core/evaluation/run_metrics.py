"""The metrics of the runs of one category, over all its test images and on bootstrap draws of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid, Placement
from lake_core.detector.batch import Variant
from lake_core.evaluation.maps import MapFile
from lake_core.evaluation.outcome import MethodDraws, MetricValues, RunOutcome, RunResult
from lake_core.evaluation.pointing import Pointing, PointingGame
from lake_core.evaluation.protocol import METRICS, FewShotProtocol, Metric, RunKey
from lake_core.evaluation.report import mean_or_none
from lake_core.evaluation.scorers import Scored
from lake_core.evaluation.scoring_pass import TestScores
from lake_core.metrics.bootstrap import Resampling, times_drawn
from lake_core.metrics.image_metrics import auroc, average_precision, f1_max
from lake_core.metrics.pixel_metrics import Comparison, Maps, PixelTruth
from lake_core.visualization.interpolation import interpolated

_PIXELS_AT_ONCE = {"cpu": 2**21, "cuda": 2**24}
_DETECTORS_AT_ONCE = {"cpu": 1, "cuda": 16}
"""How much is held while maps are compared with masks: 40 bytes a pixel, 40 MB a detector."""


@dataclass(frozen=True)
class Run:
    """One method with one choice of normal images, and of random neurons one draw.

    Attributes:
        key: Number of normal images, seed and method.
        scored: What gives the scores, fitted.
        seconds: What fitting took.
    """

    key: RunKey
    scored: Scored
    seconds: float

    @property
    def has_scores(self) -> bool:
        """False if the method needs a text part that the backbone does not have."""
        return not isinstance(self.scored, Variant) or self.scored.has_scores


@dataclass(frozen=True, eq=False)
class RunMetrics:
    """The metrics of one run.

    Attributes:
        key: Number of normal images, seed and method.
        values: Each metric in [0, 1], None where it cannot be computed.
        draws: For each metric that can be computed (n_draws,) float64, on the same bootstrap draws for all runs.
        scores: (n_images,) float64; None where the method gives none.
        seconds: Fitting, and this run's search.
    """

    key: RunKey
    values: MetricValues
    draws: Mapping[Metric, np.ndarray]
    scores: np.ndarray | None
    seconds: float


def measure_runs(
    runs: Sequence[Run],
    test_scores: TestScores,
    maps: MapFile | None,
    device: torch.device,
    covered: TestScores | None = None,
) -> Iterator[RunMetrics]:
    """The metrics and scores of each run.

    Args:
        runs: All that scored.
        test_scores: Of these, in their order.
        maps: The maps of all test images; None leaves the pixel metrics and the pointing game out.
        device: Where maps are compared with masks, and draws with labels.
        covered: The scores with the defects covered; None without the leakage check.
    """
    labels = test_scores.is_defective
    resampling = Resampling.of(labels, device=device)
    pixels = None if maps is None else _Pixels(test_scores, maps, resampling, device)
    game = PointingGame(test_scores.images)
    at_once = _DETECTORS_AT_ONCE[device.type]
    for start in range(0, len(runs), at_once):
        some = range(start, min(start + at_once, len(runs)))
        grids = {i: runs[i].scored.grid for i in some if runs[i].has_scores}
        compared = pixels.compare(grids) if pixels else {}
        pointed = game.played(maps, grids) if maps is not None else {}
        for i in some:
            seconds = runs[i].seconds + float(test_scores.seconds[i])
            scores = test_scores.scores[i] if runs[i].has_scores else None
            values, draws = _metrics(labels, scores, resampling, compared.get(i))
            _add_pointing(values, draws, pointed.get(i))
            if covered is not None and scores is not None:
                values["covered_auroc"] = auroc(covered.is_defective, covered.scores[i])
            yield RunMetrics(runs[i].key, values, draws, scores=scores, seconds=seconds)


def _add_pointing(
    values: dict[Metric, float | None], draws: dict[Metric, np.ndarray], pointing: Pointing | None
) -> None:
    """The share of hits with its bootstrap draws over the images, and chance."""
    if pointing is not None:
        values["pointing_game"], values["pointing_chance"] = pointing.share, pointing.chance
        draws["pointing_game"] = pointing.draws


def _metrics(
    labels: Sequence[bool], scores: np.ndarray | None, resampling: Resampling | None, compared: Comparison | None
) -> tuple[dict[Metric, float | None], dict[Metric, np.ndarray]]:
    """Each metric, and those that can be computed on bootstrap draws."""
    values: dict[Metric, float | None] = dict.fromkeys(METRICS)
    draws: dict[Metric, np.ndarray] = {}
    if scores is not None:
        values["image_auroc"] = auroc(labels, scores)
        values["image_ap"] = average_precision(labels, scores)
        values["image_f1_max"] = f1_max(labels, scores)
        if resampling is not None:
            draws["image_auroc"], draws["image_ap"], draws["image_f1_max"] = resampling.draws(scores)
    if compared is not None:
        values["pixel_auroc"], values["pixel_aupro"] = compared.metrics
        if compared.draws is not None:
            draws["pixel_auroc"], draws["pixel_aupro"] = compared.draws
    return values, draws


def run_outcomes(
    category: str, metrics: Sequence[RunMetrics], labels: Sequence[bool], protocol: FewShotProtocol
) -> Iterator[RunOutcome]:
    """One outcome for each number of normal images, seed and method; random draws are averaged.

    Args:
        category: Whose runs they are.
        metrics: Of all runs of the protocol.
        labels: (n_images,), True where defective.
        protocol: Gives the order.
    """
    by_key: dict[RunKey, list[RunMetrics]] = {}
    for one in metrics:
        by_key.setdefault(one.key, []).append(one)
    for key in protocol.runs():
        draws = by_key.get(key, [])  # none where the method cannot be fitted
        scores = [one.scores for one in draws if one.scores is not None]
        result = RunResult(
            shots=key.shots,
            seed=key.seed,
            method=key.method,
            **{metric: mean_or_none([one.values[metric] for one in draws], 6) for metric in METRICS},
            category=category,
            n_normal=key.shots,
            n_test=len(labels),
            n_defective=sum(labels),
            seconds=mean_or_none([one.seconds for one in draws], 3) or 0.0,
        )
        yield RunOutcome(result=result, scores=tuple(np.mean(scores, axis=0).tolist()) if scores else ())


def mean_draws(category: str, metrics: Sequence[RunMetrics], protocol: FewShotProtocol) -> Iterator[MethodDraws]:
    """For each number of normal images and method, its metrics on bootstrap draws of test images and of seeds.

    A draw takes as many seeds as there are, with replacement, each with its own choice of normal images, and averages
    over them: so their spread is in it, as far as so few seeds show it. In each category seeds are drawn anew, since
    the normal images of one category say nothing of those of another.
    """
    seeds = list(protocol.seeds)
    for shots, method in protocol.method_keys():
        own = [one for one in metrics if (one.key.shots, one.key.method) == (shots, method)]
        values = {
            metric: averaged_over_seeds(
                np.stack([np.mean([o.draws[metric] for o in own if o.key.seed == seed], axis=0) for seed in seeds]),
                crc32(category.encode()),
            )
            for metric in METRICS
            if own and all(metric in one.draws for one in own)
        }
        yield MethodDraws(
            shots=shots, method=method, values={metric: found.round(6).tolist() for metric, found in values.items()}
        )


def averaged_over_seeds(draws: np.ndarray, seed: int) -> np.ndarray:
    """(n_draws,) float64: the mean over as many seeds as there are, drawn with replacement for each draw.

    Args:
        draws: (n_seeds, n_draws) of one metric.
        seed: Of the random draws.
    """
    n_seeds, n_draws = draws.shape
    taken = np.random.default_rng(seed).integers(n_seeds, size=(n_seeds, n_draws))
    mean: np.ndarray = np.take_along_axis(draws, taken, axis=0).mean(0)
    return mean


class _Pixels:
    """The images with a usable mask, and the maps of all detectors over them."""

    def __init__(
        self, test_scores: TestScores, maps: MapFile, resampling: Resampling | None, device: torch.device
    ) -> None:
        self._maps, self._device = maps, device
        self._rows = [i for i, image in enumerate(test_scores.images) if image.mask is not None]
        self._masks = [image.mask for image in test_scores.images if image.mask is not None]
        defects = [mask.defects for mask in self._masks]
        has_defect = np.array([mask.n_regions > 0 for mask in defects], dtype=bool)
        times: np.ndarray | Tensor | None = None
        if resampling is not None and np.array_equal(resampling.labels, has_defect):
            times = resampling.times
        elif has_defect.any():
            times = times_drawn(has_defect)
        self._truth = PixelTruth(defects, times, device, _PIXELS_AT_ONCE[device.type])

    def compare(self, grids: Mapping[int, PatchGrid]) -> dict[int, Comparison]:
        """The pixel metrics, with their draws, of some variants: their numbers, with the grids of their maps."""
        if not grids:
            return {}
        variants = range(min(grids), max(grids) + 1)

        @lru_cache(maxsize=1)  # all variants are compared on some images before the next images come
        def rows_of(images: tuple[int, ...]) -> Tensor:
            return torch.from_numpy(self._maps.maps(variants, [self._rows[i] for i in images])).to(self._device)

        def pixels_of(variant: int, images: Sequence[int]) -> Tensor:
            first, own = self._maps.columns(variants).start, self._maps.columns(range(variant, variant + 1))
            values = rows_of(tuple(images))[:, own.start - first : own.stop - first]
            return self._spread(values, grids[variant], images)

        # Between patches maps are interpolated, so that no pixel lies beyond the range of the patches.
        several = [Maps(partial(pixels_of, variant), *self._maps.bounds(variant)) for variant in grids]
        return dict(zip(grids, self._truth.compare(several), strict=True))

    def _spread(self, values: Tensor, grid: PatchGrid, images: Sequence[int]) -> Tensor:
        """Maps (n_images, n_patches) over the pixels of their masks, those of one size together: (n_pixels,)."""
        of_shape: dict[tuple[tuple[int, int], Placement], list[int]] = {}
        for row, image in enumerate(images):
            of_shape.setdefault((self._masks[image].defects.shape, self._masks[image].placement), []).append(row)
        spread: dict[int, Tensor] = {}
        for ((height, width), placement), rows in of_shape.items():
            some = values if len(of_shape) == 1 else values[rows]
            together = interpolated(some, grid, placement, (width, height)).flatten(1)
            if len(of_shape) == 1:
                return together.view(-1)
            spread |= dict(zip(rows, together, strict=True))
        return torch.cat([spread[row] for row in range(len(images))])
