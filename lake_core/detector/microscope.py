"""A result as the microscope shows it: the arrays of its score, its layers and the nearest normal patches."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lake_core.backbones.patch_grid import coarse_of_fine
from lake_core.detector.layer_matches import LayerMatches
from lake_core.detector.scoring import PatchScores
from lake_core.detector.search import Geometry
from lake_core.errors import LakeError
from lake_core.visualization.colours import score_scale
from lake_core.visualization.microscope.view import LayerView, NeuronNote, OtherImage, PlacedImage, ScoredImage

if TYPE_CHECKING:
    from lake_core.detector.result import ImageResult

_THRESHOLDS = 3
"""The colour scale ends at about so many thresholds: one scale for all images of a detector, whichever are shown."""


def scored_image(
    result: "ImageResult",
    watched: Sequence[PatchScores] = (),
    notes: Mapping[tuple[int, int], NeuronNote] | None = None,
    fixed: int | None = None,
    other: "ImageResult | None" = None,
    pending: Sequence[int] = (),
    vmax: float | None = None,
) -> ScoredImage:
    """What the microscope shows of a result.

    Args:
        result: The image's result.
        watched: The same image's maps by other layers, learned from the same normal images. Their layers are shown
            beside those of the score and marked as outside of it; a layer that takes part in the score is never
            replaced.
        notes: (layer, neuron) -> AUROC and concept label, where known.
        fixed: The patch that is fixed from the start, or None.
        other: Result of a second image by the same detector, to see the neurons of the score on both; or None.
        pending: Numbers of layers that are still being computed: room is kept for them.
        vmax: Where the colours of scores end; None takes a round number above three thresholds.
    Raises:
        LakeError: for another detector's result, another image's map, or if all neurons of the score are ablated.
    """
    scores = result.patch_scores
    for one in watched:
        if one.image != result.image:
            raise LakeError(f"A watched map is of {one.image.name}, not of {result.image.name}.")
    weight = (1 - result.fusion_weight) / len(scores.layers)
    in_score = {matches.memory_bank.selection.layer: matches for matches in scores.layers}
    others = {m.memory_bank.selection.layer: m for one in watched for m in one.layers}
    layers = [
        _layer_view(matches, scores, weight, number in in_score)
        for number, matches in sorted((others | in_score).items())
        if len(matches.memory_bank.selection.neurons)
    ]
    if not any(layer.in_score for layer in layers):
        raise LakeError("All neurons of the score are ablated, so there is none to look at.")
    return ScoredImage(
        shown=PlacedImage(result.image, scores.placement),
        grid=scores.grid,
        inside=scores.inside,
        score_map=result.map.reshape(-1),
        visual_map=scores.visual,
        text_map=scores.text,
        score=result.score,
        threshold=result.threshold,
        is_anomalous=bool(result.is_anomalous),
        fusion_weight=result.fusion_weight,
        patches=result.patches,
        vmax=vmax or score_scale([_THRESHOLDS * result.threshold], result.threshold).vmax,
        value_of_one=result.reference.value_of_one,
        activation=_activation(scores.layers[0].memory_bank.geometry),
        layers=tuple(layers),
        normals=result.reference.normals,
        notes=dict(notes or {}),
        fixed=fixed,
        other=None if other is None else _other(other, result, layers),
        pending=tuple(pending),
    )


def good_image_beside(shown: int, labels: Sequence[bool | None], scores: Sequence[float]) -> int | None:
    """The image to compare one with: the other that looks most normal.

    Args:
        shown: Index of the image that is compared.
        labels: One per image: True where defective, False where good, None without a label.
        scores: Their image scores.
    Returns:
        The index of the lowest score, of the other images labelled good, else of all others; None where there is none.
    """
    others = [index for index in range(len(scores)) if index != shown]
    good = [index for index in others if labels[index] is False]
    return min(good or others, key=lambda index: scores[index], default=None)


def _other(other: "ImageResult", result: "ImageResult", layers: Sequence[LayerView]) -> OtherImage:
    banks = [[matches.memory_bank for matches in one.patch_scores.layers] for one in (result, other)]
    if len(banks[0]) != len(banks[1]) or any(a is not b for a, b in zip(*banks, strict=True)):
        raise LakeError(f"The result of {other.image.name} is by another detector than that of {result.image.name}.")
    patches = {matches.memory_bank.selection.layer: matches.patches for matches in other.patch_scores.layers}
    return OtherImage(
        PlacedImage(other.image, other.patch_scores.placement),
        other.score,
        bool(other.is_anomalous),
        other.patch_scores.inside,
        {layer.layer: patches[layer.layer][layer.patches].numpy() for layer in layers if layer.in_score},
    )


def _layer_view(matches: LayerMatches, scores: PatchScores, weight: float, in_score: bool) -> LayerView:
    learned = matches.memory_bank
    selection = learned.selection
    rank_of = np.empty(selection.n_neurons, dtype=np.int64)
    rank_of[selection.order] = np.arange(1, selection.n_neurons + 1)
    patches, under = np.unique(coarse_of_fine(scores.grid, learned.grid), return_inverse=True)
    neighbour = matches.neighbour[patches]
    here = matches.patches[patches]
    return LayerView(
        layer=selection.layer,
        in_score=in_score,
        tau=learned.tau,
        weight=weight,
        grid=learned.grid,
        neurons=selection.neurons,
        ranks=rank_of[selection.neurons],
        n_neurons=selection.n_neurons,
        patches=patches,
        here=here.numpy(),
        difference=(here - learned.bank[neighbour]).numpy(),
        normal_image=learned.bank_image[neighbour].numpy(),
        normal_patch=learned.bank_patch[neighbour].numpy(),
        under=under.reshape(-1),
        own_map=np.where(learned.grid.inside(scores.placement), (matches.distance / learned.tau).numpy(), np.nan),
    )


def _activation(geometry: Geometry) -> str:
    """How activations are made, in words."""
    smooth, unit = geometry.smooth > 1, geometry.normalise == "unit"
    made = [
        *([f"averaged over {geometry.smooth} x {geometry.smooth} patches"] if smooth else []),
        *(["scaled so that the selected neurons of a layer have length 1"] if unit else []),
    ]
    return " and ".join(made) or "as the network has them"
