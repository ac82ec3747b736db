"""Causal interventions: units get other values inside the running network, and the rest of the network runs on.

Mean ablation puts a unit's normal mean in its place; patching puts its value in some normal patch there (activation
patching, as surveyed by Zhang and Nanda, arXiv 2309.16042). Both write at patch tokens only: class tokens stay. What
was learned from the normal pictures stays as well, and nothing of such a pass is ever kept in the feature store.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.feature_store import Progress
from lake_core.backbones.hooks import Kind, Place
from lake_core.backbones.patch_grid import PatchGrid
from lake_core.data.images import Picture
from lake_core.detector.lake import Lake
from lake_core.detector.scoring import ImageScore
from lake_core.errors import ConfigError
from lake_core.experiments.random_draws import N_DRAWS, Rank, Units, is_mixed, matched_draws, rank_among
from lake_core.experiments.replacing import Patches, Pool, check_patches, patches_at, places_of, pools_of, replaced
from lake_core.neurons.effects import activations
from lake_core.prompts import text_directions


class Source(NamedTuple):
    """Where a layer's values are taken from: a patch (of the layer's own grid) of a picture, usually a normal one."""

    picture: Picture
    patch: int


@dataclass(frozen=True, eq=False)
class LayerChange:
    """How much a layer's block output changed.

    Attributes:
        layer: Layer number.
        grid: Its patches.
        relative: Length of the change over length of the output, both over all patches on the picture; 0 is no change.
        map: (rows, cols) float32, length of each patch's change over the mean length of a patch's output; NaN off the
            picture.
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
    """What happened to one picture when units got other values inside the network.

    Attributes:
        units: Layer number -> units that were replaced, ascending.
        kind: Kind of unit.
        pool: What the draws were made from.
        patches: Layer number -> patches at which they were replaced.
        before, after: The picture's score without and with the change, under the same learned normality.
        text_before, text_after: The whole picture's cos(picture, anomalous) - cos(picture, normal).
        layers: One per layer from the first changed one to the last of the tower.
        draws: Units of each random draw, from `matched_draws`, among those of the pool that vary over the normal
            pictures.
        score_changes, text_changes: (n_draws,) float64, change by each draw.
        layer_changes: (n_draws, len(layers)) float64, `relative` of each layer by each draw.
    """

    units: dict[int, np.ndarray]
    kind: Kind
    pool: Pool
    patches: dict[int, np.ndarray] = field(repr=False)
    before: ImageScore
    after: ImageScore
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
        """The whole picture's similarity to "anomalous" against "normal", after less before."""
        return self.text_after - self.text_before

    @property
    def map_change(self) -> np.ndarray:
        """(rows, cols) float32, fused map after less before; NaN off the picture."""
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
        return is_mixed(self.units, self.draws)

    @property
    def sentence(self) -> str:
        """The ranks in words."""
        of_what = "selected neurons" if self.pool == "selected" else "neurons"
        of_what += " of the same layer" if len(self.units) == 1 else " of the same layers"
        if not self.score_rank.n_draws:
            return self.score_rank.sentence(of_what=of_what)
        last = self.layers[-1].layer
        return " ".join(
            (
                self.score_rank.sentence("changed the score", of_what),
                self.text_rank.sentence("changed what the whole picture says in words", of_what),
                self.layer_ranks[last].sentence(f"changed layer {last}", of_what),
            )
        )


def ablate(
    lake: Lake,
    picture: Picture,
    units: Units,
    patches: Patches | None = None,
    *,
    kind: Kind | None = None,
    pool: Pool = "layer",
    n_draws: int = N_DRAWS,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> CausalChange:
    """Mean ablation: units get their mean over the normal patches, and the rest of the network runs on.

    The draws are matched for layer and number, not for how much a unit varies: units that were selected for their
    variance are changed by more than random ones, and what follows from that is part of the answer.

    Args:
        lake: Fitted.
        picture: The picture.
        units: Layer number -> any units of that layer, selected or not; layers need not be in the score.
        patches: Layer number -> patches at which to replace; None, or a layer left out, means all on the picture.
        kind: Kind of unit; None takes the detector's.
        pool: What the draws are made from: "layer" all units of the layer, "selected" its selected ones. A unit that is
            not selected cannot move its own layer's map, so for the score "selected" is the harder comparison.
        n_draws: Random draws, each one forward pass; 0 leaves them out.
        seed: Of the draws.
        on_progress: Called after each forward pass with passes done and in all; may raise to cancel.
    Raises:
        BackboneError: if there is no such layer, kind, unit or patch.
        ConfigError: if there is no unit.
    """
    places = places_of(lake, units, kind)
    values = {}
    for layer, place in places.items():
        acts_ipu, inside_ip = activations(lake, lake.normals_, place)
        values[layer] = acts_ipu[torch.from_numpy(inside_ip)].double().mean(0).float()
    return _run(lake, picture, units, places, kind, values, patches, pool, n_draws, seed, on_progress)


def patch_in(
    lake: Lake,
    picture: Picture,
    units: Units,
    sources: Mapping[int, Source],
    patches: Patches | None = None,
    *,
    kind: Kind | None = None,
    pool: Pool = "layer",
    n_draws: int = N_DRAWS,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> CausalChange:
    """Patching: units get the values that they have in a given patch of another picture.

    Args:
        lake: Fitted.
        picture: The picture.
        units: Layer number -> units.
        sources: For each layer, where its values come from; `evidence_sources` gives the evidence.
        patches: As in `ablate`; with evidence usually the deciding patch alone, `deciding_patches`.
        kind, pool, n_draws, seed, on_progress: As in `ablate`; the draws get their own values in the same source.
    Raises:
        BackboneError: if there is no such layer, kind, unit or patch.
        ConfigError: if there is no unit, or a layer without a source.
    """
    places = places_of(lake, units, kind)
    values = {}
    for layer, place in places.items():
        if layer not in sources:
            raise ConfigError(f"Layer {layer} has no source to take values from; give one for each layer.")
        source = sources[layer]
        check_patches(lake, place, [source.patch])
        lake.store.ensure([source.picture], {place})
        values[layer] = lake.store.get(source.picture, place)[source.patch]
    return _run(lake, picture, units, places, kind, values, patches, pool, n_draws, seed, on_progress)


def evidence_sources(lake: Lake, result: ImageScore, patch: int | None = None) -> dict[int, Source]:
    """For each layer of the score, the nearest normal patch of a patch of the fused map (default: the deciding one)."""
    return {
        found.layer: Source(lake.normals_[found.normal_picture], found.normal_patch) for found in result.evidence(patch)
    }


def deciding_patches(result: ImageScore, patch: int | None = None) -> dict[int, np.ndarray]:
    """For each layer of the score, its own patch under a patch of the fused map (default: the deciding one)."""
    return {found.layer: np.array([found.patch]) for found in result.evidence(patch)}


# How it is done ------------------------------------------------------------------------------------------------------


def _run(
    lake: Lake,
    picture: Picture,
    units: Units,
    places: Mapping[int, Place],
    kind: Kind | None,
    values: Mapping[int, Tensor],
    patches: Patches | None,
    pool: Pool,
    n_draws: int,
    seed: int,
    on_progress: Progress | None,
) -> CausalChange:
    """Runs the network as it is, with the chosen units replaced, and with random ones replaced."""
    backbone = lake.backbone
    chosen = {layer: np.unique(np.asarray(units[layer], dtype=np.int64)) for layer in places}
    at = patches_at(lake, picture, places, patches)
    outputs = [Place(number, "channel") for number in range(min(places), len(backbone.layers) + 1)]
    wanted = lake.places | {backbone.image_place} | set(outputs)
    pixels = backbone.prepare(picture)[None]
    draws = matched_draws(chosen, pools_of(lake, places, pool), n_draws, seed)
    n_passes, n_done = 2 + len(draws), 0

    def run(these: Mapping[int, np.ndarray]) -> dict[Place, Tensor]:
        nonlocal n_done
        changes = {
            places[layer]: replaced(index, values[layer], at[layer], backbone.grid(places[layer]))
            for layer, index in these.items()
        }
        found = {key: tensor[0] for key, tensor in backbone.forward(pixels, wanted, changes).items()}
        n_done += 1
        if on_progress is not None:
            on_progress(n_done, n_passes)
        return found

    inside = {output: backbone.grid(output).inside(backbone.placement(picture)) for output in outputs}
    plain, changed = run({}), run(chosen)
    before, after = _score(lake, picture, plain), _score(lake, picture, changed)
    text_before = _text_margin(lake, plain)
    rows = []
    for draw in draws:
        found = run(draw)
        relative = [_relative(plain[output], found[output], inside[output]) for output in outputs]
        score_change = _score(lake, picture, found).score - before.score
        rows.append([score_change, _text_margin(lake, found) - text_before, *relative])
    table = np.array(rows, dtype=np.float64).reshape(len(draws), 2 + len(outputs))
    return CausalChange(
        units=chosen,
        kind=kind or lake.config.kind,
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


def _score(lake: Lake, picture: Picture, found: Mapping[Place, Tensor]) -> ImageScore:
    return lake.fuse(lake.measure_activations(picture, found))


def _text_margin(lake: Lake, found: Mapping[Place, Tensor]) -> float:
    backbone, config = lake.backbone, lake.config
    directions = text_directions(backbone.encode_text, config.prompts, config.object_name)
    return float(found[backbone.image_place][0] @ (directions.anomalous - directions.normal))


def _relative(before: Tensor, after: Tensor, inside: np.ndarray) -> float:
    on_picture = torch.from_numpy(inside)
    length = float(before[on_picture].norm())
    return float((after[on_picture] - before[on_picture]).norm()) / length if length > 0 else 0.0


def _layer_change(
    lake: Lake, output: Place, plain: Tensor, changed: Tensor, before: ImageScore, after: ImageScore
) -> LayerChange:
    """The change of one layer's block output, (n_patches, channels) without and with the replaced units."""
    grid, placement = lake.backbone.grid(output), before.witnesses.placement
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


def _unusual(result: ImageScore, layer: int) -> np.ndarray | None:
    """The layer's d / tau, (rows, cols), or None where it takes no part in the score."""
    for witness in result.witnesses.layers:
        learned = witness.normality
        if learned.selection.layer == layer:
            inside = learned.grid.inside(result.witnesses.placement)
            shares = np.where(inside, witness.distance.numpy() / learned.tau, np.nan)
            return shares.astype(np.float32).reshape(learned.grid.rows, learned.grid.cols)
    return None
