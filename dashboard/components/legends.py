"""The one legend: the colour scale of maps, of scores, contributions, changes or activations."""

import streamlit as st

from dashboard.components.page import is_dark
from dashboard.services.analysis import Analysis
from lake_core.visualization.colours import ScoreScale
from lake_core.visualization.legends import colour_bar, signed_colour_bar

WIDTH, HEIGHT = 420, 52


def legend(scale: ScoreScale | float, what: str, unit: str = "", mark: str = "threshold") -> None:
    """The colour scale of maps.

    Args:
        scale: Of score maps and the like; a number is the limit of a scale from -limit (blue) over 0 to limit (red).
        what: The maps' values, for the alternative text.
        unit: Of the values.
        mark: Name of the scale's threshold, if it has one.
    """
    if isinstance(scale, ScoreScale):
        bar = colour_bar(scale, WIDTH, HEIGHT, is_dark(), mark)
        bounds = f"from 0 to {scale.vmax:g}{unit}"
        bounds += f", {mark} at {scale.threshold:.3f}" if scale.threshold > 0 else ""
    else:
        bar = signed_colour_bar(scale, WIDTH, HEIGHT, is_dark())
        bounds = f"from {-scale:g} (blue) over 0 to {scale:g} (red)"
    st.image(bar, alt=f"Colour scale of {what} {bounds}")


def score_legend(found: Analysis) -> None:
    """The colour scale of all score maps, with the threshold."""
    legend(found.scale, "the score maps")
    st.caption("One scale for all images. A white line surrounds what is above the threshold.")
