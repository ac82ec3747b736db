"""Figures of the Interventions page: an outcome among random draws, and how a change travels through the layers."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.plots.template import (
    CHOSEN,
    DEFECTIVE,
    GOOD,
    RANDOM,
    RANDOM_BAND,
    REFERENCE_LINE,
    TEMPLATE,
    THRESHOLD,
    THRESHOLD_LINE,
    UNKNOWN,
    circles,
    diamond,
)
from dashboard.text import in_figure
from lake_core.experiments.deletion import Curve
from lake_core.experiments.patching import LayerChange


def among_draws(own: float, draws: Sequence[float], what: str) -> go.Figure:
    """The chosen neurons' change beside those of random draws: one open circle per draw, their own a diamond."""
    figure = go.Figure()
    figure.add_scatter(
        x=list(draws),
        y=["random draws"] * len(draws),
        mode="markers",
        marker=circles(),
        hovertemplate="random draw: %{x:.4f}<extra></extra>",
    )
    figure.add_scatter(
        x=[own],
        y=["chosen neurons"],
        mode="markers",
        marker=diamond(),
        hovertemplate="chosen neurons: %{x:.4f}<extra></extra>",
    )
    figure.add_vline(x=0, line={"color": THRESHOLD, "dash": "dot", "width": 2})
    figure.update_layout(xaxis_title=what, height=190, template=TEMPLATE, showlegend=False)
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
                line={"width": 1, "color": RANDOM, "dash": "dot"},
                fill=fill,
                fillcolor=RANDOM_BAND,
                showlegend=fill is not None,
                hovertemplate="layer %{x}: %{y:.2f}%<extra>random draws</extra>",
            )
    figure.add_scatter(
        x=numbers,
        y=[100 * one.relative for one in layers],
        mode="lines+markers",
        name="chosen neurons",
        line={"color": CHOSEN, "width": 2},
        hovertemplate="layer %{x}: %{y:.2f}%<extra></extra>",
    )
    figure.update_layout(
        xaxis_title="layer", yaxis_title="change of the layer's output (%)", height=300, template=TEMPLATE
    )
    return figure


def removal_curve(curve: Curve, threshold: float) -> go.Figure:
    """The score while patches are removed, or put back, by the map and in random orders."""
    shares = (100 * curve.shares).tolist()
    figure = go.Figure()
    for index, row in enumerate(curve.at_random):
        figure.add_scatter(
            x=shares,
            y=row.tolist(),
            mode="lines",
            name="random order",
            line=REFERENCE_LINE,
            showlegend=index == 0,
            hovertemplate="%{x:.0f}%: %{y:.3f}<extra>random order</extra>",
        )
    figure.add_scatter(
        x=shares,
        y=curve.by_map.tolist(),
        mode="lines+markers",
        name="in the order of the map",
        line={"color": CHOSEN, "width": 2.5},
        hovertemplate="%{x:.0f}%: %{y:.3f}<extra>by the map</extra>",
    )
    figure.add_hline(y=threshold, line=THRESHOLD_LINE, annotation_text=f"threshold {threshold:.3f}")
    done = "deleted" if curve.config.direction == "deletion" else "inserted"
    figure.update_layout(xaxis_title=f"patches {done} (%)", yaxis_title="image score", height=340, template=TEMPLATE)
    return figure


def before_after(table: pd.DataFrame, threshold_before: float, threshold_after: float) -> go.Figure:
    """Scores before against scores after; the shape of a point is its label.

    Args:
        table: Columns image, label (True, False or missing), before and after.
        threshold_before, threshold_after: Drawn as lines.
    """
    groups = (
        ("labelled defective", table["label"].fillna(False).astype(bool), "x", DEFECTIVE),
        ("labelled good", table["label"].notna() & ~table["label"].fillna(False).astype(bool), "circle", GOOD),
        ("no label", table["label"].isna(), "diamond-open", UNKNOWN),
    )
    figure = go.Figure()
    for name, mask, symbol, colour in groups:
        rows = table[mask]
        if len(rows):
            figure.add_scatter(
                x=rows["before"].tolist(),
                y=rows["after"].tolist(),
                mode="markers",
                name=name,
                marker={"symbol": symbol, "size": 10, "color": colour},
                customdata=rows["image"].map(in_figure).tolist(),
                hovertemplate="%{customdata}<br>%{x:.3f} before, %{y:.3f} after<extra></extra>",
            )
    top = 1.05 * max(table["before"].max(), table["after"].max(), threshold_before, threshold_after)
    figure.add_scatter(x=[0, top], y=[0, top], mode="lines", name="no change", line=REFERENCE_LINE, hoverinfo="skip")
    figure.add_vline(x=threshold_before, line=THRESHOLD_LINE, annotation_text="threshold before")
    figure.add_hline(y=threshold_after, line=THRESHOLD_LINE, annotation_text="threshold after")
    figure.update_layout(
        xaxis_title="image score before",
        yaxis_title="image score after",
        height=380,
        template=TEMPLATE,
        legend={"y": -0.25},
    )
    return figure
