"""Variance of a neuron's mean image: how much the neuron differs from place to place on all normal images alike."""

from typing import TYPE_CHECKING

import numpy as np

from lake_core.criteria.base import Criterion
from lake_core.criteria.variance import Variance

if TYPE_CHECKING:
    from torch import Tensor


class PositionMean(Criterion):
    """Sample variance, over patch positions, of the mean over images; ours.

    A position's mean is over the images that have a patch there. With a single image this is the variance.
    """

    name = "position_mean"
    title = "variance of the mean image"
    statistic = "variance of the activation's mean over images"

    def sensitivity(self, acts_ipn: "Tensor", inside_ip: "Tensor", layer: int) -> np.ndarray:
        n_images_p = inside_ip.sum(0)
        is_seen = n_images_p > 0
        total_pn = acts_ipn.masked_fill(~inside_ip[..., None], 0).sum(0)
        mean_pn = total_pn[is_seen] / n_images_p[is_seen, None]
        return Variance().sensitivity(mean_pn[None], inside_ip.new_ones(1, len(mean_pn)), layer)
