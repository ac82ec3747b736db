"""A neuron's effect on the whole-image vector, from its weights or by ablation; and concept labels by both routes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from lake_core.backbones.adapters.native_vit import NativeViT
from lake_core.backbones.backbone import Backbone, Change
from lake_core.backbones.patch_grid import PatchGrid, coarse_of_fine
from lake_core.data.images import InputImage
from lake_core.detector.memory_bank import finest
from lake_core.neurons.concepts import (
    LEVEL,
    ConceptLabels,
    Scores,
    agreement,
    checked_concepts,
    concept_directions,
    effect,
    inside_maps,
    load_concepts,
)
from lake_core.types import HookPoint, Progress, counted

if TYPE_CHECKING:
    from lake_core.detector.lake import Lake

_BATCH = 4


def written_directions(backbone: Backbone, hook_point: HookPoint) -> Tensor | None:
    """What each neuron writes into the joint space by itself: its down-projection column, final norm and projection.

    The layer norm is taken as linear: centring and its weights, without the division, which changes no direction. What
    later layers do with it is left out.

    Returns:
        (n_neurons, joint) float32, or None where the path is not linear or not known here, so that only ablation can
        tell.
    """
    adapter = backbone.adapter
    if not isinstance(adapter, NativeViT) or adapter.visual.attn_pool is not None or adapter.visual.proj is None:
        return None
    visual: Any = adapter.visual
    block: Any = adapter.blocks()[hook_point.layer - 1]
    if not isinstance(visual.ln_post, nn.LayerNorm):
        return None
    with torch.no_grad():
        scale = getattr(block.ls_2, "gamma", None)
        if hook_point.site == "mlp_hidden":
            writes_nd = block.mlp.c_proj.weight.T.float()
            writes_nd = writes_nd if scale is None else writes_nd * scale.float()
        else:
            writes_nd = torch.eye(len(visual.ln_post.weight), device=visual.proj.device)
        centred = (writes_nd - writes_nd.mean(1, keepdim=True)) * visual.ln_post.weight.float()
        directions: Tensor = centred @ visual.proj.float()
        return directions.cpu()


def ablation_effects(
    backbone: Backbone,
    images: Sequence[InputImage],
    hook_point: HookPoint,
    neurons: Sequence[int],
    ceilings: np.ndarray,
    on_progress: Progress | None = None,
) -> np.ndarray:
    """What each neuron's activity above its normal mean adds to the whole-image vector, measured in the running
    network.

    Where the neuron exceeds its normal mean it is set to that mean, at patch tokens only, and the rest of the network
    runs. (Patches below the mean stay: setting them too would cancel out, as deviations from a mean add up to
    nothing.) The effect is the whole-image vector less that of the ablated pass, averaged over images.

    Args:
        images: At least one.
        hook_point: A layer and activation site.
        neurons: Which neurons.
        ceilings: (n_neurons of the layer,) normal mean of each neuron.
        on_progress: Called with neurons done and in all; may raise to cancel.
    Returns:
        (len(neurons), joint) float32; all but zero where a neuron is never above its mean.
    """
    batches = [
        torch.stack([backbone.prepare(image) for image in images[start : start + _BATCH]])
        for start in range(0, len(images), _BATCH)
    ]
    whole_image = backbone.image_hook_point
    whole = [backbone.forward(batch, {whole_image})[whole_image][:, 0] for batch in batches]
    effects = np.zeros((len(neurons), backbone.joint_width), dtype=np.float32)
    for row, neuron in enumerate(counted(neurons, on_progress)):
        changes = {hook_point: clipped(int(neuron), float(ceilings[neuron]))}
        ablated = [backbone.forward(batch, {whole_image}, changes)[whole_image][:, 0] for batch in batches]
        effects[row] = (torch.cat(whole) - torch.cat(ablated)).mean(0).numpy()
    return effects


def clipped(neuron: int, ceiling: float) -> Change:
    """The change that bounds one neuron from above at all patches."""

    def clip(maps: Tensor) -> None:
        maps[:, neuron].clamp_(max=ceiling)

    return clip


@dataclass(frozen=True)
class LabelConfig:
    """How concept labels are tested.

    Attributes:
        with_effect: Also take the route by effect. By ablation it costs one forward pass for each image and neuron.
        n_draws: Draws of the nulls of the agreement.
        n_random: Random neurons of the layer that make the null of an effect by ablation, among those that vary over
            the normal images; 39 besides the neuron itself must have an effect, or p-values cannot reach 0.05 / 2.
        n_ablated_images: Images used for ablation, evenly taken from those given.
        level: Share of neurons without meaning that may get a label, both routes together.
        seed: Of the nulls.
    """

    with_effect: bool = True
    n_draws: int = 199
    n_random: int = 44
    n_ablated_images: int = 6
    level: float = LEVEL
    seed: int = 0


DEFAULT_LABELS = LabelConfig()


def label_concepts(
    lake: "Lake",
    layer: int,
    neurons: Sequence[int],
    images: Sequence[InputImage],
    concepts: Sequence[str] | None = None,
    config: LabelConfig = DEFAULT_LABELS,
    on_progress: Progress | None = None,
) -> list[ConceptLabels]:
    """Concept labels for neurons of a layer; a neuron that no concept describes better than chance gets none.

    Args:
        lake: A fitted detector; the neurons are those of its activation site.
        layer: Layer number.
        neurons: Which neurons.
        images: Over which maps are compared: normal ones and, better, others too.
        concepts: The vocabulary; None takes the one that comes with the program.
        config: How labels are tested.
        on_progress: Called with steps done and in all while ablating; may raise to cancel.
    Returns:
        One for each of `neurons`, in that order.
    """
    backbone = lake.backbone
    hook_point = backbone.hook_point(layer, lake.config.site)
    vocabulary = load_concepts() if concepts is None else checked_concepts(concepts)
    directions_cj = concept_directions(backbone.encode_text, vocabulary)
    chosen = np.asarray(neurons, dtype=np.int64)
    by_agreement = _agreement(lake, hook_point, chosen, images, directions_cj, config)
    by_effect: Scores | None = None
    effect_by = None
    if config.with_effect:
        effect_by, own_nj, null_rj, null_neurons = _effects(lake, hook_point, chosen, images, config, on_progress)
        by_effect = effect(own_nj, null_rj, chosen[:, None] == null_neurons[None], directions_cj)
    n_routes = sum(route is not None for route in (by_agreement, by_effect))
    return [
        ConceptLabels(
            int(neuron),
            () if by_agreement is None else by_agreement.best(row, vocabulary),
            () if by_effect is None else by_effect.best(row, vocabulary),
            effect_by,
            config.level / max(1, n_routes),
        )
        for row, neuron in enumerate(chosen)
    ]


def _effects(
    lake: "Lake",
    hook_point: HookPoint,
    neurons: np.ndarray,
    images: Sequence[InputImage],
    config: LabelConfig,
    on_progress: Progress | None,
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """How effects were found, those of the neurons and of the null's neurons (n, joint), and the null's neurons."""
    writes = written_directions(lake.backbone, hook_point)
    if writes is not None:
        return "down-projection", writes.numpy()[neurons], writes.numpy(), np.arange(len(writes))
    normal_np = lake.store.patches(lake.normals_, hook_point).on_image().numpy().T
    varying = np.flatnonzero(np.ptp(normal_np, axis=1) > 0)
    null = np.random.default_rng([config.seed, hook_point.layer]).permutation(varying)[: config.n_random]
    used = [images[i] for i in _evenly(len(images), config.n_ablated_images)]
    every, ceilings = np.unique(np.concatenate([neurons, null])), normal_np.mean(1, dtype=np.float64)
    found = ablation_effects(lake.backbone, used, hook_point, every.tolist(), ceilings, on_progress)
    return "ablation", found[np.searchsorted(every, neurons)], found[np.searchsorted(every, null)], null


def _agreement(
    lake: "Lake",
    hook_point: HookPoint,
    neurons: np.ndarray,
    images: Sequence[InputImage],
    directions_cj: np.ndarray,
    config: LabelConfig,
) -> Scores | None:
    """The route by agreement, or None where the backbone's head does not act on single patches."""
    backbone, store = lake.backbone, lake.store
    joint_hook_point = backbone.joint_hook_point
    if joint_hook_point is None or not len(neurons):
        return None
    own_grid, joint_grid = backbone.grid(hook_point), backbone.grid(joint_hook_point)
    grid = finest([own_grid, joint_grid])
    store.ensure(images, {hook_point, joint_hook_point})
    to_own, to_joint = coarse_of_fine(grid, own_grid), coarse_of_fine(grid, joint_grid)
    chosen = torch.from_numpy(neurons)
    acts = torch.stack([store.get(image, hook_point)[:, chosen][to_own] for image in images])
    joint = torch.stack([store.get(image, joint_hook_point)[to_joint] for image in images])
    inside = np.stack([grid.inside(backbone.placement(image)) for image in images])
    shapes = [_shape(grid, row) for row in inside]
    maps_np, joint_pj = inside_maps(acts, inside), inside_maps(joint, inside).T
    return agreement(maps_np, joint_pj, directions_cj, shapes, config.n_draws, config.seed)


def _shape(grid: PatchGrid, inside: np.ndarray) -> tuple[int, int]:
    """Rows and columns of the patches that lie on an image, which are a rectangle."""
    on_rc = inside.reshape(grid.rows, grid.cols)
    return int(on_rc.any(1).sum()), int(on_rc.any(0).sum())


def _evenly(n: int, at_most: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, at_most))})
