"""What a fit had to leave out, as numbers and names."""

from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True)
class LayerLeftOut:
    """A layer takes no part in the score, because its selected neurons do not vary over the normal images."""

    layer: int


@dataclass(frozen=True)
class LayerAblated:
    """A layer counts as ablated, because the neurons that are left do not vary over the normal images."""

    layer: int


@dataclass(frozen=True)
class TextLeftOut:
    """The text part takes no part in the score.

    Attributes:
        reason: "no patch directions" where the backbone's head does not act on single patches, "no contrast" where
            the calibration quantile of the text margin is no higher than the median over the normal patches.
        spec: The backbone.
    """

    reason: Literal["no patch directions", "no contrast"]
    spec: str


FitWarning: TypeAlias = LayerLeftOut | LayerAblated | TextLeftOut
"""What a detector had to leave out."""
