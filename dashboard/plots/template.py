"""The one look of all figures: colours by their meaning, and a Plotly template with margins, legend and hover.

Grid and background follow the page's light or dark theme, which Streamlit lays over the template; text has the page's
own colour (style.css), since the theme's grey is too faint on white. The colours here are seen well on both, and a
symbol, dash or pattern always says the same as a colour.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import hex_to_rgb, sample_colorscale, unlabel_rgb

NORMAL = VISUAL = SELECTED = "#0B7A9E"
DEFECTIVE = CHOSEN = LEFT = "#D55E00"
GOOD = ENTERED = "#009E73"
TEXT = "#7B5EA7"
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


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb" or "rgb(r, g, b)" after WCAG 2, from 0 (black) to 1 (white)."""
    rgb = np.array(hex_to_rgb(colour) if colour.startswith("#") else unlabel_rgb(colour)) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def ink(colour: str) -> str:
    """Black or white for text on a colour, whichever has more contrast with it, which is at least 4.5 : 1."""
    return "#000000" if luminance(colour) > 0.179 else "#FFFFFF"


def written(shares: np.ndarray, x: Sequence[str], y: Sequence[str], texts: np.ndarray) -> go.Scatter:
    """Texts on a heat map of SEQUENTIAL from 0 to 1, each in the ink for its cell.

    Args:
        shares: (rows, columns), the heat map's values, in [0, 1].
        x, y: Its columns and rows.
        texts: (rows, columns).
    """
    colours = [ink(colour) for colour in sample_colorscale(SEQUENTIAL, shares.ravel().tolist())]
    return go.Scatter(
        x=list(x) * len(y),
        y=np.repeat(y, len(x)),
        mode="text",
        text=texts.ravel(),
        textfont={"color": colours, "size": 15},
        hoverinfo="skip",
        showlegend=False,
    )


def circles(colour: str = RANDOM, size: int = 11) -> dict[str, Any]:
    """Open circles, as of random draws."""
    return {"size": size, "color": colour, "symbol": "circle-open", "line": {"width": 2}}


def diamond(colour: str = SELECTED, size: int = 15) -> dict[str, Any]:
    """A full diamond, as of what is compared with random draws."""
    return {"size": size, "color": colour, "symbol": "diamond"}
