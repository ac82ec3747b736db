"""Figures of the What if page: an outcome among random draws, and how a change travels through the layers."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.figures import LINE, MARGIN, MUTED, TEST, VISUAL
from lake_core.causal import LayerChange


def among_draws(own: float, draws: Sequence[float], what: str, chosen: str = "chosen neurons") -> go.Figure:
    """A change beside those of random draws: one open circle per draw, the chosen one a diamond."""
    figure = go.Figure()
    figure.add_scatter(
        x=list(draws),
        y=["random draws"] * len(draws),
        mode="markers",
        marker={"size": 11, "color": MUTED, "symbol": "circle-open", "line": {"width": 2}},
        hovertemplate="random draw: %{x:.4f}<extra></extra>",
    )
    figure.add_scatter(
        x=[own],
        y=[chosen],
        mode="markers",
        marker={"size": 15, "color": VISUAL, "symbol": "diamond"},
        hovertemplate=f"{chosen}: %{{x:.4f}}<extra></extra>",
    )
    figure.add_vline(x=0, line={"color": LINE, "dash": "dot", "width": 2})
    figure.update_layout(xaxis_title=what, height=190, margin=MARGIN, showlegend=False)
    return figure


def through_layers(layers: Sequence[LayerChange], draws: np.ndarray) -> go.Figure:
    """How much every later layer changed, with the range of the random draws.

    Args:
        layers: From the first changed one to the last.
        draws: (n_draws, len(layers)) the same by random draws.
    """
    numbers = [one.layer for one in layers]
    figure = go.Figure()
    if len(draws):
        for name, values, fill in (("random draws", draws.min(0), None), ("random draws", draws.max(0), "tonexty")):
            figure.add_scatter(
                x=numbers,
                y=(100 * values).tolist(),
                mode="lines",
                name=name,
                line={"width": 1, "color": MUTED, "dash": "dot"},
                fill=fill,
                fillcolor="rgba(154,165,170,0.25)",
                showlegend=fill is not None,
                hovertemplate="layer %{x}: %{y:.2f} %<extra>random draws</extra>",
            )
    figure.add_scatter(
        x=numbers,
        y=[100 * one.relative for one in layers],
        mode="lines+markers",
        name="chosen neurons",
        line={"color": TEST, "width": 2},
        hovertemplate="layer %{x}: %{y:.2f} %<extra></extra>",
    )
    figure.update_layout(
        xaxis_title="layer",
        yaxis_title="change of the layer's output (%)",
        height=300,
        margin=MARGIN,
        legend={"orientation": "h", "y": -0.3},
    )
    return figure
