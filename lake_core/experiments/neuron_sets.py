"""Sets of neurons to experiment on: chosen ones, and random draws that an experiment with them is compared with."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from lake_core.errors import ConfigError
from lake_core.findings.neurons import Rank
from lake_core.types import Neurons

# Chosen neurons ------------------------------------------------------------------------------------------------------


def top_contributing_neurons(result: ImageResult, n: int, patch: int | None = None) -> dict[int, np.ndarray]:
    """The n neurons that contribute most to an image's score, over all layers.

    Args:
        result: The image's score.
        n: How many, at least 1; more than there are means all.
        patch: Take the contributions to this patch instead of the image score.
    """
    contributions = result.contributions(patch)
    top = contributions[contributions["part"] == "visual"].nlargest(n, "contribution")
    layers, neurons = top["layer"].to_numpy(np.int64), top["neuron"].to_numpy(np.int64)
    return {int(layer): np.sort(neurons[layers == layer]) for layer in np.unique(layers)}


def whole_layer(lake: Lake, layer: int) -> dict[int, np.ndarray]:
    """All selected neurons of one layer."""
    return checked_neurons(lake, {layer: _of_layer(lake, layer)})


def all_selected(lake: Lake) -> dict[int, np.ndarray]:
    """All selected neurons of all layers."""
    lake.fitted()
    return {layer: selection.neurons for layer, selection in lake.selection_.items()}


def selected_among(lake: Lake, neurons: Neurons) -> dict[int, np.ndarray]:
    """Those of any neurons, such as pinned ones, that are selected and so take part in the score."""
    lake.fitted()
    found = {
        layer: np.intersect1d(neurons[layer], lake.selection_[layer].neurons)
        for layer in neurons
        if layer in lake.selection_
    }
    return {layer: chosen for layer, chosen in found.items() if len(chosen)}


def _of_layer(lake: Lake, layer: int) -> np.ndarray:
    lake.fitted()
    if layer not in lake.selection_:
        having = ", ".join(map(str, lake.selection_))
        raise ConfigError(f"Layer {layer} takes no part in the score; layers that do: {having}.")
    return lake.selection_[layer].neurons


def checked_neurons(lake: Lake, neurons: Neurons) -> dict[int, np.ndarray]:
    """The neurons, each once and ascending, layer by layer; layers without any are left out."""
    chosen = {}
    for layer, given in sorted(neurons.items()):
        wanted = np.unique(np.asarray(given, dtype=np.int64))
        strangers = np.setdiff1d(wanted, _of_layer(lake, layer))
        if len(strangers):
            raise ConfigError(
                f"Neuron {strangers[0]} of layer {layer} is not selected and has no part in the score; choose among the"
                " selected neurons."
            )
        if len(wanted):
            chosen[layer] = wanted
    return chosen


# Random draws --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RandomDraws:
    """How random neurons are drawn.

    Attributes:
        n: Draws, from 0; 0 leaves them out.
        seed: The same seed gives the same draws.
    """

    n: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n < 0:
            raise ConfigError(f"The number of random draws is {self.n}; it must be a whole number from 0.")


DEFAULT_DRAWS = RandomDraws()


def rank_among(own: float, draws: ArrayLike, mixed: bool = False) -> Rank:
    """The rank of a change among those of random draws, by size.

    Args:
        own: Change by the chosen neurons.
        draws: (n_draws,) changes by the random draws.
        mixed: Whether some draws hold chosen neurons.
    """
    sizes = np.abs(np.asarray(draws, dtype=np.float64))
    return Rank(len(sizes), int((sizes >= abs(own)).sum()), mixed, own == 0)


def matched_draws(neurons: Neurons, pools: Neurons, draws: RandomDraws = DEFAULT_DRAWS) -> list[dict[int, np.ndarray]]:
    """Random sets of neurons, matched with a chosen set for layer and number.

    None holds a chosen neuron, unless the other neurons make too few different sets: then all neurons of the pools are
    drawn from (`is_mixed` tells), so that more than half of a layer can be compared too.

    Args:
        neurons: The chosen neurons.
        pools: For each of their layers, the neurons to draw from.
        draws: How many sets, and the seed. All are different; where fewer different ones exist, there are fewer.
    Returns:
        Layer number -> (n,) int64, ascending, for each draw; no draw at all where a layer has too few neurons.
    """
    chosen = {layer: np.unique(np.asarray(these, dtype=np.int64)) for layer, these in neurons.items()}
    if not any(map(len, chosen.values())):
        return []
    everything = {layer: np.unique(np.asarray(pools[layer], dtype=np.int64)) for layer in chosen}
    source = {layer: np.setdiff1d(everything[layer], these) for layer, these in chosen.items()}
    if (n_different := _n_different(chosen, source)) < draws.n:
        source = everything
        itself = all(np.isin(these, source[layer]).all() for layer, these in chosen.items())
        n_different = _n_different(chosen, source) - itself
    rng = np.random.default_rng(draws.seed)
    found: dict[tuple[bytes, ...], dict[int, np.ndarray]] = {}
    own = tuple(these.tobytes() for these in chosen.values())
    while len(found) < min(draws.n, n_different):
        draw = {layer: np.sort(rng.choice(source[layer], len(these), replace=False)) for layer, these in chosen.items()}
        key = tuple(row.tobytes() for row in draw.values())
        if key != own:
            found.setdefault(key, draw)
    return list(found.values())


def is_mixed(neurons: Neurons, draws: Sequence[Neurons]) -> bool:
    """Whether some of the draws hold chosen neurons."""
    return any(np.isin(row, np.asarray(neurons[layer])).any() for draw in draws for layer, row in draw.items())


def _n_different(chosen: Neurons, source: Neurons) -> int:
    """How many sets of as many neurons there are."""
    return math.prod(math.comb(len(source[layer]), len(these)) for layer, these in chosen.items())
