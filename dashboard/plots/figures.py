"""Results to Plotly figures: pure functions, no Streamlit, no computation beyond what drawing needs."""

import base64
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.text import in_figure
from lake_core.backbones.patch_grid import PatchGrid, Placement
from lake_core.criteria import criteria
from lake_core.detector.selection import Selection

NORMAL, TEST, VISUAL, TEXT, TOTAL, MUTED, LINE = (
    "#0072B2",
    "#D55E00",
    "#0072B2",
    "#E69F00",
    "#5C6B73",
    "#9AA5AA",
    "#CC79A7",
)
MARGIN = {"l": 10, "r": 10, "t": 30, "b": 10}


def score_histogram(
    normal: Sequence[float],
    good: Sequence[float],
    defective: Sequence[float],
    unknown: Sequence[float],
    threshold: float,
    percentile: str,
) -> go.Figure:
    """Scores of the normal images (each left out) and of the test images, with the decision threshold.

    A score of 1 is the given percentile of normal patches.
    """
    groups = [
        ("normal, each left out", normal, NORMAL, "/"),
        ("test, labelled good", good, "#009E73", ""),
        ("test, labelled defective", defective, TEST, "x"),
        ("test, no label", unknown, MUTED, "."),
    ]
    everything = [value for _, values, _, _ in groups for value in values]
    top = max([*everything, threshold]) * 1.05 if everything else 1.0
    figure = go.Figure()
    for name, values, colour, pattern in groups:
        if len(values):
            figure.add_histogram(
                x=list(values),
                name=name,
                xbins={"start": 0, "end": top, "size": top / 30},
                marker={"color": colour, "pattern": {"shape": pattern}},
                hovertemplate="score %{x}: %{y} images<extra></extra>",
            )
    figure.add_vline(x=threshold, line={"dash": "dash", "color": LINE, "width": 2}, annotation_text="threshold")
    figure.update_layout(
        barmode="stack",
        xaxis_title=f"image score (1 = {percentile} of normal patches)",
        yaxis_title="images",
        height=320,
        margin=MARGIN,
        legend={"orientation": "h", "y": -0.3},
    )
    return figure


def ranking(selection: Selection, highlighted: int | None = None, elbow: int | None = None) -> go.Figure:
    """Sensitivity of a layer's neurons by rank, the selected ones filled, with the cut line.

    Args:
        selection: Of the layer.
        highlighted: A neuron to mark.
        elbow: A rank to mark as the curve's elbow.
    """
    order, values = selection.order, selection.sensitivity
    n_kept = len(selection.neurons)
    chosen = np.isin(order, selection.neurons)
    ranks = np.arange(1, len(order) + 1)
    traces: list[go.Bar | go.Scatter] = [
        go.Bar(
            x=ranks[mask],
            y=values[order[mask]],
            name=name,
            customdata=order[mask],
            marker={"color": colour, "line": {"width": 0}},
            hovertemplate="rank %{x}: neuron %{customdata}<br>sensitivity %{y:.4g}<extra></extra>",
        )
        for name, mask, colour in (("selected", chosen, VISUAL), ("not selected", ~chosen, MUTED))
    ]
    if highlighted is not None and 0 <= highlighted < len(values):
        traces.append(
            go.Scatter(
                x=[selection.rank_of(highlighted)],
                y=[values[highlighted]],
                mode="markers",
                name=f"neuron {highlighted}",
                marker={"symbol": "diamond", "size": 12, "color": TEST},
                hoverinfo="skip",
            )
        )
    marks = [(n_kept, f"cut at K = {n_kept}", "dash", LINE, 1.0)]
    if elbow is not None and elbow != n_kept:
        marks.append((elbow, f"elbow at K = {elbow}, a suggestion", "dot", TOTAL, 0.86))
    layout = {
        "shapes": [
            {
                "type": "line",
                "x0": k + 0.5,
                "x1": k + 0.5,
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "line": {"dash": dash, "color": colour, "width": 2},
            }
            for k, _, dash, colour, _ in marks
        ],
        "annotations": [
            {
                "x": k + 0.5,
                "y": height,
                "yref": "paper",
                "text": text,
                "showarrow": False,
                "xanchor": "left" if k < 0.6 * len(order) else "right",
                "yanchor": "top",
            }
            for k, text, _, _, height in marks
        ],
        "bargap": 0,
        "xaxis": {"title": {"text": "rank of the neuron (1 = most sensitive)"}},
        "yaxis": {"title": {"text": f"sensitivity: {criteria()[selection.criterion].statistic}"}},
        "height": 320,
        "margin": MARGIN,
        "legend": {"orientation": "h", "y": -0.3},
    }
    return go.Figure(traces, layout)


def control(selected: float, draws: Sequence[float], measure: str) -> go.Figure:
    """The selection beside random draws of the same size: one dot per draw."""
    figure = go.Figure()
    figure.add_scatter(
        x=list(draws),
        y=["random neurons"] * len(draws),
        mode="markers",
        name="random draw",
        marker={"size": 11, "color": MUTED, "symbol": "circle-open", "line": {"width": 2}},
        hovertemplate="random draw: %{x:.3f}<extra></extra>",
    )
    figure.add_scatter(
        x=[selected],
        y=["selected neurons"],
        mode="markers",
        name="selected",
        marker={"size": 15, "color": VISUAL, "symbol": "diamond"},
        hovertemplate="selected: %{x:.3f}<extra></extra>",
    )
    figure.update_layout(xaxis_title=measure, height=200, margin=MARGIN, showlegend=False)
    return figure


def activation_histogram(groups: Mapping[str, np.ndarray]) -> go.Figure:
    """Activations of one neuron over the patches of two groups, as shares of each group's patches.

    Args:
        groups: Name -> values; the second, if any, is drawn dotted.
    """
    everything = np.concatenate(list(groups.values()))
    low, high = float(everything.min()), float(everything.max())
    size = (high - low) / 60 or 1.0
    figure = go.Figure()
    for (name, values), colour, dash in zip(groups.items(), (NORMAL, TEST), ("solid", "dot"), strict=False):
        counts, edges = np.histogram(values, bins=60, range=(low, low + 60 * size))
        figure.add_scatter(
            x=(edges[:-1] + edges[1:]) / 2,
            y=100 * counts / len(values),
            mode="lines",
            name=name,
            line={"shape": "hvh", "color": colour, "dash": dash, "width": 2},
            hovertemplate="activation %{x:.3g}: %{y:.2f} %<extra></extra>",
        )
    figure.update_layout(
        xaxis_title="activation",
        yaxis_title="% of patches (log)",
        yaxis_type="log",
        height=300,
        margin=MARGIN,
        legend={"orientation": "h", "y": -0.3},
    )
    return figure


def clickable_map(
    jpeg: bytes, size: tuple[int, int], grid: PatchGrid, placement: Placement, values: np.ndarray, marked: Sequence[int]
) -> go.Figure:
    """A image (already overlaid) whose patches can be clicked; the point's customdata is the patch.

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
    frames = []
    for colour, line_width in (("black", 5), ("white", 2)):
        for patch in marked:
            left, top, right, bottom = grid.box(patch, placement, size)
            line = {"color": colour, "width": line_width}
            frames.append({"type": "rect", "x0": left, "x1": right, "y0": top, "y1": bottom, "line": line})
    cell = 560 * min(1.0, width / height) / grid.cols
    invisible = {"marker": {"opacity": 0}}
    targets = go.Scatter(
        x=(boxes[:, 0] + boxes[:, 2]) / 2,
        y=(boxes[:, 1] + boxes[:, 3]) / 2,
        mode="markers",
        marker={"symbol": "square", "size": max(8.0, cell), "opacity": 0},
        selected=invisible,
        unselected=invisible,
        customdata=[[int(patch), float(values[patch])] for patch in patches],  # an array would come back as a dict
        hovertemplate="patch %{customdata[0]}: %{customdata[1]:.3f}<extra></extra>",
    )
    axis = {"visible": False, "constrain": "domain", "fixedrange": True}
    layout = {  # all at once: Plotly takes three times as long to change a layout that it has
        "images": [image],
        "shapes": frames,
        "xaxis": axis | {"range": [0, width]},
        "yaxis": axis | {"range": [height, 0], "scaleanchor": "x"},
        "height": 480,
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "clickmode": "event+select",
        "dragmode": False,
        "hovermode": "closest",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,
    }
    return go.Figure(targets, layout)


def sensitivity(table: pd.DataFrame) -> go.Figure:
    """Scores under changes, one row per family of changes, with each one's threshold; crosses changed the decision.

    Args:
        table: Columns family, what, score, threshold and is_anomalous; the first row is without a change.
    """
    first = table.iloc[0]
    turned = table["is_anomalous"] != first["is_anomalous"]
    figure = go.Figure()
    groups = (
        ("same decision", table[~turned], "circle-open", VISUAL),
        ("decision turned", table[turned], "x", TEST),
    )
    for name, rows, symbol, colour in groups:
        if len(rows):
            figure.add_scatter(
                x=rows["score"].tolist(),
                y=rows["family"].tolist(),
                mode="markers",
                name=name,
                marker={"symbol": symbol, "size": 10, "color": colour, "line": {"width": 2}},
                customdata=rows["what"].map(in_figure).tolist(),
                hovertemplate="%{customdata}: %{x:.3f}<extra></extra>",
            )
    figure.add_scatter(
        x=table["threshold"].tolist(),
        y=table["family"].tolist(),
        mode="markers",
        name="its threshold",
        marker={"symbol": "line-ns", "size": 16, "line": {"color": LINE, "width": 2}},
        hovertemplate="threshold %{x:.3f}<extra></extra>",
    )
    figure.add_vline(x=float(first["score"]), line={"dash": "dot", "color": MUTED, "width": 1.5})
    figure.update_layout(
        xaxis_title="image score",
        yaxis={"autorange": "reversed"},
        height=130 + 44 * table["family"].nunique(),
        margin=MARGIN,
        legend={"orientation": "h", "y": -0.4},
    )
    return figure
