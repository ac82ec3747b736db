"""The ranking behind a selection: what other criteria select, and the shape of the ranked curve.

Everything here reads the normal images' stored activations; the network never runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lake_core.criteria import criteria
from lake_core.detector.lake import Lake
from lake_core.detector.selection import Selection, jaccard, select

RANKINGS = tuple(name for name, one in criteria().items() if not one.keeps_all)


@dataclass(frozen=True, eq=False)
class CriteriaComparison:
    """What different criteria select, and how much they agree.

    Attributes:
        selections: Layer number -> criterion -> its selection.
        jaccard: Layer number -> square table of the overlaps, criteria as rows and columns, 1 on the diagonal.
    """

    selections: dict[int, dict[str, Selection]] = field(repr=False)
    jaccard: dict[int, pd.DataFrame]


def compare_criteria(lake: Lake, names: Sequence[str] = RANKINGS) -> CriteriaComparison:
    """Selects neurons by each criterion from the fitted normal images; K and seed are the detector's own."""
    lake.fitted()
    config = lake.config
    selections: dict[int, dict[str, Selection]] = {}
    for layer in lake.selection_:
        patches = lake.normal_patches(layer)
        selections[layer] = {
            name: select(*patches, layer, config.site, name, config.k_of(layer), config.seed) for name in names
        }
    overlaps = {
        layer: pd.DataFrame(
            [[jaccard(found[a].neurons, found[b].neurons) for b in names] for a in names],
            index=list(names),
            columns=list(names),
        )
        for layer, found in selections.items()
    }
    return CriteriaComparison(selections, overlaps)


def participation_ratio(sensitivity: np.ndarray) -> float:
    """Participation ratio (sum s)^2 / sum s^2: over how many neurons the sensitivity is spread.

    It counts neurons, not directions: correlated neurons count each.

    Args:
        sensitivity: (n_neurons,) >= 0.
    Returns:
        From 1 (one neuron has it all) to n_neurons (all equal); 0 where all are 0.
    """
    values = np.asarray(sensitivity, dtype=np.float64)
    values = values / values.max() if values.max(initial=0.0) > 0 else values
    squares = float((values**2).sum())
    return float(values.sum()) ** 2 / squares if squares > 0 else 0.0


def elbow(sensitivity: np.ndarray) -> int:
    """A suggestion for K: where the cumulative curve of ranked sensitivity is farthest above its chord.

    After the idea of Kneedle (Satopaa et al., ICDCSW 2011), without its smoothing. Up to the elbow each further neuron
    adds more than the average one, so K is the number of neurons above the mean. It is a property of the curve alone
    and says nothing of how well defects are found.

    Args:
        sensitivity: (n_neurons,) >= 0, in any order.
    Returns:
        From 1 to n_neurons; n_neurons where all are equal, since a straight line has no elbow.
    """
    values = np.asarray(sensitivity, dtype=np.float64)
    return int((values > values.mean()).sum()) or len(values)
