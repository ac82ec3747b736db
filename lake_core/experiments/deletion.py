"""Deletion and insertion: whether a map names the patches that make the score, compared with random orders.

After RISE (Petsiuk et al., arXiv 1806.07421). Pixels are exchanged in the model's input and the network runs again;
what was learned from the normal images stays, and nothing is kept in the feature store.

What removed patches are replaced by decides what a curve can say. A blurred image (Fong and Vedaldi, arXiv
1704.03296) is the custom, but blur is itself unusual among sharp normal images: on the metal sample a blurred
image scores 4.5 where a scratched one scores 1.7, and removing anything raises the score. So the default is the
most similar normal image, which is what "without the defect" means here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid, Placement
from lake_core.config import require_one_of, require_whole
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from lake_core.errors import ConfigError
from lake_core.findings.images import DeletionFinding, Direction, FaithfulnessFinding, Replacement
from lake_core.neurons.attribution import baseline_of
from lake_core.types import Progress
from lake_core.visualization.notebook import as_sentence

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
REPLACEMENTS: tuple[Replacement, ...] = get_args(Replacement)
_BATCH = 2


@dataclass(frozen=True)
class CurveConfig:
    """How patches are removed from an image, or put back.

    Attributes:
        direction: "deletion" begins with the image and ends with the replacement; "insertion" the other way round.
        replacement: What removed patches show: "normal" the normal image that is nearest in pixels, at the same
            positions; "blurred" the image under a Gaussian; "mean" its mean colour.
        n_steps: Steps from all to nothing, at least 1; not more than there are patches.
        n_orders: Random orders, at least 1.
        seed: Of the random orders.
    """

    direction: Direction = "deletion"
    replacement: Replacement = "normal"
    n_steps: int = 12
    n_orders: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        require_one_of("direction", self.direction, DIRECTIONS)
        require_one_of("replacement", self.replacement, REPLACEMENTS)
        require_whole("n_steps", self.n_steps)
        require_whole("n_orders", self.n_orders)

    @property
    def n_images(self) -> int:
        """Images through the network for one curve; fewer where there are fewer patches than steps."""
        return 2 + (self.n_orders + 1) * (self.n_steps - 1)


DEFAULT_CURVE = CurveConfig()


@dataclass(frozen=True, eq=False)
class Curve:
    """The score while patches are removed from an image, or put back.

    Attributes:
        config: How it was made.
        shares: (n_steps + 1,) float64 from 0 to 1, share of the image's patches that are removed, or put back.
        by_map: (n_steps + 1,) float64, scores with the patches taken in the order of the fused map, greatest first.
        at_random: (n_orders, n_steps + 1) float64, in random orders.
    """

    image: InputImage
    config: CurveConfig
    shares: np.ndarray = field(repr=False)
    by_map: np.ndarray = field(repr=False)
    at_random: np.ndarray = field(repr=False)

    @property
    def areas(self) -> np.ndarray:
        """(n_orders,) float64: the area between each random curve and the map's, in units of the score.

        Above 0 the map does better: in its order the score falls sooner (deletion) or rises sooner (insertion). Scores
        beyond the two ends of the curve come from the seams between patches that do not belong together; they count as
        the end that they are beyond.
        """
        low, high = sorted((self.by_map[0], self.by_map[-1]))
        by_map, at_random = np.clip(self.by_map, low, high), np.clip(self.at_random, low, high)
        sign = 1 if self.config.direction == "deletion" else -1
        return np.asarray(sign * np.trapezoid(at_random - by_map, self.shares, axis=1))

    @property
    def area(self) -> float:
        """The mean of `areas`: the area between the map's curve and the mean random one."""
        return float(self.areas.mean())

    _repr_html_ = as_sentence

    @property
    def finding(self) -> DeletionFinding:
        ends = self.by_map[[0, -1]] if self.config.direction == "deletion" else self.by_map[[-1, 0]]
        n_better = int((self.areas > 0).sum())
        return DeletionFinding(
            self.config.direction,
            self.config.replacement,
            len(self.areas),
            n_better,
            self.area,
            float(ends[0]),
            float(ends[1]),
        )


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """Curves of several images, at least one, all made in the same way.

    Attributes:
        curves: One per image.
    """

    curves: tuple[Curve, ...] = field(repr=False)

    @property
    def mean_area(self) -> float:
        """Mean of the curves' areas, in units of the score; above 0 the map does better than random orders."""
        return float(np.mean([one.area for one in self.curves]))

    _repr_html_ = as_sentence

    @property
    def finding(self) -> FaithfulnessFinding:
        findings = [one.finding for one in self.curves]
        return FaithfulnessFinding(
            findings[0].direction,
            len(findings),
            sum(one.area > 0 for one in findings),
            self.mean_area,
            sum(one.is_replacement_anomalous for one in findings),
        )


def curve(
    lake: Lake, image: InputImage, config: CurveConfig = DEFAULT_CURVE, on_progress: Progress | None = None
) -> Curve:
    """Removes an image's patches step by step, or puts them back, and scores it after each step.

    Args:
        lake: Fitted.
        config: How; it costs `config.n_images` images through the network.
        on_progress: Called after each few images with images done and in all; may raise to cancel.
    """
    result = lake.explain(image)
    grid, inside = result.patch_scores.grid, result.patch_scores.inside
    own, other = lake.backbone.prepare(image), replacement_of(lake, image, config.replacement)
    first, last = (own, other) if config.direction == "deletion" else (other, own)
    patch_of = patch_of_pixels(grid, result.patch_scores.placement)
    patches = np.flatnonzero(inside)
    fused = result.map.reshape(-1)[patches]
    rng = np.random.default_rng(config.seed)
    at_random = [rng.permutation(patches) for _ in range(config.n_orders)]
    orders = [patches[np.argsort(-fused, kind="stable")], *at_random]
    n_taken = np.round(np.linspace(0, len(patches), min(config.n_steps, len(patches)) + 1)).astype(int)

    def inputs() -> Iterator[Tensor]:
        yield first
        yield last
        for order in orders:
            for n in n_taken[1:-1]:
                yield torch.where(torch.from_numpy(np.isin(patch_of, order[:n])), last, first)

    n_between = len(n_taken) - 2
    scores = np.array([one.score for one in scored(lake, image, inputs(), 2 + len(orders) * n_between, on_progress)])
    between = scores[2:].reshape(len(orders), n_between)
    every = np.hstack([np.full((len(orders), 1), scores[0]), between, np.full((len(orders), 1), scores[1])])
    return Curve(image, config, n_taken / len(patches), every[0], every[1:])


def faithfulness(
    lake: Lake, images: Sequence[InputImage], config: CurveConfig = DEFAULT_CURVE, on_progress: Progress | None = None
) -> Faithfulness:
    """Curves of several images.

    Args:
        lake: Fitted.
        images: At least one.
        config: As in `curve`.
        on_progress: Called after each few images through the network; the number in all is an upper bound where
            images differ in their number of patches.
    """
    if not images:
        raise ConfigError("There is no image to remove patches from; give at least one.")
    each = config.n_images
    curves = []
    for index, image in enumerate(images):
        report = None if on_progress is None else _offset(on_progress, index * each, len(images) * each)
        curves.append(curve(lake, image, config, report))
    return Faithfulness(tuple(curves))


# Pixels --------------------------------------------------------------------------------------------------------------


def replacement_of(lake: Lake, image: InputImage, replacement: Replacement) -> Tensor:
    """What an image's removed patches show, (3, height, width) as the model's input.

    For "normal" the normal image that is nearest in pixels fills the part of the input that the image fills.
    """
    own, placement = lake.backbone.prepare(image), lake.backbone.placement(image)
    if replacement != "normal":
        return baseline_of(own, placement, replacement)
    box = _box(placement)
    contents = []
    for normal in lake.normals_:
        found = lake.backbone.prepare(normal)[_box(lake.backbone.placement(normal))]
        if found.shape != own[box].shape:
            found = F.interpolate(found[None], own[box].shape[1:], mode="bilinear", antialias=True)[0]
        contents.append(found)
    filled = own.clone()
    filled[box] = min(contents, key=lambda content: float((content - own[box]).square().sum()))
    return filled


def patch_of_pixels(grid: PatchGrid, placement: Placement) -> np.ndarray:
    """(height, width) int64: the patch on the image that each pixel of the input belongs to, or is nearest to."""
    on_rc = grid.inside(placement).reshape(grid.rows, grid.cols)
    rows, cols = np.flatnonzero(on_rc.any(1)), np.flatnonzero(on_rc.any(0))
    row = np.arange(placement.input_height) * grid.rows // grid.covered_height
    col = np.arange(placement.input_width) * grid.cols // grid.covered_width
    return np.clip(row, rows[0], rows[-1])[:, None] * grid.cols + np.clip(col, cols[0], cols[-1])


def scored(
    lake: Lake, image: InputImage, inputs: Iterator[Tensor], n_in_all: int, on_progress: Progress | None = None
) -> Iterator[ImageResult]:
    """Results for changed inputs of an image, each (3, height, width); the network runs a few at a time."""
    n_done = 0
    while n_done < n_in_all:
        batch = torch.stack([next(inputs) for _ in range(min(_BATCH, n_in_all - n_done))])
        found = lake.backbone.forward(batch, lake.hook_points)
        for index in range(len(batch)):
            acts = {hook_point: tensor[index] for hook_point, tensor in found.items()}
            yield lake.aggregate(lake.compute_maps_from(image, acts))
        n_done += len(batch)
        if on_progress is not None:
            on_progress(n_done, n_in_all)


def _box(placement: Placement) -> tuple[slice, slice, slice]:
    return slice(None), placement.rows, placement.cols


def _offset(on_progress: Progress, n_before: int, n_in_all: int) -> Callable[[int, int], None]:
    return lambda n_done, _: on_progress(n_before + n_done, n_in_all)
