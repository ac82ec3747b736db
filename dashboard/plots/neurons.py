"""Figure of the page Neurons: how one neuron's activations are distributed."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from dashboard.plots.template import CHOSEN, NORMAL, TEMPLATE


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
            hovertemplate="activation %{x:.3g}: %{y:.2f} %<extra></extra>",
        )
    figure.update_layout(
        xaxis_title="activation", yaxis_title="% of patches (log)", yaxis_type="log", height=300, template=TEMPLATE
    )
    return figure
