"""Range over normal patches, from quantile to quantile."""

from typing import TYPE_CHECKING

import numpy as np

from lake_core.criteria.base import Criterion

if TYPE_CHECKING:
    from torch import Tensor


class Range(Criterion):
    """Range from the 0.01 to the 0.99 quantile over all patches of all normal images."""

    name = "range"
    title = "range (q99 − q01)"
    statistic = "range of the activation"

    def sensitivity(self, acts_ipn: "Tensor", inside_ip: "Tensor", layer: int) -> np.ndarray:
        low, high = np.quantile(acts_ipn[inside_ip].cpu().numpy(), [0.01, 0.99], axis=0)
        return np.asarray(high - low, dtype=np.float32)
