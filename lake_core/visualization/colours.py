"""Colours of scores and of signed values, and the scales that all images of one analysis share."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

ByteArray: TypeAlias = NDArray[np.uint8]

SCORE_COLOURS = "inferno"
"""Sequential, perceptually uniform, and legible with every kind of colour vision."""
SIGNED_COLOURS = "RdBu_r"
"""Diverging: blue below zero, red above."""
ACTIVATION_COLOURS = "viridis"
"""Sequential, as in the microscope, for activations of which none is negative."""

MAX_THRESHOLDS = 5.0

_NICE = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_LOW, _HIGH = 0.15, 0.97  # of the colour map: neither black nor white, which could be the image's own


@dataclass(frozen=True)
class ScoreScale:
    """The colours of scores, shared by all images: from 0 to vmax, with the decision threshold marked.

    Attributes:
        vmax: Value of the last colour.
        threshold: The decision threshold.
        is_open: Whether some values are greater than vmax; they take the last colour.
        fades_at: Value around which the colour begins to cover the image; None means the threshold. Maps of several
            detectors, each with its own threshold, share one.
    """

    vmax: float
    threshold: float
    is_open: bool = False
    fades_at: float | None = None


@dataclass(frozen=True)
class ValueScale:
    """The colours of values other than scores, such as a neuron's activations, shared by all images.

    Attributes:
        limit: The value of the full colour, > 0.
        is_signed: From -limit (blue) over 0 to limit (red); otherwise from 0 on, for values of which none is negative.
    """

    limit: float
    is_signed: bool = True

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise ValueError(f"limit is {self.limit}; it must be greater than 0")

    @property
    def low(self) -> float:
        """The value at the other end of the colours."""
        return -self.limit if self.is_signed else 0.0


def score_scale(maps: Iterable[Any], threshold: float) -> ScoreScale:
    """One scale for all images, from 0 to a round number that covers every map and twice the threshold.

    Where a map reaches beyond MAX_THRESHOLDS thresholds the scale ends there, so that one glaring defect does not
    make all the others look alike.

    Args:
        maps: Maps or scores: arrays or numbers, NaN where there is no value.
        threshold: The decision threshold.
    """
    greatest = max([0.0, *(float(values.max()) for values in map(_finite, maps) if values.size)])
    covered = min(greatest, MAX_THRESHOLDS * threshold) if threshold > 0 else greatest
    vmax = nice_ceiling(max(2 * threshold, covered))
    return ScoreScale(vmax, threshold, greatest > vmax)


def nice_ceiling(value: float) -> float:
    """The least round number (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8 by powers of ten) not below a value; else 1."""
    if not np.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return next(float(f"{nice * power:.6g}") for nice in _NICE if value <= nice * power * (1 + 1e-6))


def symmetric_limit(maps: Iterable[Any], quantile: float = 1.0) -> float:
    """A round limit that covers the given quantile of all absolute values of all maps; 1 where all are 0."""
    absolute = [np.abs(_finite(values)) for values in maps]
    everything = np.concatenate([np.zeros(1), *absolute])
    return nice_ceiling(float(np.quantile(everything, quantile)))


def activation_scale(maps: Iterable[Any], quantile: float = 1.0) -> ValueScale:
    """One scale for the activations on all images, with two colours only where a value is below zero.

    Args:
        maps: Arrays, NaN where there is no value.
        quantile: Of all absolute values, which the limit covers.
    """
    held = [_finite(values) for values in maps]
    return ValueScale(symmetric_limit(held, quantile), any((values < 0).any() for values in held))


def score_colours(shares: np.ndarray) -> ByteArray:
    """(..., 3) uint8 for shares of vmax."""
    return _colours(SCORE_COLOURS, _LOW + (_HIGH - _LOW) * np.clip(np.nan_to_num(shares), 0, 1))


def value_colours(values: np.ndarray, scale: ValueScale) -> ByteArray:
    """(..., 3) uint8 for values on a scale; those beyond its ends take the colours there."""
    shares = np.nan_to_num(values) / scale.limit
    if scale.is_signed:
        return _colours(SIGNED_COLOURS, 0.5 + 0.46 * np.clip(shares, -1, 1))
    return _colours(ACTIVATION_COLOURS, 0.05 + 0.95 * np.clip(shares, 0, 1))


def _colours(name: str, shares: np.ndarray) -> ByteArray:
    table = _colour_table(name)
    index: NDArray[np.intp] = np.minimum((shares * len(table)).astype(np.intp), len(table) - 1)
    return np.asarray(table[index])


@cache
def _colour_table(name: str) -> ByteArray:
    """(n_colours, 3) uint8 of a colour map, which Matplotlib looks up far more slowly."""
    import matplotlib  # takes half a second

    colours = matplotlib.colormaps[name]
    rgb: np.ndarray = np.rint(colours(np.arange(colours.N))[:, :3] * 255)
    return rgb.astype(np.uint8)


def _finite(values: Any) -> np.ndarray:
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    return flat[np.isfinite(flat)]
