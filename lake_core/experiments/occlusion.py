"""An independent check of a map: regions of an image are covered one by one with Captum's FeatureAblation.

It uses nothing of the contributions, only the score itself: the importance of a region is what the score loses when the
region shows the replacement (see `lake_core.experiments.deletion`), and its ranks are compared with the map's.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid
from lake_core.config import require_one_of, require_whole
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from lake_core.experiments.deletion import patch_of_pixels, replacement_of, scored
from lake_core.findings.images import OcclusionFinding, Replacement
from lake_core.types import Progress
from lake_core.visualization.notebook import as_sentence

Target = Literal["score", "map"]
N_REGIONS = 64
FEWEST_RANKED = 3
"""Regions that must differ from the commonest value before ranks mean anything."""
_BATCH = 2
_TIE = 1e-5
"""In units of the score, of which 1 is the calibration quantile: what is nearer is equal but for rounding."""


@dataclass(frozen=True, eq=False)
class Occlusion:
    """What covering regions does, and the map's values in them.

    Attributes:
        target: What was watched: the image "score", or the mean of the fused "map".
        replacement: What covered regions showed.
        grid: The fused grid.
        region: (n_patches,) int64, region of each patch, from 0; -1 off the image. Regions are squares of patches.
        importance: (n_regions,) float64, the target for the image less the target with the region covered.
        by_map: (n_regions,) float64, the fused map's greatest value in the region for "score", its mean for "map".
        correlation: Spearman's rank correlation of the two, -1 to 1; None where fewer than three regions differ from
            the others (see `rank_correlation`).
        max_scoring_region: Region of the max-scoring patch.
    """

    image: InputImage
    target: Target
    replacement: Replacement
    grid: PatchGrid
    region: np.ndarray = field(repr=False)
    importance: np.ndarray = field(repr=False)
    by_map: np.ndarray = field(repr=False)
    correlation: float | None
    max_scoring_region: int

    @property
    def importance_map(self) -> np.ndarray:
        """(rows, cols) float32, each patch with the importance of its region; NaN off the image."""
        values = np.where(self.region < 0, np.nan, self.importance[self.region])
        return values.astype(np.float32).reshape(self.grid.rows, self.grid.cols)

    @property
    def rank_of_max_scoring_region(self) -> int:
        """Number of regions at least as important as that of the max-scoring patch, itself included.

        1 says that covering the region of the max-scoring patch lowers the target most.
        """
        return int((self.importance >= self.importance[self.max_scoring_region]).sum())

    _repr_html_ = as_sentence

    @property
    def finding(self) -> OcclusionFinding:
        return OcclusionFinding(
            self.target,
            len(self.importance),
            self.rank_of_max_scoring_region,
            float(self.importance[self.max_scoring_region]),
            self.correlation,
        )


def occlusion(
    lake: Lake,
    image: InputImage,
    target: Target = "score",
    replacement: Replacement = "normal",
    *,
    n_regions: int = N_REGIONS,
    on_progress: Progress | None = None,
) -> Occlusion:
    """Covers an image region by region.

    The image score is a maximum: as long as the max-scoring patch stays, covering a region changes it only where the
    seam is more unusual than that patch. So many importances are 0 or a little below, and a low correlation for "score"
    is no surprise; there the rank of the max-scoring patch's region tells more. The max-scoring patch lies in the
    middle of its region: a border through a defect would leave half of it beside a seam.

    Args:
        lake: Fitted.
        target: What to watch, "score" or "map".
        replacement: What covered regions show, as in `CurveConfig`.
        n_regions: Regions at most, at least 1; each costs one image through the network.
        on_progress: Called after each few images with images done and in all; may raise to cancel.
    Raises:
        ConfigError: if an argument is not allowed.
    """
    require_one_of("target", target, get_args(Target))
    require_whole("n_regions", n_regions)
    result = lake.explain(image)
    grid = result.patch_scores.grid
    region = regions(grid, result.patch_scores.inside, n_regions, result.patch)
    importance = _importance(lake, result, region, target, replacement, on_progress)
    fused = result.map.reshape(-1).astype(np.float64)
    pool = np.max if target == "score" else np.mean
    by_map = np.array([pool(fused[region == number]) for number in range(len(importance))])
    correlation = rank_correlation(importance, by_map)
    return Occlusion(
        image, target, replacement, grid, region, importance, by_map, correlation, int(region[result.patch])
    )


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Spearman's rank correlation, -1 to 1, or None where there is too little to rank.

    Values that differ by rounding are tied. In each of the two, at least three values must differ from the commonest
    one: covering most regions may leave a score as it is, and one or two that change it have no order to speak of.

    Args:
        first, second: (n,) float64, n >= 1, in units of the score.
    """
    from scipy.stats import spearmanr  # takes long to import

    ours, theirs = np.round(first / _TIE), np.round(second / _TIE)
    if any(len(own) - np.unique(own, return_counts=True)[1].max() < FEWEST_RANKED for own in (ours, theirs)):
        return None
    return float(spearmanr(ours, theirs).statistic)


def _importance(
    lake: Lake,
    result: ImageResult,
    region: np.ndarray,
    target: Target,
    replacement: Replacement,
    on_progress: Progress | None,
) -> np.ndarray:
    """(n_regions,) float64: what the target loses with each region covered."""
    from captum.attr import FeatureAblation

    image, n_found, n_done = result.image, int(region.max()) + 1, 0
    mask = torch.from_numpy(region[patch_of_pixels(result.patch_scores.grid, result.patch_scores.placement)])

    def watched(pixels: Tensor) -> Tensor:
        nonlocal n_done
        found = list(scored(lake, image, iter(pixels), len(pixels)))
        n_done += len(found)
        if on_progress is not None:
            on_progress(n_done, n_found + 1)
        return torch.tensor([_watched(one, target) for one in found], dtype=torch.float64)

    with torch.no_grad():
        importance_hw = FeatureAblation(watched).attribute(
            lake.backbone.prepare(image)[None],
            baselines=replacement_of(lake, image, replacement)[None],
            feature_mask=mask[None, None].expand(1, 3, -1, -1),
            perturbations_per_eval=_BATCH,
        )[0, 0]
    importance = np.zeros(n_found)
    importance[mask.numpy().reshape(-1)] = importance_hw.double().numpy().reshape(-1)
    return importance


def regions(grid: PatchGrid, inside: np.ndarray, n_regions: int, centre: int) -> np.ndarray:
    """(n_patches,) int64: squares of patches, numbered from 0 in reading order, at most n_regions; -1 off the image.

    Args:
        grid: Of the patches.
        inside: (n_patches,) bool.
        n_regions: At most so many.
        centre: A patch on the image that lies in the middle of its square, so that no border cuts through what
            surrounds it.
    """
    rows_cols = np.stack(np.divmod(np.flatnonzero(inside), grid.cols))
    first = rows_cols.min(1, keepdims=True)
    side, squares = 1, rows_cols - first
    while np.prod(squares.max(1) + 1) > n_regions:
        side += 1
        ahead = (side // 2 - (np.array([divmod(centre, grid.cols)]).T - first)) % side
        squares = (rows_cols - first + ahead) // side
    found = np.full(grid.n_patches, -1, dtype=np.int64)
    found[inside] = np.unique(squares[0] * grid.cols + squares[1], return_inverse=True)[1]
    return found


def _watched(result: ImageResult, target: Target) -> float:
    return result.score if target == "score" else float(np.nanmean(result.map))
