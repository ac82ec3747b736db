"""Figures of the page Selection: all layers at a glance, the ranking of one, and random draws beside the selection."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from dashboard.plots.template import (
    CHOSEN,
    CUT,
    INVISIBLE,
    REST,
    SELECTED,
    SEQUENTIAL,
    TEMPLATE,
    TOTAL,
)
from lake_core.criteria import criteria
from lake_core.detector.selection import Selection

N_BINS = 60
N_COLUMNS = 30


class Square(NamedTuple):
    """One bin of a layer in the X-ray: its middle in % of the layer, a neuron to go to, and what it says on hover."""

    x: float
    layer: int
    neuron: int
    share: float
    says: str


def bins(selection: Selection) -> list[np.ndarray]:
    """A layer's neurons, most sensitive first, in the parts that the X-ray draws as one square each."""
    return np.array_split(selection.order, min(N_BINS, selection.n_neurons))


def xray(selections: Mapping[int, Selection], in_use: tuple[int, ...]) -> go.Figure:
    """Every layer as a row, its neurons in bins from most to least sensitive; colour is sensitivity over the mean.

    A square can be clicked; its customdata is (layer, most sensitive neuron of the bin).
    """
    layers = list(selections)
    layout = {
        "xaxis": {"title": {"text": "neurons of the layer, most sensitive first (%)"}, "range": [0, 100]},
        "yaxis": {
            "title": {"text": "layer (1 = at the input)"},
            "tickvals": layers,
            "ticktext": [f"{layer} ●" if layer in in_use else str(layer) for layer in layers],
            "autorange": "reversed",
        },
        "height": 220 + 18 * len(layers),
        "template": TEMPLATE,
        "clickmode": "event+select",
        "dragmode": False,
        "hovermode": "closest",
        "legend": {"y": 1.08},
    }
    squares = [list(_squares(layer, selection)) for layer, selection in selections.items()]
    return go.Figure([_heat(layers, squares), _cut(selections), _targets(squares)], layout)


def _squares(layer: int, selection: Selection) -> Iterator[Square]:
    """The bins of a layer, most sensitive first."""
    parts, start = bins(selection), 0
    mean = float(selection.sensitivity.mean()) or 1.0
    for index, part in enumerate(parts):
        share = float(selection.sensitivity[part].mean() / mean)
        n_in = min(max(len(selection.neurons) - start, 0), len(part))
        says = (
            f"layer {layer}, ranks {start + 1} to {start + len(part)}: {share:.2f} × the layer's mean, "
            f"{n_in} of {len(part)} selected"
        )
        yield Square((index + 0.5) / len(parts) * 100, layer, int(part[0]), share, says)
        start += len(part)


def _heat(layers: Sequence[int], squares: Sequence[Sequence[Square]]) -> go.Heatmap:
    """The sensitivities, each row brought to as many bins."""
    rows = [[square.share for square in row] for row in squares]
    shares = [np.interp(np.linspace(0, 1, N_BINS), np.linspace(0, 1, len(row)), row) for row in rows]
    return go.Heatmap(
        z=np.log10(np.maximum(np.array(shares), 1e-2)),
        x=(np.arange(N_BINS) + 0.5) / N_BINS * 100,
        y=layers,
        colorscale=SEQUENTIAL,
        zmin=-1,
        zmax=1,
        hoverinfo="skip",
        colorbar={
            "title": {"text": "sensitivity ÷ layer mean", "side": "top"},
            "tickvals": [-1, 0, 1],
            "ticktext": ["0.1", "1", "10"],
            "thickness": 12,
            "orientation": "h",  # below, so that a phone's width is left to the map
            "y": -0.18,
            "yanchor": "top",
        },
    )


def _cut(selections: Mapping[int, Selection]) -> go.Scatter:
    return go.Scatter(
        x=[100 * len(selection.neurons) / selection.n_neurons for selection in selections.values()],
        y=list(selections),
        mode="lines+markers",
        name="cut at K",
        line={"color": "white", "width": 3, "shape": "vhv"},
        marker={"size": 5, "color": "white", "line": {"color": "black", "width": 1}},
        unselected={"marker": {"opacity": 1}},
        hoverinfo="skip",
    )


def _targets(squares: Sequence[Sequence[Square]]) -> go.Scatter:
    """What can be clicked: one invisible mark on each bin."""
    each = [square for row in squares for square in row]
    return go.Scatter(
        x=np.array([square.x for square in each]),
        y=np.array([square.layer for square in each]),
        mode="markers",
        customdata=[(square.layer, square.neuron) for square in each],
        name="neurons",
        marker={"symbol": "square", "size": 12, "opacity": 0},
        selected=INVISIBLE,
        unselected=INVISIBLE,
        text=[square.says for square in each],
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )


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
        for name, mask, colour in (("selected", chosen, SELECTED), ("not selected", ~chosen, REST))
    ]
    if highlighted is not None and 0 <= highlighted < len(values):
        traces.append(
            go.Scatter(
                x=[selection.rank_of(highlighted)],
                y=[values[highlighted]],
                mode="markers",
                name=f"neuron {highlighted}",
                marker={"symbol": "diamond", "size": 12, "color": CHOSEN},
                hoverinfo="skip",
            )
        )
    marks = [(n_kept, f"cut at K = {n_kept}", "dash", CUT, 1.0)]
    if elbow is not None and elbow != n_kept:
        marks.append((elbow, f"elbow at K = {elbow}, a suggestion", "dot", TOTAL, 0.86))
    shapes, annotations = [], []
    for k, text, dash, colour, height in marks:
        ends = {"x0": k + 0.5, "x1": k + 0.5, "y0": 0, "y1": 1, "yref": "paper"}
        shapes.append({"type": "line", "line": {"dash": dash, "color": colour, "width": 2}} | ends)
        anchors = {"xanchor": "left" if k < 0.6 * len(order) else "right", "yanchor": "top", "showarrow": False}
        annotations.append({"x": k + 0.5, "y": height, "yref": "paper", "text": text} | anchors)
    layout = {
        "shapes": shapes,
        "annotations": annotations,
        "bargap": 0,
        "xaxis": {"title": {"text": "rank of the neuron (1 = most sensitive)"}},
        "yaxis": {"title": {"text": f"sensitivity: {criteria()[selection.criterion].statistic}"}},
        "height": 320,
        "template": TEMPLATE,
    }
    return go.Figure(traces, layout)


def control(selected: float, draws: Sequence[float], measure: str) -> go.Figure:
    """How many random selections reach which value, and where the selection lies among them."""
    low, high = min([selected, *draws]), max([selected, *draws])
    edges = np.linspace(low, high, N_COLUMNS + 1) if high > low else np.array([low - 0.5, low + 0.5])
    counts = np.histogram(draws, edges)[0]
    figure = go.Figure(
        go.Bar(
            x=(edges[1:] + edges[:-1]) / 2,
            y=counts,
            width=np.diff(edges),
            marker={"color": REST},
            hovertemplate="%{y} random selections around %{x:.3f}<extra></extra>",
        )
    )
    is_left = selected < (low + high) / 2
    figure.add_vline(
        x=selected,
        line={"color": SELECTED, "width": 3},
        annotation={
            "text": f"selected neurons: {selected:.3f}",
            "font": {"color": SELECTED},
            "xanchor": "left" if is_left else "right",
        },
    )
    figure.update_layout(
        xaxis_title=measure,
        yaxis_title=f"random selections (of {len(draws)})",
        height=260,
        template=TEMPLATE,
        showlegend=False,
        bargap=0,
    )
    return figure
