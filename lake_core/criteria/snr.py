"""Signal to noise: differences between places that all normal images share, against differences between the images."""

from typing import TYPE_CHECKING

import numpy as np

from lake_core.criteria.base import Criterion
from lake_core.criteria.position_mean import PositionMean

if TYPE_CHECKING:
    from torch import Tensor

_NOISE_FLOOR = 1e-6


class SignalToNoise(Criterion):
    """Variance between positions over variance between images; ours.

    Signal is that of `position_mean`. Noise is the sample variance over images at one position, averaged over the
    positions that at least two images have. To the noise of each neuron a millionth of the layer's mean signal is
    added, so that the ratio is finite: neurons without noise come first and are ranked by their signal. With a single
    normal image no neuron has noise, and the ranking is that of the variance.
    """

    name = "snr"
    title = "signal to noise (positions ÷ images)"
    statistic = "signal-to-noise ratio of the activation"

    def sensitivity(self, acts_ipn: "Tensor", inside_ip: "Tensor", layer: int) -> np.ndarray:
        signal = PositionMean().sensitivity(acts_ipn, inside_ip, layer).astype(np.float64)
        floor = _NOISE_FLOOR * signal.mean()
        if floor == 0:
            return np.zeros(len(signal), np.float32)
        return np.asarray(signal / (_noise(acts_ipn, inside_ip) + floor), np.float32)


def _noise(acts_ipn: "Tensor", inside_ip: "Tensor") -> np.ndarray:
    """(n_neurons,) float64, the mean over positions of the sample variance over images; 0 with a single image."""
    is_repeated = inside_ip.sum(0) > 1
    if not is_repeated.any():
        return np.zeros(acts_ipn.shape[2])
    outside_ip1, acts_ipn = ~inside_ip[:, is_repeated, None], acts_ipn[:, is_repeated]
    n_images_p1 = (~outside_ip1).sum(0)
    mean_pn = acts_ipn.masked_fill(outside_ip1, 0).sum(0) / n_images_p1
    squares_pn = (acts_ipn - mean_pn).masked_fill(outside_ip1, 0).square().sum(0)
    return np.asarray((squares_pn / (n_images_p1 - 1)).mean(0).cpu(), np.float64)
