"""What the tests of interventions choose: neurons, a layer, labels of their images, no random draws."""

from lake_core.detector.lake import Lake
from lake_core.experiments.neuron_sets import RandomDraws

LABELS = [False, True, None, True]
"""Labels of four images, one unknown."""

NO_DRAWS = RandomDraws(0)


def three_of_each(lake: Lake) -> dict[int, list[int]]:
    """Three neurons of each layer: the most sensitive, the least of the selected, and one between."""
    return {layer: [int(s.neurons[0]), int(s.neurons[3]), int(s.neurons[-1])] for layer, s in lake.selection_.items()}


def early(lake: Lake) -> int:
    """A layer of the score with others after it."""
    return lake.config.layers[-2]
