"""What a unit does to the whole-image vector: read off its weights, or measured by ablation in the running network.

With `describe`, which joins both routes of `descriptions.py` on a fitted detector.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from lake_core.backbones.adapters import NativeViT
from lake_core.backbones.backbone import Backbone, Change
from lake_core.backbones.feature_store import Progress
from lake_core.backbones.hooks import Place
from lake_core.backbones.patch_grid import PatchGrid, coarse_of_fine
from lake_core.data.images import Picture
from lake_core.detector.memory_bank import finest
from lake_core.neurons.concepts import (
    LEVEL,
    Description,
    Scores,
    agreement,
    checked_words,
    effect,
    inside_maps,
    load_concepts,
    word_directions,
)

if TYPE_CHECKING:
    from lake_core.detector.lake import Lake

_BATCH = 4


def written_directions(backbone: Backbone, place: Place) -> Tensor | None:
    """What each unit writes into the joint space by itself: its down-projection column, final norm and projection.

    The layer norm is taken as linear: centring and its weights, without the division, which changes no direction. What
    later layers make of the write is left out.

    Returns:
        (n_units, joint) float32, or None where the path is not linear or not known here: there only ablation tells.
    """
    tower = backbone._tower
    if not isinstance(tower, NativeViT) or tower.visual.attn_pool is not None or tower.visual.proj is None:
        return None
    visual: Any = tower.visual
    block: Any = tower.blocks()[place.layer - 1]
    if not isinstance(visual.ln_post, nn.LayerNorm):
        return None
    with torch.no_grad():
        scale = getattr(block.ls_2, "gamma", None)
        if place.kind == "hidden":
            writes_ud = block.mlp.c_proj.weight.T.float()
            writes_ud = writes_ud if scale is None else writes_ud * scale.float()
        else:
            writes_ud = torch.eye(len(visual.ln_post.weight), device=visual.proj.device)
        centred = (writes_ud - writes_ud.mean(1, keepdim=True)) * visual.ln_post.weight.float()
        return (centred @ visual.proj.float()).cpu()


def ablation_effects(
    backbone: Backbone,
    pictures: Sequence[Picture],
    place: Place,
    units: Sequence[int],
    ceilings: np.ndarray,
    on_progress: Progress | None = None,
) -> np.ndarray:
    """What each unit's activity above its normal mean adds to the whole-image vector, measured in the running network.

    Where the unit exceeds its normal mean it is set to that mean, at patch tokens only, and the rest of the network
    runs. (Patches below the mean stay: setting them too would cancel out, as deviations from a mean add up to
    nothing.) The effect is the whole-image vector less that of the ablated pass, averaged over pictures.

    Args:
        pictures: At least one.
        place: A layer and kind of unit.
        units: Which units.
        ceilings: (n_units of the layer,) normal mean of each unit.
        on_progress: Called with units done and in all; may raise to cancel.
    Returns:
        (len(units), joint) float32; all but zero where a unit is never above its mean.
    """
    batches = [
        torch.stack([backbone.prepare(picture) for picture in pictures[start : start + _BATCH]])
        for start in range(0, len(pictures), _BATCH)
    ]
    image = backbone.image_place
    whole = [backbone.forward(batch, {image})[image][:, 0] for batch in batches]
    effects = np.zeros((len(units), backbone.joint_width), dtype=np.float32)
    for row, unit in enumerate(units):
        changes = {place: clipped(int(unit), float(ceilings[unit]))}
        ablated = [backbone.forward(batch, {image}, changes)[image][:, 0] for batch in batches]
        effects[row] = (torch.cat(whole) - torch.cat(ablated)).mean(0).numpy()
        if on_progress is not None:
            on_progress(row + 1, len(units))
    return effects


def clipped(unit: int, ceiling: float) -> Change:
    """The change that bounds one unit from above at all patches."""

    def clip(maps: Tensor) -> None:
        maps[:, unit].clamp_(max=ceiling)

    return clip


def describe(
    lake: "Lake",
    layer: int,
    units: Sequence[int],
    pictures: Sequence[Picture],
    words: Sequence[str] | None = None,
    *,
    with_effect: bool = True,
    n_draws: int = 199,
    n_random: int = 44,
    n_ablated_pictures: int = 6,
    level: float = LEVEL,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> list[Description]:
    """Describes units of a layer in words, or says that no word does.

    Args:
        lake: A fitted detector; its kind of unit is meant.
        layer: Layer number.
        units: Which units.
        pictures: Over which maps are compared: normal ones and, better, others too.
        words: The vocabulary; None takes the one that comes with the program.
        with_effect: Also take the route by effect. By ablation it costs one forward pass for each picture and unit.
        n_draws: Draws of the nulls of the agreement.
        n_random: Random units of the layer that make the null of an effect by ablation, among those that vary over
            the normal pictures; 39 besides the unit itself must have an effect, or p-values cannot reach 0.05 / 2.
        n_ablated_pictures: Pictures used for ablation, evenly taken from `pictures`.
        level: Share of units without meaning that may get a word, both routes together.
        seed: Of the nulls.
        on_progress: Called with steps done and in all while ablating; may raise to cancel.
    Returns:
        A Description for each of `units`, in that order.
    """
    backbone = lake.backbone
    place = backbone.place(layer, lake.config.kind)
    vocabulary = load_concepts() if words is None else checked_words(words)
    directions = word_directions(backbone.encode_text, vocabulary)
    rows = np.asarray(units, dtype=np.int64)
    by_agreement = _agreement(lake, place, rows, pictures, directions, n_draws, seed)
    by_effect: Scores | None = None
    effect_by = None
    if with_effect:
        writes = written_directions(backbone, place)
        n_units = backbone.layer(layer).n_units[lake.config.kind]
        if writes is not None:
            effect_by, null_units = "down-projection", np.arange(n_units)
            own, null = writes.numpy()[rows], writes.numpy()
        else:
            effect_by = "ablation"
            acts_ipu, inside_ip = activations(lake, lake.normals_, place)
            normal_up = inside_maps(acts_ipu, inside_ip)
            ceilings = normal_up.mean(1, dtype=np.float64)
            living = np.flatnonzero(np.ptp(normal_up, axis=1) > 0)
            null_units = np.random.default_rng([seed, layer]).permutation(living)[:n_random]
            chosen = [pictures[i] for i in _evenly(len(pictures), n_ablated_pictures)]
            every = np.unique(np.concatenate([rows, null_units]))
            found = ablation_effects(backbone, chosen, place, every.tolist(), ceilings, on_progress)
            own, null = found[np.searchsorted(every, rows)], found[np.searchsorted(every, null_units)]
        by_effect = effect(own, null, rows[:, None] == null_units[None], directions)
    routes = [route for route in (by_agreement, by_effect) if route is not None]
    return [
        Description(
            int(unit),
            () if by_agreement is None else by_agreement.best(row, vocabulary),
            () if by_effect is None else by_effect.best(row, vocabulary),
            effect_by,
            level / max(1, len(routes)),
        )
        for row, unit in enumerate(rows)
    ]


def activations(lake: "Lake", pictures: Sequence[Picture], place: Place) -> tuple[Tensor, np.ndarray]:
    """Activations of pictures at a place, (n_pictures, n_patches, n_units) float32, and which patches lie on them."""
    grid = lake.backbone.grid(place)
    lake.store.ensure(pictures, {place})
    inside_ip = np.stack([grid.inside(lake.backbone.placement(picture)) for picture in pictures])
    return lake.store.stack(pictures, place), inside_ip


def _agreement(
    lake: "Lake",
    place: Place,
    units: np.ndarray,
    pictures: Sequence[Picture],
    directions: np.ndarray,
    n_draws: int,
    seed: int,
) -> Scores | None:
    """The route by agreement, or None where the tower's head does not act on single patches."""
    backbone, store = lake.backbone, lake.store
    joint_place = backbone.joint_place
    if joint_place is None or not len(units):
        return None
    own_grid, joint_grid = backbone.grid(place), backbone.grid(joint_place)
    grid = finest([own_grid, joint_grid])
    store.ensure(pictures, {place, joint_place})
    to_own, to_joint = coarse_of_fine(grid, own_grid), coarse_of_fine(grid, joint_grid)
    chosen = torch.from_numpy(units)
    acts = torch.stack([store.get(picture, place)[:, chosen][to_own] for picture in pictures])
    joint = torch.stack([store.get(picture, joint_place)[to_joint] for picture in pictures])
    inside = np.stack([grid.inside(backbone.placement(picture)) for picture in pictures])
    shapes = [_shape(grid, row) for row in inside]
    return agreement(inside_maps(acts, inside), inside_maps(joint, inside).T, directions, shapes, n_draws, seed)


def _shape(grid: PatchGrid, inside: np.ndarray) -> tuple[int, int]:
    """Rows and columns of the patches that lie on a picture, which are a rectangle."""
    on_rc = inside.reshape(grid.rows, grid.cols)
    return int(on_rc.any(1).sum()), int(on_rc.any(0).sum())


def _evenly(n: int, at_most: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, at_most))})
