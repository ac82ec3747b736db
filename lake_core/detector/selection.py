"""The selection of the top K neurons of a layer by a criterion (docs/method.md, section 1).

Variance over normal patches as the mark of an anomaly-sensitive neuron is from LAKE (Li et al., arXiv 2604.07802); the
other criteria, in `lake_core.criteria`, are ours: alternatives and controls.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from lake_core.criteria import criteria
from lake_core.sentences import quantity
from lake_core.types import Site
from lake_core.visualization.notebook import facts

_N_NAMED = 12
"""Neurons that a notebook names."""


@dataclass(frozen=True, eq=False)
class Selection:
    """The selected neurons of one layer.

    Attributes:
        layer: Layer number.
        site: Activation site.
        criterion: By which the neurons were ranked.
        sensitivity: (n_neurons,) float32, of every neuron of the layer.
        neurons: (k,) int64, the selected neurons, most sensitive first.
        order: (n_neurons,) int64, all neurons, most sensitive first.
    """

    layer: int
    site: Site
    criterion: str
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

    @property
    def kept(self) -> str:
        """What is kept, in words."""
        return f"{len(self.neurons)} of {quantity(self.n_neurons, 'neuron')}, {self.share_kept:.0%} of the sensitivity"

    def cut(self, top_k: int) -> "Selection":
        """The same ranking cut at another K; "all" stays all."""
        k = self.n_neurons if criteria()[self.criterion].keeps_all else min(top_k, self.n_neurons)
        return replace(self, neurons=self.order[:k].copy())

    def _repr_html_(self) -> str:
        """What a notebook shows: what is kept, and the most sensitive neurons."""
        first = self.neurons[:_N_NAMED].tolist()
        more = " ..." if len(self.neurons) > len(first) else ""
        return facts(
            f"Selection of layer {self.layer}",
            [
                ("site", self.site),
                ("criterion", self.criterion),
                ("kept", self.kept),
                ("most sensitive", ", ".join(map(str, first)) + more),
            ],
        )

    def rank_of(self, neuron: int) -> int:
        """Rank of a neuron, from 1 for the most sensitive."""
        return int(np.flatnonzero(self.order == neuron)[0]) + 1


def select(
    acts_ipn: Tensor,
    inside_ip: Tensor,
    layer: int,
    site: Site,
    criterion: str = "variance",
    top_k: int = 100,
    seed: int = 0,
) -> Selection:
    """Selects the K most sensitive neurons; ties go to the lower index.

    Args:
        acts_ipn: (n_images, n_patches, n_neurons) float32 activations of the normal images.
        inside_ip: (n_images, n_patches) bool, patches that lie on the image.
        layer: Layer number, kept with the result; it also goes into the seed of "random".
        site: Activation site, kept with the result.
        criterion: Name of the criterion.
        top_k: K; more than the layer has means all.
        seed: For criteria that draw at random.
    """
    ranking = criteria()[criterion]
    sensitivity = ranking.sensitivity(acts_ipn, inside_ip, layer)
    order = ranking.order(sensitivity, layer, seed)
    return Selection(layer, site, criterion, sensitivity, order, order).cut(top_k)


def jaccard(neurons_a: np.ndarray, neurons_b: np.ndarray) -> float:
    """Overlap of two selections of one layer: size of the intersection over size of the union, 0 to 1."""
    union = np.union1d(neurons_a, neurons_b)
    return len(np.intersect1d(neurons_a, neurons_b)) / len(union) if len(union) else 1.0
