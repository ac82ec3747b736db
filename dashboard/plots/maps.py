"""An image with its map, whose patches can be clicked."""

import base64
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.plots.template import CLEAR, INVISIBLE
from lake_core.backbones.patch_grid import PatchGrid, Placement


def clickable_map(
    jpeg: bytes, size: tuple[int, int], grid: PatchGrid, placement: Placement, values: np.ndarray, marked: Sequence[int]
) -> go.Figure:
    """An image (already overlaid) whose patches can be clicked; the point's customdata is the patch.

    Args:
        jpeg: The image to show.
        size: (width, height) of the image in pixels, in which the patches are laid out.
        grid: The patches.
        placement: Where the image lies in the model's input.
        values: (n_patches,) shown on hover; NaN where a patch is not on the image.
        marked: Patches to surround.
    """
    width, height = size
    patches = np.flatnonzero(np.isfinite(values))
    boxes = grid.boxes(placement, size)[patches]
    image = {
        "source": "data:image/jpeg;base64," + base64.b64encode(jpeg).decode(),
        "x": 0,
        "y": 0,
        "sizex": width,
        "sizey": height,
        "xref": "x",
        "yref": "y",
        "sizing": "stretch",
        "layer": "below",
    }
    cell = 470 * min(1.0, width / height) / grid.cols
    targets = go.Scatter(
        x=(boxes[:, 0] + boxes[:, 2]) / 2,
        y=(boxes[:, 1] + boxes[:, 3]) / 2,
        mode="markers",
        marker={"symbol": "square", "size": max(8.0, cell), "opacity": 0},
        selected=INVISIBLE,
        unselected=INVISIBLE,
        # An array of numbers would come back as a dict; a list takes three times as long to check.
        customdata=np.array([[int(patch), float(values[patch])] for patch in patches], dtype=object),
        hovertemplate="patch %{customdata[0]}: %{customdata[1]:.3f}<extra></extra>",
    )
    axis = {"visible": False, "constrain": "domain", "fixedrange": True}
    layout = {  # all at once: Plotly takes three times as long to change a layout that it has
        "images": [image],
        "shapes": _frames([grid.box(patch, placement, size) for patch in marked]),
        "xaxis": axis | {"range": [0, width]},
        "yaxis": axis | {"range": [height, 0], "scaleanchor": "x"},
        "height": 400,
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "clickmode": "event+select",
        "dragmode": False,
        "hovermode": "closest",
        "plot_bgcolor": CLEAR,
        "paper_bgcolor": CLEAR,
        "showlegend": False,
    }
    return go.Figure(targets, layout)


def _frames(boxes: Sequence[tuple[float, float, float, float]]) -> list[dict[str, object]]:
    """White frames on black ones around boxes (left, top, right, bottom)."""
    return [
        {"type": "rect", "x0": left, "x1": right, "y0": top, "y1": bottom, "line": {"color": colour, "width": width}}
        for colour, width in (("black", 5), ("white", 2))
        for left, top, right, bottom in boxes
    ]
