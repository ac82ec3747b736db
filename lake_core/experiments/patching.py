"""Causal interventions: neurons get other values inside the running network, and the rest of the network runs on.

Mean ablation puts a neuron's normal mean in its place; patching puts its value in some normal patch there (activation
patching, as surveyed by Zhang and Nanda, arXiv 2309.16042). Both write at patch tokens only: class tokens stay. What
was learned from the normal images stays as well, and nothing of such a pass is ever kept in the feature store.
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
from lake_core.experiments.random_draws import N_DRAWS, Neurons, Rank, is_mixed, matched_draws, rank_among
from lake_core.experiments.replacing import Patches, Pool, check_patches, hook_points_of, patches_at, pools_of, replaced
from lake_core.types import HookPoint, Progress, Site


class Source(NamedTuple):
    """Where a layer's values are taken from: a patch (of the layer's own grid) of a image, usually a normal one."""

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
        unusual_before, unusual_after: (rows, cols) float32, the layer's d / tau, for layers in the score; else None.
    """

    layer: int
    grid: PatchGrid
    relative: float
    map: np.ndarray = field(repr=False)
    unusual_before: np.ndarray | None = field(default=None, repr=False)
    unusual_after: np.ndarray | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class CausalChange:
    """What happened to one image when neurons got other values inside the network.

    Attributes:
        neurons: Layer number -> neurons that were replaced, ascending.
        kind: Activation site.
        pool: What the draws were made from.
        patches: Layer number -> patches at which they were replaced.
        before, after: The image's score without and with the change, under the same learned normality.
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
    def map_change(self) -> np.ndarray:
        """(rows, cols) float32, fused map after less before; NaN off the image."""
        return self.after.map - self.before.map

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

    @property
    def sentence(self) -> str:
        """The ranks in words."""
        of_what = "selected neurons" if self.pool == "selected" else "neurons"
        of_what += " of the same layer" if len(self.neurons) == 1 else " of the same layers"
        if not self.score_rank.n_draws:
            return self.score_rank.sentence(of_what=of_what)
        last = self.layers[-1].layer
        return " ".join(
            (
                self.score_rank.sentence("changed the score", of_what),
                self.text_rank.sentence("changed what the whole image says in words", of_what),
                self.layer_ranks[last].sentence(f"changed layer {last}", of_what),
            )
        )


def causal_ablation(
    lake: Lake,
    image: InputImage,
    neurons: Neurons,
    patches: Patches | None = None,
    *,
    site: Site | None = None,
    pool: Pool = "layer",
    n_draws: int = N_DRAWS,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> CausalChange:
    """Mean ablation: neurons get their mean over the normal patches, and the rest of the network runs on.

    The draws are matched for layer and number, not for how much a neuron varies: neurons that were selected for their
    variance are changed by more than random ones, and what follows from that is part of the answer.

    Args:
        lake: Fitted.
        image: The image.
        neurons: Layer number -> any neurons of that layer, selected or not; layers need not be in the score.
        patches: Layer number -> patches at which to replace; None, or a layer left out, means all on the image.
        kind: Activation site; None takes the detector's.
        pool: What the draws are made from: "layer" all neurons of the layer, "selected" its selected ones. A neuron
            that is not selected cannot move its own layer's map, so for the score "selected" is the harder comparison.
        n_draws: Random draws, each one forward pass; 0 leaves them out.
        seed: Of the draws.
        on_progress: Called after each forward pass with passes done and in all; may raise to cancel.
    Raises:
        BackboneError: if there is no such layer, kind, neuron or patch.
        ConfigError: if there is no neuron.
    """
    hook_points = hook_points_of(lake, neurons, site)
    values = {}
    for layer, hook_point in hook_points.items():
        values[layer] = lake.store.patches(lake.normals_, hook_point).on_image().double().mean(0).float()
    return _run(lake, image, neurons, hook_points, site, values, patches, pool, n_draws, seed, on_progress)


def activation_patching(
    lake: Lake,
    image: InputImage,
    neurons: Neurons,
    sources: Mapping[int, Source],
    patches: Patches | None = None,
    *,
    site: Site | None = None,
    pool: Pool = "layer",
    n_draws: int = N_DRAWS,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> CausalChange:
    """Patching: neurons get the values that they have in a given patch of another image.

    Args:
        lake: Fitted.
        image: The image.
        neurons: Layer number -> neurons.
        sources: For each layer, where its values come from; `evidence_sources` gives the evidence.
        patches: As in `causal_ablation`; with evidence usually the max-scoring patch alone, `max_scoring_patches`.
        kind, pool, n_draws, seed, on_progress: As in `causal_ablation`; the draws get their own values in the same
            source.
    Raises:
        BackboneError: if there is no such layer, kind, neuron or patch.
        ConfigError: if there is no neuron, or a layer without a source.
    """
    hook_points = hook_points_of(lake, neurons, site)
    values = {}
    for layer, hook_point in hook_points.items():
        if layer not in sources:
            raise ConfigError(f"Layer {layer} has no source to take values from; give one for each layer.")
        source = sources[layer]
        check_patches(lake, hook_point, [source.patch])
        lake.store.ensure([source.image], {hook_point})
        values[layer] = lake.store.get(source.image, hook_point)[source.patch]
    return _run(lake, image, neurons, hook_points, site, values, patches, pool, n_draws, seed, on_progress)


def evidence_sources(lake: Lake, result: ImageResult, patch: int | None = None) -> dict[int, Source]:
    """For each layer of the score, the nearest normal patch of a patch of the fused map (default: the deciding one)."""
    return {
        found.layer: Source(lake.normals_[found.normal_image], found.normal_patch) for found in result.evidence(patch)
    }


def max_scoring_patches(result: ImageResult, patch: int | None = None) -> dict[int, np.ndarray]:
    """For each layer of the score, its own patch under a patch of the fused map (default: the deciding one)."""
    return {found.layer: np.array([found.patch]) for found in result.evidence(patch)}


# How it is done ------------------------------------------------------------------------------------------------------


def _run(
    lake: Lake,
    image: InputImage,
    neurons: Neurons,
    hook_points: Mapping[int, HookPoint],
    site: Site | None,
    values: Mapping[int, Tensor],
    patches: Patches | None,
    pool: Pool,
    n_draws: int,
    seed: int,
    on_progress: Progress | None,
) -> CausalChange:
    """Runs the network as it is, with the chosen neurons replaced, and with random ones replaced."""
    backbone = lake.backbone
    chosen = {layer: np.unique(np.asarray(neurons[layer], dtype=np.int64)) for layer in hook_points}
    at = patches_at(lake, image, hook_points, patches)
    outputs = [HookPoint(number, "residual_channel") for number in range(min(hook_points), len(backbone.layers) + 1)]
    wanted = lake.hook_points | {backbone.image_hook_point} | set(outputs)
    pixels = backbone.prepare(image)[None]
    draws = matched_draws(chosen, pools_of(lake, hook_points, pool), n_draws, seed)
    n_passes, n_done = 2 + len(draws), 0

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
    for draw in draws:
        found = run(draw)
        relative = [_relative(plain[output], found[output], inside[output]) for output in outputs]
        score_change = _score(lake, image, found).score - before.score
        rows.append([score_change, _text_margin(lake, found) - text_before, *relative])
    table = np.array(rows, dtype=np.float64).reshape(len(draws), 2 + len(outputs))
    return CausalChange(
        neurons=chosen,
        site=site or lake.config.site,
        pool=pool,
        patches=at,
        before=before,
        after=after,
        text_before=text_before,
        text_after=_text_margin(lake, changed),
        layers=tuple(_layer_change(lake, output, plain[output], changed[output], before, after) for output in outputs),
        draws=draws,
        score_changes=table[:, 0],
        text_changes=table[:, 1],
        layer_changes=table[:, 2:],
    )


def _score(lake: Lake, image: InputImage, found: Mapping[HookPoint, Tensor]) -> ImageResult:
    return lake.aggregate(lake.compute_maps_from(image, found))


def _text_margin(lake: Lake, found: Mapping[HookPoint, Tensor]) -> float:
    backbone, config = lake.backbone, lake.config
    directions = text_directions(backbone.encode_text, config.part(TextConfig))
    return float(found[backbone.image_hook_point][0] @ (directions.anomalous - directions.normal))


def _relative(before: Tensor, after: Tensor, inside: np.ndarray) -> float:
    on_image = torch.from_numpy(inside)
    length = float(before[on_image].norm())
    return float((after[on_image] - before[on_image]).norm()) / length if length > 0 else 0.0


def _layer_change(
    lake: Lake, output: HookPoint, plain: Tensor, changed: Tensor, before: ImageResult, after: ImageResult
) -> LayerChange:
    """The change of one layer's block output, (n_patches, channels) without and with the replaced neurons."""
    grid, placement = lake.backbone.grid(output), before.patch_scores.placement
    inside = grid.inside(placement)
    length = float(plain[torch.from_numpy(inside)].norm(dim=1).mean())
    change = (changed - plain).norm(dim=1).numpy() / (length or 1.0)
    return LayerChange(
        output.layer,
        grid,
        _relative(plain, changed, inside),
        np.where(inside, change, np.nan).astype(np.float32).reshape(grid.rows, grid.cols),
        _unusual(before, output.layer),
        _unusual(after, output.layer),
    )


def _unusual(result: ImageResult, layer: int) -> np.ndarray | None:
    """The layer's d / tau, (rows, cols), or None where it takes no part in the score."""
    for matches in result.patch_scores.layers:
        learned = matches.memory_bank
        if learned.selection.layer == layer:
            inside = learned.grid.inside(result.patch_scores.placement)
            shares = np.where(inside, matches.distance.numpy() / learned.tau, np.nan)
            return shares.astype(np.float32).reshape(learned.grid.rows, learned.grid.cols)
    return None
