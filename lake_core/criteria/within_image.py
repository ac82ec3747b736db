"""Variance within an image: what makes images differ from each other has no part in it."""

from typing import TYPE_CHECKING

import numpy as np

from lake_core.criteria.base import Criterion
from lake_core.criteria.variance import Variance

if TYPE_CHECKING:
    from torch import Tensor


class WithinImage(Criterion):
    """Sample variance over the patches of an image, averaged over the images; ours."""

    name = "within_image"
    title = "variance within an image"
    statistic = "variance of the activation within an image"

    def sensitivity(self, acts_ipn: "Tensor", inside_ip: "Tensor", layer: int) -> np.ndarray:
        images = [slice(i, i + 1) for i in range(len(acts_ipn))]
        of_images = [Variance().sensitivity(acts_ipn[one], inside_ip[one], layer) for one in images]
        return np.asarray(np.mean(of_images, axis=0), np.float32)
