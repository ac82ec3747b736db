"""Two detectors side by side: the neurons they have in common, and the difference of their AUROCs."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lake_core.detector.lake import Lake
from lake_core.detector.selection import Selection, jaccard
from lake_core.errors import LakeError
from lake_core.metrics.bootstrap import Interval, Resampling, interval
from lake_core.metrics.image_metrics import auroc


@dataclass(frozen=True, eq=False)
class Overlap:
    """The neurons that two detectors select in one layer.

    Attributes:
        n_neurons: Neurons that the layer has.
        common: (n,) int64, selected by both, most sensitive (to the first detector) first.
        only_first: (n,) int64, selected by the first alone.
        only_second: (n,) int64, selected by the second alone.
        jaccard: Size of the intersection over size of the union, 0 to 1.
        by_chance: The Jaccard overlap to expect of two random selections of these sizes.
    """

    layer: int
    n_neurons: int
    common: np.ndarray = field(repr=False)
    only_first: np.ndarray = field(repr=False)
    only_second: np.ndarray = field(repr=False)
    jaccard: float
    by_chance: float


class Difference(NamedTuple):
    """AUROC of the first detector less that of the second, with its bootstrap interval over images."""

    value: float
    bounds: Interval


def overlaps(first: Lake, second: Lake) -> list[Overlap]:
    """The neurons that two fitted detectors select, for each layer that both look at.

    Raises:
        LakeError: where there is nothing to compare: neurons of different networks, kinds or layers are different
            neurons.
    """
    if first.backbone.spec != second.backbone.spec:
        raise LakeError(
            f"Neurons of {first.backbone.spec} and {second.backbone.spec} are different neurons: those of two "
            "backbones cannot be matched one by one."
        )
    if first.config.site != second.config.site:
        raise LakeError("Hidden neurons and channels are different neurons: a selection of one has none of the other.")
    layers = sorted(first.selection_.keys() & second.selection_.keys())
    if not layers:
        ours, theirs = (", ".join(map(str, lake.selection_)) for lake in (first, second))
        raise LakeError(f"There is no layer in common (layers {ours} and {theirs}), so there is no neuron in common.")
    return [_overlap(first.selection_[layer], second.selection_[layer]) for layer in layers]


def auroc_difference(labels: ArrayLike, first: ArrayLike, second: ArrayLike) -> Difference | None:
    """How much better the first scores separate, with both judged on the same bootstrap draws of images.

    Args:
        labels: (n,) bool, True where defective.
        first, second: (n,) scores of the same images.
    Returns:
        None if there is one class only.
    """
    ours, theirs = auroc(labels, first), auroc(labels, second)
    drawn = Resampling.of(labels)
    if ours is None or theirs is None or drawn is None:
        return None
    return Difference(ours - theirs, interval(drawn.draws(first).auroc - drawn.draws(second).auroc))


def _overlap(first: Selection, second: Selection) -> Overlap:
    in_both = np.isin(first.neurons, second.neurons)
    n_first, n_second = len(first.neurons), len(second.neurons)
    expected = n_first * n_second / first.n_neurons
    return Overlap(
        first.layer,
        first.n_neurons,
        first.neurons[in_both],
        first.neurons[~in_both],
        second.neurons[~np.isin(second.neurons, first.neurons)],
        jaccard(first.neurons, second.neurons),
        expected / (n_first + n_second - expected),
    )
