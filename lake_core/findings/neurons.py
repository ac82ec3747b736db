"""What experiments on neurons found: beside random ones, ablated or patched, as numbers and names."""

from dataclasses import dataclass
from typing import Literal

from lake_core.types import Pool


@dataclass(frozen=True)
class RandomControlFinding:
    """How well selected neurons tell good from defective test images, beside random selections of the same size.

    Attributes:
        difference: Image AUROC of the selection less the mean of the random ones.
        low, high: Its 95% bootstrap interval over test images.
        p_value: Two-sided permutation p-value of the selection among the random ones.
        is_high: Whether more random selections do as badly or worse than do as well or better.
    """

    n_draws: int
    difference: float
    low: float
    high: float
    p_value: float
    is_high: bool

    @property
    def verdict(self) -> Literal["better", "worse", "no difference"]:
        """A difference only if the p-value is below 0.05 and the interval excludes 0, both on the same side."""
        if self.p_value < 0.05 and self.low > 0 and self.is_high:
            return "better"
        return "worse" if self.p_value < 0.05 and self.high < 0 and not self.is_high else "no difference"

    @property
    def on_average(self) -> Literal["better", "worse", "no difference"]:
        """What the interval alone says of the selection beside the mean of the random ones."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no difference"


@dataclass(frozen=True)
class DrawsFinding:
    """How many random selections reach what the selected neurons do.

    Attributes:
        n_draws: Random selections.
        n_as_good: Those that separate as well or better.
        selected, mean: Separation of the selected neurons, and the mean of the random selections'.
        sizes: Number of neurons selected in each layer.
    """

    n_draws: int
    n_as_good: int
    selected: float
    mean: float
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class AblationFinding:
    """What ablating neurons from the score does to one image."""

    n_neurons: int
    score_before: float
    score_after: float
    threshold_before: float
    threshold_after: float
    was_anomalous: bool
    is_anomalous: bool


@dataclass(frozen=True)
class Rank:
    """How many random draws changed something at least as much as the chosen neurons.

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

        With 20 draws it cannot be below 1 / 21. Neurons that were chosen for their size are no random choice to begin
        with: read it as a rank.
        """
        return (1 + self.n_at_least) / (1 + self.n_draws) if self.n_draws else None


Quantity = Literal["score", "AUROC", "image text margin", "layer output"]


@dataclass(frozen=True)
class RankFinding:
    """The rank of one quantity's change.

    Attributes:
        quantity: What changed; the text margin is the whole image's.
        rank: Among random draws.
        pool: What the draws were made from.
        n_layers: Number of layers that the chosen neurons, and so the draws, lie in.
        layer: Which layer's output, for "layer output".
    """

    quantity: Quantity
    rank: Rank
    pool: Pool
    n_layers: int
    layer: int | None = None


@dataclass(frozen=True)
class ControlFinding:
    """Ranks of several quantities among the same random draws, at least one."""

    ranks: tuple[RankFinding, ...]
