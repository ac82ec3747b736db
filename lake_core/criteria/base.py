"""What a ranking criterion is."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


class Criterion(ABC):
    """Ranks the neurons of a layer by a sensitivity computed from the normal images' activations.

    Attributes:
        name: As in `LakeConfig.criterion` and `--criterion`.
        title: As shown in the sidebar.
        statistic: What the sensitivity is, for axes: "variance of the activation".
        is_control: Whether it is a control rather than a ranking: the sensitivity is then only reported.
        keeps_all: Whether every neuron is selected, whatever K is.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    statistic: ClassVar[str]
    is_control: ClassVar[bool] = False
    keeps_all: ClassVar[bool] = False

    @abstractmethod
    def sensitivity(self, acts_ipn: "Tensor", inside_ip: "Tensor", layer: int) -> np.ndarray:
        """How strongly each neuron varies over the normal images.

        Args:
            acts_ipn: (n_images, n_patches, n_neurons) float32 activations of the normal images, not smoothed.
            inside_ip: (n_images, n_patches) bool, patches that lie on the image; the others must not count.
            layer: Layer number, from 1.
        Returns:
            (n_neurons,) float32, >= 0 and finite.
        """

    def order(self, sensitivity: np.ndarray, layer: int, seed: int) -> np.ndarray:
        """(n_neurons,) int64, the neurons in the order in which they are selected; ties go to the lower index.

        Args:
            sensitivity: (n_neurons,) from `sensitivity`.
            layer: Layer number, from 1.
            seed: For criteria that draw at random.
        """
        return np.argsort(-sensitivity, kind="stable")
