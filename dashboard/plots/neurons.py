"""Figures of the page Neurons: how one neuron's activations are distributed, and many neurons on all test images."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from dashboard.plots.template import CHOSEN, INVISIBLE, NORMAL, TEMPLATE
from dashboard.text import in_figure
from lake_core.visualization.colours import ValueScale


def activation_histogram(groups: Mapping[str, np.ndarray]) -> go.Figure:
    """Activations of one neuron over the patches of two groups, as shares of each group's patches.

    Args:
        groups: Name -> values; the second, if any, is drawn dotted.
    """
    everything = np.concatenate(list(groups.values()))
    low, high = float(everything.min()), float(everything.max())
    size = (high - low) / 60 or 1.0
    figure = go.Figure()
    for (name, values), colour, dash in zip(groups.items(), (NORMAL, CHOSEN), ("solid", "dot"), strict=False):
        counts, edges = np.histogram(values, bins=60, range=(low, low + 60 * size))
        figure.add_scatter(
            x=(edges[:-1] + edges[1:]) / 2,
            y=100 * counts / len(values),
            mode="lines",
            name=name,
            line={"shape": "hvh", "color": colour, "dash": dash, "width": 2},
            hovertemplate="activation %{x:.3g}: %{y:.2f}%<extra></extra>",
        )
    figure.update_layout(
        xaxis_title="activation", yaxis_title="% of patches (log)", yaxis_type="log", height=300, template=TEMPLATE
    )
    return figure


MOST_SIGNS = 26
"""Of a name beside a row."""


class Row(NamedTuple):
    """A row of the matrix of images by neurons: the image's kind and its name."""

    kind: str
    name: str


def by_image(
    values_in: np.ndarray, rows: Sequence[Row], neurons: Sequence[int], scale: ValueScale, what: str
) -> go.Figure:
    """Images by neurons as a heat map with a line between kinds.

    A cell can be clicked; its customdata is (row, neuron).

    Args:
        values_in: (n_images, n_neurons).
        rows: Of the images, those of one kind together.
        neurons: Of the columns.
        scale: The colours.
        what: The values, for the scale's title.
    """
    n_rows, n_columns = values_in.shape
    heat = go.Heatmap(
        z=values_in,
        zmin=scale.low,
        zmax=scale.limit,
        colorscale="RdBu_r" if scale.is_signed else "Viridis",
        hoverinfo="skip",
        colorbar={
            "title": {"text": what, "side": "top"},
            "orientation": "h",
            "y": -0.02,
            "yanchor": "top",
            "thickness": 12,
        },
    )
    starts = [at for at in range(1, n_rows) if rows[at].kind != rows[at - 1].kind]
    line = {"type": "line", "x0": -0.5, "x1": n_columns - 0.5, "line": {"color": "white", "width": 3}}
    layout = {
        "shapes": [line | {"y0": at - 0.5, "y1": at - 0.5} for at in starts],
        "xaxis": {
            "tickvals": list(range(n_columns)),
            "ticktext": [str(neuron) for neuron in neurons],
            "tickangle": -90,
            "tickfont": {"size": 11},
            "side": "top",
            "title": {"text": "neuron"},
            "range": [-0.5, n_columns - 0.5],
        },
        "yaxis": {
            "tickvals": list(range(n_rows)),
            "ticktext": [in_figure(f"{row.kind} · {row.name.rsplit('/')[-1]}"[-MOST_SIGNS:]) for row in rows],
            "tickfont": {"size": 11},
            "range": [n_rows - 0.5, -0.5],
        },
        "height": 190 + 17 * n_rows,
        "template": TEMPLATE,
        "clickmode": "event+select",
        "dragmode": False,
        "hovermode": "closest",
    }
    return go.Figure([heat, _cells(values_in, rows, neurons)], layout)


def _cells(values_in: np.ndarray, rows: Sequence[Row], neurons: Sequence[int]) -> go.Scatter:
    """What can be clicked: one invisible mark on each cell."""
    places = [(row, column) for row in range(len(rows)) for column in range(len(neurons))]
    return go.Scatter(
        x=[column for _, column in places],
        y=[row for row, _ in places],
        mode="markers",
        marker={"symbol": "square", "size": 14, "opacity": 0},
        selected=INVISIBLE,
        unselected=INVISIBLE,
        customdata=[[row, neurons[column]] for row, column in places],
        text=[
            f"{in_figure(rows[row].name)} ({in_figure(rows[row].kind)})<br>"
            f"neuron {neurons[column]}: {values_in[row, column]:.3f}"
            for row, column in places
        ],
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )
