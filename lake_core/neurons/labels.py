"""Concept labels for neurons by both routes, and the control: as many labels from words that mean nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.patch_grid import PatchGrid, coarse_of_fine
from lake_core.data.images import InputImage
from lake_core.detector.memory_bank import finest
from lake_core.findings.labels import NonsenseFinding
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
from lake_core.neurons.effects import ablation_effects, written_directions
from lake_core.neurons.nonsense import nonsense_finding, nonsense_words
from lake_core.types import HookPoint, Progress
from lake_core.visualization.notebook import as_sentence

if TYPE_CHECKING:
    from lake_core.detector.lake import Lake


@dataclass(frozen=True)
class LabelConfig:
    """How concept labels are tested.

    Attributes:
        with_effect: Also take the route by effect. By ablation it costs a pass through the rest of the
            network for each image and neuron.
        n_draws: Draws of the nulls of the agreement.
        n_random: Random neurons of the layer that make the null of an effect by ablation, among those that vary over
            the normal images; 39 besides the neuron itself must have an effect, or p-values cannot reach 0.05 / 2.
        n_ablated_images: Images used for ablation, evenly taken from those given.
        level: Share of neurons without meaning that may get a label, both routes together.
        seed: Of the nulls, and of the nonsense words.
    """

    with_effect: bool = True
    n_draws: int = 199
    n_random: int = 44
    n_ablated_images: int = 6
    level: float = LEVEL
    seed: int = 0


DEFAULT_LABELS = LabelConfig()


@dataclass(frozen=True, eq=False)
class ControlledLabels:
    """Concept labels of neurons, and what the same tests give with words that mean nothing.

    Attributes:
        labels: One for each neuron.
        nonsense: The same from `words`.
        words: As many nonsense words as there are concepts, each as long as one of them.
        finding: How often either vocabulary gives a label.
    """

    labels: tuple[ConceptLabels, ...] = field(repr=False)
    nonsense: tuple[ConceptLabels, ...] = field(repr=False)
    words: tuple[str, ...] = field(repr=False)
    finding: NonsenseFinding

    _repr_html_ = as_sentence


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
        on_progress: Called with neurons done and in all, by agreement and then while ablating; may raise to cancel.
    Returns:
        One for each of `neurons`, in that order.
    """
    vocabulary = load_concepts() if concepts is None else checked_concepts(concepts)
    return _labels(lake, layer, neurons, images, [vocabulary], config, on_progress)[0]


def label_with_control(
    lake: "Lake",
    layer: int,
    neurons: Sequence[int],
    images: Sequence[InputImage],
    concepts: Sequence[str] | None = None,
    config: LabelConfig = DEFAULT_LABELS,
    on_progress: Progress | None = None,
) -> ControlledLabels:
    """The labels of `label_concepts`, and those that as many nonsense words would get by the same tests.

    The nonsense words go through the same templates, and are tested against the same draws of both nulls. The control
    is about all the neurons together: whether real words give a label more often than nonsense does.

    Args:
        lake, layer, neurons, images, concepts, config, on_progress: As for `label_concepts`.
    """
    vocabulary = load_concepts() if concepts is None else checked_concepts(concepts)
    words = nonsense_words(vocabulary, config.seed)
    real, nonsense = _labels(lake, layer, neurons, images, [vocabulary, words], config, on_progress)
    finding = nonsense_finding(_has_label(real), _has_label(nonsense), config.level)
    return ControlledLabels(tuple(real), tuple(nonsense), words, finding)


def _has_label(labels: Sequence[ConceptLabels]) -> np.ndarray:
    return np.array([bool(one.concepts) for one in labels], dtype=bool)


def n_label_passes(
    backbone: Backbone,
    hook_point: HookPoint,
    n_images: int,
    n_neurons: int = 1,
    config: LabelConfig = DEFAULT_LABELS,
) -> float:
    """About how many whole passes of an image it takes to label so many neurons of a hook point, at most.

    A pass from the hook point's layer on counts by its share of the layers; the control costs none.
    """
    if not config.with_effect or written_directions(backbone, hook_point) is not None:
        return 0.0
    share = 1 - (hook_point.layer - 1) / len(backbone.layers)
    return (1 + share * (1 + n_neurons + config.n_random)) * min(n_images, config.n_ablated_images)


def _labels(
    lake: "Lake",
    layer: int,
    neurons: Sequence[int],
    images: Sequence[InputImage],
    vocabularies: Sequence[tuple[str, ...]],
    config: LabelConfig,
    on_progress: Progress | None,
) -> list[list[ConceptLabels]]:
    """For each vocabulary the labels of the neurons."""
    hook_point = lake.backbone.hook_point(layer, lake.config.site)
    directions = [concept_directions(lake.backbone.encode_text, words) for words in vocabularies]
    chosen = np.asarray(neurons, dtype=np.int64)
    by_agreement = _agreement(lake, hook_point, chosen, images, directions, config, on_progress)
    by_effect: list[Scores] | None = None
    effect_by = None
    if config.with_effect:
        effect_by, own_nj, null_rj, null_neurons = _effects(lake, hook_point, chosen, images, config, on_progress)
        is_own_nr = chosen[:, None] == null_neurons[None]
        by_effect = [effect(own_nj, null_rj, is_own_nr, directions_cj) for directions_cj in directions]
    n_routes = sum(route is not None for route in (by_agreement, by_effect))
    return [
        [
            ConceptLabels(
                int(neuron),
                () if by_agreement is None else by_agreement[i].best(row, words),
                () if by_effect is None else by_effect[i].best(row, words),
                effect_by,
                config.level / max(1, n_routes),
            )
            for row, neuron in enumerate(chosen)
        ]
        for i, words in enumerate(vocabularies)
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
    directions: Sequence[np.ndarray],
    config: LabelConfig,
    on_progress: Progress | None,
) -> list[Scores] | None:
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
    return agreement(maps_np, joint_pj, directions, shapes, config.n_draws, config.seed, on_progress)


def _shape(grid: PatchGrid, inside: np.ndarray) -> tuple[int, int]:
    """Rows and columns of the patches that lie on an image, which are a rectangle."""
    on_rc = inside.reshape(grid.rows, grid.cols)
    return int(on_rc.any(1).sum()), int(on_rc.any(0).sum())


def _evenly(n: int, at_most: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, at_most))})
