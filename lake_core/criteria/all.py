"""The control without a selection: every neuron is kept."""

from lake_core.criteria.variance import Variance


class All(Variance):
    """All neurons, most sensitive first; the sensitivity reported is the variance."""

    name = "all"
    title = "all neurons (control)"
    is_control = True
    keeps_all = True
