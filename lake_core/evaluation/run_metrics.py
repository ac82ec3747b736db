"""What the metrics say of the runs of one category, over all its test images and on bootstrap draws of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid, Placement
from lake_core.detector.batch import Variant
from lake_core.evaluation.maps import MapFile
from lake_core.evaluation.protocol import METRICS, Method
from lake_core.evaluation.test_scores import TestScores
from lake_core.metrics.bootstrap import Resampling, times_drawn
from lake_core.metrics.image_metrics import auroc, average_precision, f1_max
from lake_core.metrics.pixel_metrics import Comparison, Maps, PixelTruth
from lake_core.visualization.interpolation import interpolated

_PIXELS_AT_ONCE = {"cpu": 2**21, "cuda": 2**24}
_DETECTORS_AT_ONCE = {"cpu": 1, "cuda": 16}
"""How much is held while maps are compared with masks: 40 bytes a pixel, 40 MB a detector."""


@dataclass(frozen=True)
class Run:
    """One method (one draw of it) with one choice of normal images; `seconds` is what learning took."""

    shots: int
    seed: int
    method: Method
    draw: int
    variant: Variant
    seconds: float

    @property
    def says_nothing(self) -> bool:
        """Whether the method needs a text part that the backbone does not have."""
        return self.method == "text" and not self.variant.has_text


@dataclass(frozen=True)
class RunMetrics:
    """What the metrics say of one run.

    Attributes:
        row: Plain values: shots, seed, method, draw, the METRICS, seconds, scores.
        draws: For each metric that could be had (n_draws,) float64, on the same bootstrap draws for all runs.
    """

    row: dict[str, Any]
    draws: Mapping[str, np.ndarray]


def measure_runs(
    runs: Sequence[Run], test_scores: TestScores, maps: MapFile | None, device: torch.device
) -> Iterator[RunMetrics]:
    """The metrics and scores of each run.

    Args:
        runs: In the order of the variants that were asked.
        heard: What they said.
        maps: The maps of all images that were heard, or None without pixel metrics.
        device: Where maps are compared with masks, and draws with labels.
    """
    labels = [image.entry.label == "defective" for image in test_scores.images]
    resampling = Resampling.of(labels, device=device)
    pixels = None if maps is None else _Pixels(test_scores, maps, resampling, device)
    at_once = _DETECTORS_AT_ONCE[device.type]
    for start in range(0, len(runs), at_once):
        some = range(start, min(start + at_once, len(runs)))
        compared = pixels.compare({i: runs[i].variant.grid for i in some if not runs[i].says_nothing}) if pixels else {}
        for i in some:
            yield _metrics_of_run(runs[i], test_scores, labels, test_scores.scores[i], resampling, compared.get(i))


def _metrics_of_run(
    run: Run,
    test_scores: TestScores,
    labels: Sequence[bool],
    scores: np.ndarray,
    resampling: Resampling | None,
    compared: Comparison | None,
) -> RunMetrics:
    row: dict[str, Any] = {"shots": run.shots, "seed": run.seed, "method": run.method, "draw": run.draw}
    row |= dict.fromkeys(METRICS)
    row |= {"seconds": round(run.seconds + test_scores.seconds / test_scores.n_detectors, 3), "scores": []}
    draws: dict[str, np.ndarray] = {}
    if not run.says_nothing:
        row["image_auroc"] = auroc(labels, scores)
        row["image_ap"] = average_precision(labels, scores)
        row["image_f1_max"] = f1_max(labels, scores)
        row["scores"] = scores.tolist()
        if resampling is not None:
            draws["image_auroc"], draws["image_ap"], draws["image_f1_max"] = resampling.figures(scores)
    if compared is not None:
        row["pixel_auroc"], row["pixel_aupro"] = compared.figures
        if compared.draws is not None:
            draws["pixel_auroc"], draws["pixel_aupro"] = compared.draws
    return RunMetrics(row, draws)


def mean_draws(metrics: Iterable[RunMetrics]) -> list[dict[str, Any]]:
    """For each number of shots and each method the draws of its runs, averaged within each draw.

    Returns:
        Rows of plain values: shots, method, and for each metric that all of its runs have the figure on each draw.
    """
    together: dict[tuple[int, Method], list[RunMetrics]] = {}
    for run_metrics in metrics:
        together.setdefault((run_metrics.row["shots"], run_metrics.row["method"]), []).append(run_metrics)
    return [
        {"shots": shots, "method": method}
        | {
            metric: np.mean([one.draws[metric] for one in of_method], axis=0).round(6).tolist()
            for metric in METRICS
            if all(metric in one.draws for one in of_method)
        }
        for (shots, method), of_method in together.items()
    ]


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
        """For the numbers of some variants, with the grids of their maps, the figures with their draws."""
        if not grids:
            return {}
        variants = range(min(grids), max(grids) + 1)

        @lru_cache(maxsize=1)  # all variants are asked about some images, before the next images come
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
        alike: dict[tuple[tuple[int, int], Placement], list[int]] = {}
        for row, image in enumerate(images):
            alike.setdefault((self._masks[image].defects.shape, self._masks[image].placement), []).append(row)
        spread: dict[int, Tensor] = {}
        for ((height, width), placement), rows in alike.items():
            some = values if len(alike) == 1 else values[rows]
            together = interpolated(some, grid, placement, (width, height)).flatten(1)
            if len(alike) == 1:
                return together.view(-1)
            spread |= dict(zip(rows, together, strict=True))
        return torch.cat([spread[row] for row in range(len(images))])
