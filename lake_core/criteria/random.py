"""The random control: as many neurons, chosen by a seed alone."""

import numpy as np

from lake_core.criteria.variance import Variance


class Random(Variance):
    """Neurons in random order; the sensitivity reported is the variance."""

    name = "random"
    title = "random neurons (control)"
    is_control = True

    def order(self, sensitivity: np.ndarray, layer: int, seed: int) -> np.ndarray:
        return np.random.default_rng([seed, layer]).permutation(len(sensitivity))
