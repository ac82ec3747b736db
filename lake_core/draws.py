"""Random draws of units that are set beside an experiment, and how its outcome ranks among theirs, in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

Units: TypeAlias = Mapping[int, Sequence[int] | np.ndarray]
"""Layer number -> units of that layer."""

N_DRAWS = 20


@dataclass(frozen=True)
class Rank:
    """How many random draws did at least as much as the chosen units.

    Attributes:
        n_draws: Random draws that were made; 0 where there are not enough other units to draw from.
        n_at_least: Those whose change is at least as large in size, whatever its sign.
    """

    n_draws: int
    n_at_least: int

    @property
    def p_value(self) -> float | None:
        """(1 + n_at_least) / (1 + n_draws), as in a permutation test; None without draws.

        With 20 draws it cannot be below 1 / 21, and units that were chosen for their size are no random choice to begin
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
        draws = "random draw" if self.n_draws == 1 else f"{self.n_draws} random draws"
        return f"Of {draws} of as many {of_what}, {self.n_at_least or 'none'} {changed} at least as much."


def rank_among(own: float, draws: ArrayLike) -> Rank:
    """The rank of a change among those of random draws, by size.

    Args:
        own: Change by the chosen units.
        draws: (n_draws,) changes by the random draws.
    """
    sizes = np.abs(np.asarray(draws, dtype=np.float64))
    return Rank(len(sizes), int((sizes >= abs(own)).sum()))


def matched_draws(units: Units, pools: Units, n_draws: int = N_DRAWS, seed: int = 0) -> list[dict[int, np.ndarray]]:
    """Random sets of units, matched with a chosen set for layer and number, without any of the chosen units.

    Args:
        units: The chosen units.
        pools: For each of their layers, the units to draw from; chosen ones among them are passed over.
        n_draws: How many sets; all are different, and where fewer different ones exist, there are fewer.
        seed: The same seed gives the same sets.
    Returns:
        Layer number -> (n,) int64, ascending, for each draw; no draw at all where a layer has too few other units.
    """
    others = {layer: np.setdiff1d(pools[layer], chosen).astype(np.int64) for layer, chosen in units.items()}
    numbers = {layer: len(np.unique(chosen)) for layer, chosen in units.items()}
    n_different = math.prod(math.comb(len(others[layer]), n) for layer, n in numbers.items())
    if not any(numbers.values()):
        return []
    rng = np.random.default_rng(seed)
    found: dict[tuple[bytes, ...], dict[int, np.ndarray]] = {}
    while len(found) < min(n_draws, n_different):
        draw = {layer: np.sort(rng.choice(others[layer], n, replace=False)) for layer, n in numbers.items()}
        found.setdefault(tuple(row.tobytes() for row in draw.values()), draw)
    return list(found.values())
