"""Ablation from the score: what selected neurons contribute, beside random draws (docs/method.md, section 6).

The score, the map and the decision are computed again without some selected neurons, from stored activations: vectors
are scaled to unit length in the subspace that remains, and memory bank, nearest neighbours and tau follow from it. The
other selected neurons, the text part and the weights stay. The network never runs, so this tells what a score is made
of, not what the network would do: for that there are `causal_ablation` and `activation_patching`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from lake_core.data.images import InputImage
from lake_core.detector.image_scores import image_scores
from lake_core.detector.lake import Lake
from lake_core.detector.layer_matches import Evidence
from lake_core.detector.memory_bank import LayerMemoryBank, fit_layer
from lake_core.detector.result import ImageResult
from lake_core.experiments.comparison import ScoreComparison, checked_labels, compare_scores
from lake_core.experiments.neuron_sets import (
    DEFAULT_DRAWS,
    RandomDraws,
    all_selected,
    checked_neurons,
    is_mixed,
    matched_draws,
    rank_among,
)
from lake_core.findings.fits import FitWarning, LayerAblated
from lake_core.findings.neurons import AblationFinding, ControlFinding, Quantity, Rank, RankFinding
from lake_core.metrics.image_metrics import known_auroc
from lake_core.types import Labels, Neurons, Progress, counted
from lake_core.visualization.notebook import as_sentence

# The detector without them -------------------------------------------------------------------------------------------


def ablated(lake: Lake, neurons: Neurons) -> Lake:
    """The detector without some of its selected neurons; its results are results like any others.

    A layer keeps its place in the mean over layers. Where none of its neurons is left, the distance over its empty
    subspace is 0 at every patch; without any neuron of any layer the visual map is 0. A layer whose remaining neurons
    do not vary over the normal images cannot be calibrated and counts as ablated, with a warning.

    Args:
        lake: Fitted.
        neurons: Layer number -> selected neurons; may be empty.
    Returns:
        A detector whose `threshold_` comes from the normal images' leave-one-out scores without the neurons, unless a
        threshold was set by hand.
    Raises:
        ConfigError: if a neuron is not selected.
    """
    chosen = checked_neurons(lake, neurons)
    memory_bank = lake.fitted()
    warnings = list(memory_bank.warnings)
    layers = [
        _without(lake, layer, chosen[layer.selection.layer], warnings) if layer.selection.layer in chosen else layer
        for layer in memory_bank.layers
    ]
    return lake.with_memory_bank(replace(memory_bank, layers=tuple(layers), warnings=tuple(warnings)))


def _without(lake: Lake, layer: LayerMemoryBank, neurons: np.ndarray, warnings: list[FitWarning]) -> LayerMemoryBank:
    """The layer learned again in the subspace of its other neurons."""
    number = layer.selection.layer
    left = layer.selection.neurons[~np.isin(layer.selection.neurons, neurons)]
    if len(left):
        again = fit_layer(
            *lake.normal_patches(number),
            replace(layer.selection, neurons=left),
            layer.geometry,
            lake.config,
        )
        if again.tau > 0:
            return again
        warnings.append(LayerAblated(number))
    # Distances over an empty subspace are 0, whatever divides them.
    return replace(
        layer,
        selection=replace(layer.selection, neurons=left[:0]),
        bank=layer.bank[:, :0],
        tau=1.0,
        own_distance=torch.zeros_like(layer.own_distance),
    )


# What it does to one image and to many -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ScoreAblation:
    """What ablating neurons does to one image.

    Attributes:
        neurons: Layer number -> ablated neurons, ascending.
        before, after: The image's result with all neurons and without them, each with its own threshold.
        warnings: What could not be kept.
    """

    neurons: dict[int, np.ndarray]
    before: ImageResult
    after: ImageResult
    warnings: tuple[FitWarning, ...] = ()

    @property
    def n_neurons(self) -> int:
        return sum(len(chosen) for chosen in self.neurons.values())

    @property
    def change(self) -> float:
        """Score after less score before."""
        return self.after.score - self.before.score

    @property
    def evidence_before(self) -> list[Evidence]:
        """The nearest normal patches of the max-scoring patch before, in the layers that still have neurons."""
        left = {found.layer for found in self.evidence_after}
        return [found for found in self.before.evidence() if found.layer in left]

    @property
    def evidence_after(self) -> list[Evidence]:
        """The same patch's nearest normal patches now."""
        return self.after.evidence(self.before.patch)

    _repr_html_ = as_sentence

    @property
    def finding(self) -> AblationFinding:
        before, after = self.before, self.after
        return AblationFinding(
            self.n_neurons,
            before.score,
            after.score,
            before.threshold,
            after.threshold,
            bool(before.is_anomalous),
            bool(after.is_anomalous),
        )


def ablate(lake: Lake, neurons: Neurons, image: InputImage) -> ScoreAblation:
    """Ablates neurons from the score of one image.

    Args:
        lake: Fitted.
        neurons: Layer number -> selected neurons.
    Raises:
        ConfigError: if a neuron is not selected.
    """
    return compare_ablated(lake, ablated(lake, neurons), lake.explain(image))


def compare_ablated(lake: Lake, reduced: Lake, before: ImageResult) -> ScoreAblation:
    """One image's score by a detector, and by the same without some neurons, `ablated(lake, ...)`.

    Args:
        before: What `lake` found on the image.
    """
    gone = {
        layer: np.setdiff1d(selection.neurons, reduced.selection_[layer].neurons)
        for layer, selection in lake.selection_.items()
    }
    warnings = tuple(found for found in reduced.memory_bank_.warnings if found not in lake.memory_bank_.warnings)
    neurons = {layer: chosen for layer, chosen in gone.items() if len(chosen)}
    return ScoreAblation(neurons, before, reduced.explain(before.image), warnings)


def ablate_tests(
    lake: Lake,
    neurons: Neurons,
    results: Sequence[ImageResult],
    labels: Labels | None = None,
    on_progress: Progress | None = None,
) -> ScoreComparison:
    """Ablates neurons from the scores of many images.

    Args:
        lake: Fitted.
        neurons: Layer number -> selected neurons.
        results: What `lake` found on any number of images.
        labels: One per image, or None.
        on_progress: Called after each image with images done and in all; may raise to cancel.
    """
    return compare_scores(lake, ablated(lake, neurons), results, labels, on_progress)


# Beside random draws -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ScoreAblationControl:
    """The same with random selected neurons.

    Attributes:
        draws: The neurons of each draw, from `matched_draws`.
        change: Change of the image's score by the chosen neurons.
        changes: (n_draws,) float64, by each draw.
        rank: Of the change among them, by size.
        auroc_change: Change of the AUROC by the chosen neurons, or None without test images of both labels.
        auroc_changes: (n_draws,) float64, by each draw, or None.
        auroc_rank: Of the change of the AUROC, or None.
        n_layers: Layers of the chosen neurons.
    """

    draws: list[dict[int, np.ndarray]] = field(repr=False)
    change: float
    changes: np.ndarray = field(repr=False)
    rank: Rank
    auroc_change: float | None
    auroc_changes: np.ndarray | None = field(repr=False)
    auroc_rank: Rank | None
    n_layers: int

    _repr_html_ = as_sentence

    @property
    def finding(self) -> ControlFinding:
        ranks: list[tuple[Quantity, Rank | None]] = [("score", self.rank), ("AUROC", self.auroc_rank)]
        return ControlFinding(
            tuple(RankFinding(what, rank, "selected", self.n_layers) for what, rank in ranks if rank is not None)
        )


def ablation_control(
    lake: Lake,
    neurons: Neurons,
    result: ImageResult,
    results: Sequence[ImageResult] = (),
    labels: Labels | None = None,
    draws: RandomDraws = DEFAULT_DRAWS,
    on_progress: Progress | None = None,
) -> ScoreAblationControl:
    """Compares ablating neurons with ablating as many random selected neurons.

    Args:
        lake: Fitted.
        neurons: Layer number -> selected neurons. Where a layer has too few others to draw from, draws hold some of
            the chosen ones, and where all its neurons are chosen, nothing can be drawn.
        result: What `lake` found on the image whose score is looked at.
        results: The same of test images, for the AUROC; none leaves it out, which is faster.
        labels: One per test image.
        draws: How many, and their seed.
        on_progress: Called after each draw with draws done and in all; may raise to cancel.
    """
    chosen = checked_neurons(lake, neurons)
    known = checked_labels(results, labels)
    with_auroc = {True, False} <= set(known)
    before = {one.image.sha256: one for one in ([result, *results] if with_auroc else [result])}

    def outcome(scores: dict[str, float]) -> np.ndarray:
        auroc = known_auroc(known, [scores[one.image.sha256] for one in results]) if with_auroc else None
        return np.array([scores[result.image.sha256], auroc or 0.0])

    own = outcome({sha256: one.score for sha256, one in before.items()})

    def changes_by(without: Lake) -> np.ndarray:
        scores = image_scores(without, [one.image for one in before.values()])
        changes: np.ndarray = outcome(dict(zip(before, scores.tolist(), strict=True))) - own
        return changes

    change, auroc_change = changes_by(ablated(lake, chosen)).tolist()
    drawn = matched_draws(chosen, all_selected(lake), draws)
    found = [changes_by(ablated(lake, draw)) for draw in counted(drawn, on_progress)]
    changes, auroc_changes = np.array(found, dtype=np.float64).reshape(-1, 2).T
    mixed = is_mixed(chosen, drawn)
    return ScoreAblationControl(
        drawn,
        change,
        changes,
        rank_among(change, changes, mixed),
        auroc_change if with_auroc else None,
        auroc_changes if with_auroc else None,
        rank_among(auroc_change, auroc_changes, mixed) if with_auroc else None,
        len(chosen),
    )
