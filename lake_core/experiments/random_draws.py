"""Random draws of neurons that are set beside an experiment, and how its outcome ranks among theirs, in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

Neurons: TypeAlias = Mapping[int, Sequence[int] | np.ndarray]
"""Layer number -> neurons of that layer."""

N_DRAWS = 20


@dataclass(frozen=True)
class Rank:
    """How many random draws did at least as much as the chosen neurons.

    Attributes:
        n_draws: Random draws that were made; 0 where there are not enough other neurons to draw from.
        n_at_least: Those whose change is at least as large in size, whatever its sign.
        mixed: Whether some draws hold chosen neurons beside others.
        is_nil: Whether the chosen neurons changed nothing, so that there is nothing to rank.
    """

    n_draws: int
    n_at_least: int
    mixed: bool = False
    is_nil: bool = False

    @property
    def p_value(self) -> float | None:
        """(1 + n_at_least) / (1 + n_draws), as in a permutation test; None without draws.

        With 20 draws it cannot be below 1 / 21, and neurons that were chosen for their size are no random choice to
        begin
        with: read it as a rank.
        """
        return (1 + self.n_at_least) / (1 + self.n_draws) if self.n_draws else None

    def sentence(self, changed: str = "changed the score", of_what: str = "selected neurons") -> str:
        """The rank in words.

        Args:
            changed: What the draws did, such as "changed the score".
            of_what: What was drawn.
        """
        if not self.n_draws:
            return f"There are too few other {of_what} for a random draw of as many; choose fewer to compare."
        if self.is_nil:
            return f"The chosen neurons have not {changed}, so there is nothing to compare."
        draws = "one random draw" if self.n_draws == 1 else f"{self.n_draws} random draws"
        among = " (some of yours are among them: too few others are left)" if self.mixed else ""
        return f"Of {draws} of as many {of_what}{among}, {self.n_at_least or 'none'} {changed} at least as much."


def rank_among(own: float, draws: ArrayLike, mixed: bool = False) -> Rank:
    """The rank of a change among those of random draws, by size.

    Args:
        own: Change by the chosen neurons.
        draws: (n_draws,) changes by the random draws.
        mixed: Whether some draws hold chosen neurons.
    """
    sizes = np.abs(np.asarray(draws, dtype=np.float64))
    return Rank(len(sizes), int((sizes >= abs(own)).sum()), mixed, own == 0)


def matched_draws(
    neurons: Neurons, pools: Neurons, n_draws: int = N_DRAWS, seed: int = 0
) -> list[dict[int, np.ndarray]]:
    """Random sets of neurons, matched with a chosen set for layer and number.

    None holds a chosen neuron, unless the other neurons make too few different sets: then all neurons of the pools are
    drawn from (`is_mixed` tells), so that more than half of a layer can be compared too.

    Args:
        neurons: The chosen neurons.
        pools: For each of their layers, the neurons to draw from.
        n_draws: How many sets; all are different, and where fewer different ones exist, there are fewer.
        seed: The same seed gives the same sets.
    Returns:
        Layer number -> (n,) int64, ascending, for each draw; no draw at all where a layer has too few neurons.
    """
    chosen = {layer: np.unique(np.asarray(these, dtype=np.int64)) for layer, these in neurons.items()}
    if not any(map(len, chosen.values())):
        return []
    everything = {layer: np.unique(np.asarray(pools[layer], dtype=np.int64)) for layer in chosen}
    source = {layer: np.setdiff1d(everything[layer], these) for layer, these in chosen.items()}
    if (n_different := _n_different(chosen, source)) < n_draws:
        source = everything
        itself = all(np.isin(these, source[layer]).all() for layer, these in chosen.items())
        n_different = _n_different(chosen, source) - itself
    rng = np.random.default_rng(seed)
    found: dict[tuple[bytes, ...], dict[int, np.ndarray]] = {}
    own = tuple(these.tobytes() for these in chosen.values())
    while len(found) < min(n_draws, n_different):
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
