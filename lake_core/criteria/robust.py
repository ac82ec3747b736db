"""Robust variance over normal patches, which single outlying patches do not move."""

from typing import TYPE_CHECKING

import numpy as np

from lake_core.criteria.base import Criterion

if TYPE_CHECKING:
    from torch import Tensor


class RobustVariance(Criterion):
    """Squared 1.4826 x MAD: the variance of a normal distribution with that median absolute deviation."""

    name = "robust"
    title = "robust variance (MAD)"
    statistic = "robust variance of the activation"

    def sensitivity(self, acts_ipn: "Tensor", inside_ip: "Tensor", layer: int) -> np.ndarray:
        acts_pn = acts_ipn[inside_ip].cpu().numpy()
        deviations = np.abs(acts_pn - np.median(acts_pn, axis=0))
        return np.asarray((1.4826 * np.median(deviations, axis=0)) ** 2, dtype=np.float32)
