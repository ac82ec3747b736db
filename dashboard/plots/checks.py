"""Figures of the page Selection's checks: criteria, sites, and the sweep over K."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.plots.template import (
    RANDOM_BAND,
    REFERENCE_LINE,
    REST,
    SELECTED,
    SEQUENTIAL,
    TEMPLATE,
    THRESHOLD_LINE,
    TOTAL,
    written,
)
from lake_core.detector.selection import Selection


def criteria_compared(selections: Mapping[str, Selection]) -> go.Figure:
    """Which of a layer's neurons each criterion selects: criteria as rows, neurons in the first criterion's order."""
    names = list(selections)
    order = selections[names[0]].order
    heat = go.Heatmap(
        z=np.array([np.isin(order, selections[name].neurons) for name in names], dtype=np.uint8),
        x=np.arange(1, len(order) + 1),
        y=names,
        customdata=np.tile(order, (len(names), 1)),
        colorscale=[[0, REST], [1, SELECTED]],
        zmin=0,
        zmax=1,
        ygap=6,
        showscale=False,
        hovertemplate="%{y}: neuron %{customdata}, rank %{x}<extra></extra>",
    )
    layout = {
        "xaxis": {"title": {"text": f"rank of the neuron by {names[0]}"}},
        "yaxis": {"autorange": "reversed"},
        "height": 70 + 40 * len(names),
        "template": TEMPLATE,
    }
    return go.Figure(heat, layout)


def overlap(table: pd.DataFrame) -> go.Figure:
    """Jaccard overlap between selections, criteria as rows and columns, with the numbers written in."""
    shares, names = table.to_numpy(), list(table.columns)
    heat = go.Heatmap(
        z=shares,
        x=names,
        y=list(table.index),
        zmin=0,
        zmax=1,
        colorscale=SEQUENTIAL,
        hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>",
        showscale=False,  # the numbers are written in, and a phone has no width to spare
    )
    figure = go.Figure([heat, written(shares, names, list(table.index), np.vectorize("{:.2f}".format)(shares))])
    figure.update_layout(height=100 + 44 * len(names), template=TEMPLATE, yaxis={"autorange": "reversed"})
    return figure


def _drawn_range(rows: pd.DataFrame) -> tuple[float, float]:
    """Lowest and greatest separation that the sweep shows: all of them, unless a few lie far beyond the others."""
    values = np.concatenate([rows["selected"], rows["random_mean"]])
    low, high = np.quantile(values, [0.25, 0.75])
    reach = 4 * max(high - low, 0.05)
    kept = values[(values >= low - reach) & (values <= high + reach)]
    return float(kept.min()), float(kept.max())


def beyond(rows: pd.DataFrame) -> str:
    """The values that the sweep leaves out, in words; "" where it shows all."""
    low, high = _drawn_range(rows)
    return "; ".join(
        f"{column.split('_')[0]} at K = {int(row['k'])}, {row[column]:.3g}"
        for _, row in rows.iterrows()
        for column in ("selected", "random_mean")
        if not low <= row[column] <= high
    )


def sweep(rows: pd.DataFrame, ks: Sequence[int], measure: str) -> go.Figure:
    """Separation against K on a log scale, selected and random, with the memory bank's memory on a second axis.

    Args:
        rows: From `sweep_k`, one K for all layers in each.
        ks: The configuration's own, each marked by a line.
        measure: On the axis.
    """
    low, high = _drawn_range(rows)
    room = 0.15 * max(high - low, 0.05)
    figure = go.Figure()
    _add_random(figure, rows)
    figure.add_scatter(
        x=rows["k"],
        y=rows["selected"],
        name="selected neurons",
        mode="lines+markers",
        line={"color": SELECTED},
        marker={"symbol": "diamond", "size": 9},
        hovertemplate="K = %{x}: %{y:.3f}<extra>selected</extra>",
    )
    figure.add_scatter(
        x=rows["k"],
        y=rows["memory_bank_bytes"] / 2**20,
        name="memory bank memory",
        yaxis="y2",
        mode="lines",
        line={"color": TOTAL, "dash": "dash", "width": 1},
        hovertemplate="K = %{x}: %{y:.2f} MiB<extra>memory</extra>",
    )
    for k in ks:
        figure.add_vline(x=k, line={"dash": "dash", "color": TOTAL, "width": 2})
    figure.update_layout(
        xaxis={"title": "K, neurons kept per layer (log)", "type": "log"},
        yaxis={"title": measure, "range": [low - room, high + room]},
        yaxis2={
            "title": "memory bank (MiB)",
            "overlaying": "y",
            "side": "right",
            "showgrid": False,
            "rangemode": "tozero",
            "tickmode": "auto",
            "nticks": 6,
        },
        height=360,
        template=TEMPLATE,
    )
    return figure


def _add_random(figure: go.Figure, rows: pd.DataFrame) -> None:
    """The mean of random neurons against K, in a band of one standard deviation."""
    upper, lower = rows["random_mean"] + rows["random_std"], rows["random_mean"] - rows["random_std"]
    figure.add_scatter(
        x=[*rows["k"], *rows["k"][::-1]],
        y=[*upper, *lower[::-1]],
        fill="toself",
        fillcolor=RANDOM_BAND,
        mode="lines",
        line={"width": 0},
        name="random ± std",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=rows["k"],
        y=rows["random_mean"],
        name="random neurons",
        mode="lines+markers",
        line=REFERENCE_LINE,
        marker={"symbol": "circle-open", "size": 8},
        hovertemplate="K = %{x}: %{y:.3f}<extra>random</extra>",
    )


def best_matches(matches: pd.DataFrame, correlated: float) -> go.Figure:
    """Absolute agreement of each selected hidden neuron with its best channel, most first.

    Args:
        matches: Columns neuron, channel and correlation, greatest absolute correlation first.
        correlated: From which two maps are called correlated; drawn as a line.
    """
    figure = go.Figure(
        go.Bar(
            x=list(range(1, len(matches) + 1)),
            y=matches["correlation"].abs().tolist(),
            customdata=matches[["neuron", "residual_channel", "correlation"]].to_numpy().tolist(),
            marker={"color": SELECTED, "line": {"width": 0}},
            hovertemplate="MLP hidden %{customdata[0]:d} and residual channel %{customdata[1]:d}: %{customdata[2]:.2f}"
            "<extra></extra>",
        )
    )
    figure.add_hline(y=correlated, line=THRESHOLD_LINE, annotation_text="correlated")
    figure.update_layout(
        bargap=0,
        xaxis_title="selected MLP hidden neurons, best matched first",
        yaxis={"title": "absolute correlation", "range": [0, 1]},
        height=280,
        template=TEMPLATE,
    )
    return figure
