"""The one legend: the colour scale of maps, of scores, contributions, changes or activations."""

import streamlit as st

from dashboard.components.page import is_dark
from dashboard.services.analysis import Analysis
from lake_core.visualization.colours import ScoreScale, ValueScale
from lake_core.visualization.legends import colour_bar, value_colour_bar

WIDTH, HEIGHT = 420, 52


def legend(scale: ScoreScale | ValueScale, what: str, unit: str = "", mark: str = "threshold") -> None:
    """The colour scale of maps.

    Args:
        scale: Of score maps and the like, or of a neuron's activations and the like.
        what: The maps' values, for the alternative text.
        unit: Of the values.
        mark: Name of the scale's threshold, if it has one.
    """
    if isinstance(scale, ScoreScale):
        bar = colour_bar(scale, WIDTH, HEIGHT, is_dark(), mark)
        bounds = f"from 0 to {scale.vmax:g}{unit}"
        bounds += f", {mark} at {scale.threshold:.3f}" if scale.threshold > 0 else ""
    else:
        bar = value_colour_bar(scale, WIDTH, HEIGHT, is_dark())
        bounds = f"from {scale.low:g} (blue) through 0 to {scale.limit:g} (red)" if scale.is_signed else ""
        bounds = bounds or f"from 0 (violet) to {scale.limit:g} (yellow)"
    st.image(bar, alt=f"Colour scale of {what} {bounds}")


def score_legend(found: Analysis) -> None:
    """The colour scale of all score maps, with the threshold."""
    legend(found.scale, "the score maps")
    st.caption("One scale for all images. A white line surrounds what is above the threshold.")
