"""The one look of all figures: colours by their meaning, and a Plotly template with margins, legend and hover.

Text, grid and background follow the page's light or dark theme, which Streamlit lays over the template; the colours
here read well on both, and a symbol, dash or pattern always says the same as a colour.
"""

from typing import Any

import plotly.graph_objects as go

NORMAL = VISUAL = SELECTED = "#0072B2"
DEFECTIVE = CHOSEN = "#D55E00"
GOOD = "#009E73"
TEXT = "#E69F00"
TOTAL = "#5C6B73"
RANDOM = REST = UNKNOWN = "#9AA5AA"
THRESHOLD = CUT = "#CC79A7"
RANDOM_BAND = "rgba(154,165,170,0.28)"
CLEAR = "rgba(0,0,0,0)"
SEQUENTIAL = "Cividis"

THRESHOLD_LINE = {"dash": "dash", "color": THRESHOLD, "width": 2}
REFERENCE_LINE = {"dash": "dot", "color": RANDOM, "width": 1.5}
INVISIBLE = {"marker": {"opacity": 0}}

TEMPLATE = go.layout.Template(
    layout={
        "margin": {"l": 10, "r": 10, "t": 30, "b": 10},
        "legend": {"orientation": "h", "y": -0.3},
        "font": {"size": 14},
        "hovermode": "closest",
        "colorway": [VISUAL, CHOSEN, GOOD, TEXT, TOTAL, RANDOM, THRESHOLD],
    }
)
LEGEND_ABOVE = {"y": 1.02, "yanchor": "bottom", "traceorder": "normal"}


def circles(colour: str = RANDOM, size: int = 11) -> dict[str, Any]:
    """Open circles, as of random draws."""
    return {"size": size, "color": colour, "symbol": "circle-open", "line": {"width": 2}}


def diamond(colour: str = SELECTED, size: int = 15) -> dict[str, Any]:
    """A full diamond, as of what is compared with random draws."""
    return {"size": size, "color": colour, "symbol": "diamond"}
