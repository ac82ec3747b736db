"""Causal ablation and activation patching: neurons get other values inside the network, and the rest of it runs on.

Mean ablation replaces a neuron's activations by its mean over the normal patches; activation patching by its activation
in some normal patch (surveyed by Zhang and Nanda, arXiv 2309.16042). Both write at patch tokens only: class tokens
stay. What was learned from the normal images stays as well, and nothing of such a pass is kept in the feature store.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid
from lake_core.config import TextConfig
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from lake_core.detector.text import text_directions
from lake_core.errors import ConfigError
from lake_core.experiments.neuron_sets import DEFAULT_DRAWS, RandomDraws, is_mixed, matched_draws, rank_among
from lake_core.experiments.replacing import Targets, hook_points_of, patches_at, pools_of, replaced
from lake_core.findings.neurons import ControlFinding, Rank, RankFinding
from lake_core.types import HookPoint, Pool, Progress, Site
from lake_core.visualization.notebook import as_sentence


class Source(NamedTuple):
    """Where a layer's values are taken from: an image, usually a normal one, and a patch of the layer's own grid."""

    image: InputImage
    patch: int


@dataclass(frozen=True, eq=False)
class LayerChange:
    """How much a layer's block output changed.

    Attributes:
        layer: Layer number.
        grid: Its patches.
        relative: Length of the change over length of the output, both over all patches on the image; 0 is no change.
        map: (rows, cols) float32, length of each patch's change over the mean length of a patch's output; NaN off the
            image.
    """

    layer: int
    grid: PatchGrid
    relative: float
    map: np.ndarray = field(repr=False)


@dataclass(frozen=True, eq=False)
class CausalChange:
    """What happened to one image when neurons got other values inside the network.

    Attributes:
        neurons: Layer number -> neurons that were replaced, ascending.
        site: Activation site.
        pool: What the draws were made from.
        patches: Layer number -> patches at which they were replaced.
        before, after: The image's score without and with the change, against the same memory bank.
        text_before, text_after: The whole image's cos(image, anomalous) - cos(image, normal).
        layers: One per layer from the first changed one to the last of the tower.
        draws: Neurons of each random draw, from `matched_draws`, among those of the pool that vary over the normal
            images.
        score_changes, text_changes: (n_draws,) float64, change by each draw.
        layer_changes: (n_draws, len(layers)) float64, `relative` of each layer by each draw.
    """

    neurons: dict[int, np.ndarray]
    site: Site
    pool: Pool
    patches: dict[int, np.ndarray] = field(repr=False)
    before: ImageResult
    after: ImageResult
    text_before: float
    text_after: float
    layers: tuple[LayerChange, ...]
    draws: list[dict[int, np.ndarray]] = field(repr=False)
    score_changes: np.ndarray = field(repr=False)
    text_changes: np.ndarray = field(repr=False)
    layer_changes: np.ndarray = field(repr=False)

    @property
    def change(self) -> float:
        """Score after less score before."""
        return self.after.score - self.before.score

    @property
    def text_change(self) -> float:
        """The whole image's similarity to "anomalous" against "normal", after less before."""
        return self.text_after - self.text_before

    @property
    def score_rank(self) -> Rank:
        return rank_among(self.change, self.score_changes, self._mixed)

    @property
    def text_rank(self) -> Rank:
        return rank_among(self.text_change, self.text_changes, self._mixed)

    @property
    def layer_ranks(self) -> dict[int, Rank]:
        """Layer number -> rank of its relative change."""
        columns = self.layer_changes.T
        return {
            one.layer: rank_among(one.relative, column, self._mixed)
            for one, column in zip(self.layers, columns, strict=True)
        }

    @property
    def _mixed(self) -> bool:
        return is_mixed(self.neurons, self.draws)

    _repr_html_ = as_sentence

    @property
    def finding(self) -> ControlFinding:
        n_layers, last = len(self.neurons), self.layers[-1].layer
        return ControlFinding(
            (
                RankFinding("score", self.score_rank, self.pool, n_layers),
                RankFinding("image text margin", self.text_rank, self.pool, n_layers),
                RankFinding("layer output", self.layer_ranks[last], self.pool, n_layers, last),
            )
        )


def causal_ablation(
    lake: Lake,
    image: InputImage,
    targets: Targets,
    pool: Pool = "layer",
    draws: RandomDraws = DEFAULT_DRAWS,
    on_progress: Progress | None = None,
) -> CausalChange:
    """Mean ablation: neurons get their mean over the normal patches, and the rest of the network runs on.

    The draws are matched for layer and number, not for how much a neuron varies: neurons that were selected for their
    variance are changed by more than random ones, and what follows from that is part of the answer.

    Args:
        lake: Fitted.
        targets: Which neurons, and at which patches.
        pool: What the draws are made from: "layer" all neurons of the layer, "selected" its selected ones. A neuron
            that is not selected cannot move its own layer's map, so for the score "selected" is the harder comparison.
        draws: How many, each one forward pass, and their seed.
        on_progress: Called after each forward pass with passes done and in all; may raise to cancel.
    Raises:
        BackboneError: if there is no such layer, site, neuron or patch.
        ConfigError: if there is no neuron.
    """
    values = {
        layer: lake.store.patches(lake.normals_, hook_point).on_image().double().mean(0).float()
        for layer, hook_point in hook_points_of(lake, targets).items()
    }
    return _run(lake, image, targets, values, pool, draws, on_progress)


def activation_patching(
    lake: Lake,
    image: InputImage,
    targets: Targets,
    sources: Mapping[int, Source],
    pool: Pool = "layer",
    draws: RandomDraws = DEFAULT_DRAWS,
    on_progress: Progress | None = None,
) -> CausalChange:
    """Activation patching: neurons get the activations that they have in a given patch of another image.

    Args:
        lake: Fitted.
        targets: Which neurons, and at which patches: with `evidence_sources` usually those of `max_scoring_patches`.
        sources: For each layer, where its values come from; `evidence_sources` gives the nearest normal patches.
        pool, draws, on_progress: As in `causal_ablation`; the draws get their own values from the same source.
    Raises:
        BackboneError: if there is no such layer, site, neuron or patch.
        ConfigError: if there is no neuron, or a layer without a source.
    """
    values = {}
    for layer, hook_point in hook_points_of(lake, targets).items():
        if layer not in sources:
            raise ConfigError(f"Layer {layer} has no source to take values from; give one for each layer.")
        source = sources[layer]
        lake.backbone.check_patches(hook_point, [source.patch])
        lake.store.ensure([source.image], {hook_point})
        values[layer] = lake.store.get(source.image, hook_point)[source.patch]
    return _run(lake, image, targets, values, pool, draws, on_progress)


def evidence_sources(lake: Lake, result: ImageResult, patch: int | None = None) -> dict[int, Source]:
    """For each layer of the score, the nearest normal patch of a patch of the fused map (default: max-scoring)."""
    return {
        found.layer: Source(lake.normals_[found.normal_image], found.normal_patch) for found in result.evidence(patch)
    }


def max_scoring_patches(result: ImageResult, patch: int | None = None) -> dict[int, np.ndarray]:
    """For each layer of the score, its own patch under a patch of the fused map (default: max-scoring)."""
    return {found.layer: np.array([found.patch]) for found in result.evidence(patch)}


# How it is done ------------------------------------------------------------------------------------------------------


def _run(
    lake: Lake,
    image: InputImage,
    targets: Targets,
    values: Mapping[int, Tensor],
    pool: Pool,
    draws: RandomDraws,
    on_progress: Progress | None,
) -> CausalChange:
    """Runs the network as it is, with the chosen neurons replaced, and with random ones replaced."""
    backbone, hook_points = lake.backbone, hook_points_of(lake, targets)
    chosen = {layer: np.unique(np.asarray(targets.neurons[layer], dtype=np.int64)) for layer in hook_points}
    at = patches_at(lake, image, hook_points, targets.patches)
    outputs = [HookPoint(number, "residual_channel") for number in range(min(hook_points), len(backbone.layers) + 1)]
    wanted = lake.hook_points | {backbone.image_hook_point} | set(outputs)
    pixels = backbone.prepare(image)[None]
    drawn = matched_draws(chosen, pools_of(lake, hook_points, pool), draws)
    n_passes, n_done = 2 + len(drawn), 0

    def run(these: Mapping[int, np.ndarray]) -> dict[HookPoint, Tensor]:
        nonlocal n_done
        changes = {
            hook_points[layer]: replaced(index, values[layer], at[layer], backbone.grid(hook_points[layer]))
            for layer, index in these.items()
        }
        found = {key: tensor[0] for key, tensor in backbone.forward(pixels, wanted, changes).items()}
        n_done += 1
        if on_progress is not None:
            on_progress(n_done, n_passes)
        return found

    inside = {output: backbone.grid(output).inside(backbone.placement(image)) for output in outputs}
    plain, changed = run({}), run(chosen)
    before, after = _score(lake, image, plain), _score(lake, image, changed)
    text_before = _text_margin(lake, plain)
    rows = []
    for draw in drawn:
        found = run(draw)
        relative = [_relative(plain[output], found[output], inside[output]) for output in outputs]
        score_change = _score(lake, image, found).score - before.score
        rows.append([score_change, _text_margin(lake, found) - text_before, *relative])
    table = np.array(rows, dtype=np.float64).reshape(len(drawn), 2 + len(outputs))
    return CausalChange(
        neurons=chosen,
        site=targets.site or lake.config.site,
        pool=pool,
        patches=at,
        before=before,
        after=after,
        text_before=text_before,
        text_after=_text_margin(lake, changed),
        layers=tuple(_layer_change(lake, image, output, plain[output], changed[output]) for output in outputs),
        draws=drawn,
        score_changes=table[:, 0],
        text_changes=table[:, 1],
        layer_changes=table[:, 2:],
    )


def _score(lake: Lake, image: InputImage, found: Mapping[HookPoint, Tensor]) -> ImageResult:
    return lake.aggregate(lake.compute_maps_from(image, found))


def _text_margin(lake: Lake, found: Mapping[HookPoint, Tensor]) -> float:
    backbone = lake.backbone
    directions = text_directions(backbone.encode_text, lake.config.part(TextConfig))
    return float(found[backbone.image_hook_point][0] @ (directions.anomalous - directions.normal))


def _relative(before: Tensor, after: Tensor, inside: np.ndarray) -> float:
    on_image = torch.from_numpy(inside)
    length = float(before[on_image].norm())
    return float((after[on_image] - before[on_image]).norm()) / length if length > 0 else 0.0


def _layer_change(lake: Lake, image: InputImage, output: HookPoint, plain: Tensor, changed: Tensor) -> LayerChange:
    """The change of one layer's block output, (n_patches, channels) without and with the replaced neurons."""
    grid = lake.backbone.grid(output)
    inside = grid.inside(lake.backbone.placement(image))
    length = float(plain[torch.from_numpy(inside)].norm(dim=1).mean())
    change = (changed - plain).norm(dim=1).numpy() / (length or 1.0)
    return LayerChange(
        output.layer,
        grid,
        _relative(plain, changed, inside),
        np.where(inside, change, np.nan).astype(np.float32).reshape(grid.rows, grid.cols),
    )
