"""What the metrics say of the runs of one category, over all its test pictures and on bootstrap draws of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid, Placement
from lake_core.detector.batch import Seat
from lake_core.evaluation.maps import MapFile
from lake_core.evaluation.protocol import METRICS, Method
from lake_core.evaluation.test_scores import Heard
from lake_core.metrics.bootstrap import Resampling, times_drawn
from lake_core.metrics.image_metrics import auroc, average_precision, f1_max
from lake_core.metrics.pixel_metrics import Comparison, Maps, PixelTruth
from lake_core.visualization.interpolation import interpolated

_PIXELS_AT_ONCE = {"cpu": 2**21, "cuda": 2**24}
_DETECTORS_AT_ONCE = {"cpu": 1, "cuda": 16}
"""How much is held while maps are compared with masks: 40 bytes a pixel, 40 MB a detector."""


@dataclass(frozen=True)
class Run:
    """One method (one draw of it) with one choice of normal pictures; `seconds` is what learning took."""

    shots: int
    seed: int
    method: Method
    draw: int
    seat: Seat
    seconds: float

    @property
    def says_nothing(self) -> bool:
        """Whether the method needs a text part that the backbone does not have."""
        return self.method == "text" and not self.seat.has_text


@dataclass(frozen=True)
class Judgement:
    """What the metrics say of one run.

    Attributes:
        row: Plain values: shots, seed, method, draw, the METRICS, seconds, scores.
        draws: For each metric that could be had (n_draws,) float64, on the same bootstrap draws for all runs.
    """

    row: dict[str, Any]
    draws: Mapping[str, np.ndarray]


def judge(runs: Sequence[Run], heard: Heard, maps: MapFile | None, device: torch.device) -> Iterator[Judgement]:
    """The metrics and scores of each run.

    Args:
        runs: In the order of the seats that were asked.
        heard: What they said.
        maps: The maps of all pictures that were heard, or None without pixel metrics.
        device: Where maps are compared with masks, and draws with labels.
    """
    labels = [picture.entry.label == "defective" for picture in heard.pictures]
    resampling = Resampling.of(labels, device=device)
    pixels = None if maps is None else _Pixels(heard, maps, resampling, device)
    at_once = _DETECTORS_AT_ONCE[device.type]
    for start in range(0, len(runs), at_once):
        some = range(start, min(start + at_once, len(runs)))
        compared = pixels.compare({i: runs[i].seat.grid for i in some if not runs[i].says_nothing}) if pixels else {}
        for i in some:
            yield _judgement(runs[i], heard, labels, heard.scores[i], resampling, compared.get(i))


def _judgement(
    run: Run,
    heard: Heard,
    labels: Sequence[bool],
    scores: np.ndarray,
    resampling: Resampling | None,
    compared: Comparison | None,
) -> Judgement:
    row: dict[str, Any] = {"shots": run.shots, "seed": run.seed, "method": run.method, "draw": run.draw}
    row |= dict.fromkeys(METRICS)
    row |= {"seconds": round(run.seconds + heard.seconds / heard.n_detectors, 3), "scores": []}
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
    return Judgement(row, draws)


def mean_draws(judgements: Iterable[Judgement]) -> list[dict[str, Any]]:
    """For each number of shots and each method the draws of its runs, averaged within each draw.

    Returns:
        Rows of plain values: shots, method, and for each metric that all of its runs have the figure on each draw.
    """
    together: dict[tuple[int, Method], list[Judgement]] = {}
    for judgement in judgements:
        together.setdefault((judgement.row["shots"], judgement.row["method"]), []).append(judgement)
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
    """The pictures with a usable mask, and the maps of all detectors over them."""

    def __init__(self, heard: Heard, maps: MapFile, resampling: Resampling | None, device: torch.device) -> None:
        self._maps, self._device = maps, device
        self._rows = [i for i, picture in enumerate(heard.pictures) if picture.mask is not None]
        self._masks = [picture.mask for picture in heard.pictures if picture.mask is not None]
        defects = [mask.defects for mask in self._masks]
        has_defect = np.array([mask.n_regions > 0 for mask in defects], dtype=bool)
        times: np.ndarray | Tensor | None = None
        if resampling is not None and np.array_equal(resampling.labels, has_defect):
            times = resampling.times
        elif has_defect.any():
            times = times_drawn(has_defect)
        self._truth = PixelTruth(defects, times, device, _PIXELS_AT_ONCE[device.type])

    def compare(self, grids: Mapping[int, PatchGrid]) -> dict[int, Comparison]:
        """For the numbers of some seats, with the grids of their maps, the figures with their draws."""
        if not grids:
            return {}
        seats = range(min(grids), max(grids) + 1)

        @lru_cache(maxsize=1)  # all seats are asked about some pictures, before the next pictures come
        def rows_of(pictures: tuple[int, ...]) -> Tensor:
            return torch.from_numpy(self._maps.maps(seats, [self._rows[i] for i in pictures])).to(self._device)

        def pixels_of(seat: int, pictures: Sequence[int]) -> Tensor:
            first, own = self._maps.columns(seats).start, self._maps.columns(range(seat, seat + 1))
            values = rows_of(tuple(pictures))[:, own.start - first : own.stop - first]
            return self._spread(values, grids[seat], pictures)

        # Between patches maps are interpolated, so that no pixel lies beyond the range of the patches.
        several = [Maps(partial(pixels_of, seat), *self._maps.bounds(seat)) for seat in grids]
        return dict(zip(grids, self._truth.compare(several), strict=True))

    def _spread(self, values: Tensor, grid: PatchGrid, pictures: Sequence[int]) -> Tensor:
        """Maps (n_pictures, n_patches) over the pixels of their masks, those of one size together: (n_pixels,)."""
        alike: dict[tuple[tuple[int, int], Placement], list[int]] = {}
        for row, picture in enumerate(pictures):
            alike.setdefault((self._masks[picture].defects.shape, self._masks[picture].placement), []).append(row)
        spread: dict[int, Tensor] = {}
        for ((height, width), placement), rows in alike.items():
            some = values if len(alike) == 1 else values[rows]
            together = interpolated(some, grid, placement, (width, height)).flatten(1)
            if len(alike) == 1:
                return together.view(-1)
            spread |= dict(zip(rows, together, strict=True))
        return torch.cat([spread[row] for row in range(len(pictures))])
