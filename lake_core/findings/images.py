"""What changed images do to a score, as numbers and names."""

from dataclasses import dataclass
from typing import Literal

Direction = Literal["deletion", "insertion"]
Replacement = Literal["normal", "blurred", "mean"]


@dataclass(frozen=True)
class DeletionFinding:
    """How a deletion or insertion curve compares with random orders.

    Attributes:
        n_better: Random orders that the map's order beats.
        area: Mean area between the random curves and the map's, in units of the score.
        image_score, replacement_score: At the two ends of the curve.
    """

    direction: Direction
    replacement: Replacement
    n_orders: int
    n_better: int
    area: float
    image_score: float
    replacement_score: float

    @property
    def is_replacement_anomalous(self) -> bool:
        """Whether the replacement scores no less than the image, so that the curve says little about the map."""
        return self.replacement_score >= self.image_score


@dataclass(frozen=True)
class FaithfulnessFinding:
    """How the curves of several images compare with random orders.

    Attributes:
        n_better: Images whose area is above 0.
        mean_area: In units of the score.
        n_anomalous_replacements: Images whose replacement scores no less than they do.
    """

    direction: Direction
    n_images: int
    n_better: int
    mean_area: float
    n_anomalous_replacements: int


@dataclass(frozen=True)
class OcclusionFinding:
    """What covering regions of an image does.

    Attributes:
        target: What was watched.
        rank: Of the region with the max-scoring patch by importance, from 1.
        importance: What the target loses when that region is covered.
        correlation: Rank correlation of importance and map over the regions, or None where fewer than three regions
            differ from the others in either.
    """

    target: Literal["score", "map"]
    n_regions: int
    rank: int
    importance: float
    correlation: float | None


@dataclass(frozen=True)
class PerturbationFinding:
    """How far a score moves under changes that should not matter.

    Attributes:
        n_changes: Changes that were tried.
        lowest, highest: Score over all of them and without any.
        turned: Those that turn the decision, as "family: what".
    """

    score: float
    is_anomalous: bool
    n_changes: int
    lowest: float
    highest: float
    turned: tuple[str, ...]
