"""Sensitivity of neurons over normal patches, and the selection of the top K (METHOD, section 1).

Variance over normal patches as the mark of an anomaly-sensitive neuron is from LAKE (Li et al., arXiv 2604.07802); the
other criteria are ours, as alternatives and controls.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.hooks import Site
from lake_core.config import Criterion


@dataclass(frozen=True, eq=False)
class Selection:
    """The selected neurons of one layer.

    Attributes:
        layer: Layer number.
        kind: Activation site.
        criterion: By which the neurons were ranked.
        sensitivity: (n_neurons,) float32, of every neuron of the layer.
        neurons: (k,) int64, the selected neurons, most sensitive first.
        order: (n_neurons,) int64, all neurons, most sensitive first.
    """

    layer: int
    site: Site
    criterion: Criterion
    sensitivity: np.ndarray = field(repr=False)
    neurons: np.ndarray = field(repr=False)
    order: np.ndarray = field(repr=False)

    @property
    def n_neurons(self) -> int:
        return len(self.sensitivity)

    @property
    def share_kept(self) -> float:
        """Sensitivity of the selected neurons as a share of the layer's total, 0 to 1."""
        total = float(self.sensitivity.sum(dtype=np.float64))
        return float(self.sensitivity[self.neurons].sum(dtype=np.float64)) / total if total > 0 else 0.0

    def cut(self, top_k: int) -> "Selection":
        """The same ranking cut at another K; "all" stays all."""
        k = self.n_neurons if self.criterion == "all" else min(top_k, self.n_neurons)
        return replace(self, neurons=self.order[:k].copy())

    def rank_of(self, neuron: int) -> int:
        """Rank of a neuron, from 1 for the most sensitive."""
        return int(np.flatnonzero(self.order == neuron)[0]) + 1


def variance(acts_nu: Tensor) -> Tensor:
    """Sample variance of each neuron; 0 for a single patch."""
    return acts_nu.var(0, correction=1) if len(acts_nu) > 1 else acts_nu.new_zeros(acts_nu.shape[1])


def robust_variance(acts_nu: Tensor) -> Tensor:
    """Squared 1.4826 x MAD: the variance of a normal distribution with that median absolute deviation."""
    values = acts_nu.cpu().numpy()
    deviations = np.abs(values - np.median(values, axis=0))
    return torch.from_numpy((1.4826 * np.median(deviations, axis=0)) ** 2)


def spread(acts_nu: Tensor) -> Tensor:
    """Range from the 0.01 to the 0.99 quantile."""
    low, high = np.quantile(acts_nu.cpu().numpy(), [0.01, 0.99], axis=0)
    return torch.from_numpy(high - low)


_MEASURES: dict[Criterion, Callable[[Tensor], Tensor]] = {
    "variance": variance,
    "robust": robust_variance,
    "range": spread,
    "random": variance,
    "all": variance,
}


def sensitivity(acts_nu: Tensor, criterion: Criterion) -> np.ndarray:
    """Sensitivity of each neuron of a layer.

    Args:
        acts_nu: (n_patches, n_neurons) float32, all patches of all normal images, not smoothed.
        criterion: "variance", "robust" or "range". The controls "random" and "all" do not rank by sensitivity; they
            report the variance.
    Returns:
        (n_neurons,) float32, >= 0.
    """
    return _MEASURES[criterion](acts_nu).cpu().numpy().astype(np.float32)


def select(
    acts_nu: Tensor, layer: int, site: Site, criterion: Criterion = "variance", top_k: int = 100, seed: int = 0
) -> Selection:
    """Selects the K most sensitive neurons; ties go to the lower index.

    Args:
        acts_nu: (n_patches, n_neurons) float32, all patches of all normal images.
        layer: Layer number, kept with the result; it also goes into the seed of "random".
        kind: Activation site, kept with the result.
        criterion: "random" selects K neurons by the seed alone, "all" selects every neuron.
        top_k: K; more than the layer has means all.
        seed: For "random".
    """
    values = sensitivity(acts_nu, criterion)
    n_neurons = len(values)
    if criterion == "random":
        order = np.random.default_rng([seed, layer]).permutation(n_neurons)
    else:
        order = np.argsort(-values, kind="stable")
    return Selection(layer, site, criterion, values, order, order).cut(top_k)


def jaccard(neurons_a: np.ndarray, neurons_b: np.ndarray) -> float:
    """Overlap of two selections of one layer: size of the intersection over size of the union, 0 to 1."""
    union = np.union1d(neurons_a, neurons_b)
    return len(np.intersect1d(neurons_a, neurons_b)) / len(union) if len(union) else 1.0
