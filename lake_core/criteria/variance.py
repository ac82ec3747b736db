"""Variance over normal patches: LAKE's own criterion (Li et al., arXiv 2604.07802)."""

from typing import TYPE_CHECKING

import numpy as np

from lake_core.criteria.base import Criterion

if TYPE_CHECKING:
    from torch import Tensor


class Variance(Criterion):
    """Sample variance over all patches of all normal images; 0 for a single patch."""

    name = "variance"
    title = "variance (LAKE)"
    statistic = "variance of the activation"

    def sensitivity(self, acts_ipn: "Tensor", inside_ip: "Tensor", layer: int) -> np.ndarray:
        acts_pn = acts_ipn[inside_ip]
        if len(acts_pn) < 2:
            return np.zeros(acts_pn.shape[1], np.float32)
        return acts_pn.var(0, correction=1).cpu().numpy().astype(np.float32)
