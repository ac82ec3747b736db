"""Figures of the Selection page: all layers at a glance, overlap of criteria, stability, and the sweep over K."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.figures import LINE, MARGIN, MUTED, VISUAL
from lake_core.selection import Selection

N_BINS = 60
SEQUENTIAL = "Cividis"


def xray(selections: Mapping[int, Selection], in_use: tuple[int, ...]) -> go.Figure:
    """Every layer as a row, its units in bins from most to least sensitive; colour is sensitivity over the mean.

    A square can be clicked; its customdata is (layer, most sensitive unit of the bin).
    """
    layers = list(selections)
    shares, points, colours, hovers = [], [], [], []
    for layer in layers:
        selection = selections[layer]
        bins = np.array_split(selection.order, min(N_BINS, selection.n_units))
        mean = float(selection.sensitivity.mean()) or 1.0
        row = np.array([selection.sensitivity[part].mean() / mean for part in bins])
        shares.append(np.interp(np.linspace(0, 1, N_BINS), np.linspace(0, 1, len(row)), row))
        for index, part in enumerate(bins):
            points.append((layer, int(part[0])))
            colours.append(((index + 0.5) / len(bins) * 100, layer))
            hovers.append(f"layer {layer}, from unit {part[0]}: {row[index]:.2f} × the layer's mean")
    figure = go.Figure(
        go.Heatmap(
            z=np.log10(np.maximum(np.array(shares), 1e-2)),
            x=(np.arange(N_BINS) + 0.5) / N_BINS * 100,
            y=layers,
            colorscale=SEQUENTIAL,
            zmin=-1,
            zmax=1,
            hoverinfo="skip",
            colorbar={
                "title": "sensitivity ÷ layer mean",
                "tickvals": [-1, 0, 1],
                "ticktext": ["0.1", "1", "10"],
                "thickness": 12,
            },
        )
    )
    cuts = [100 * len(selections[layer].units) / selections[layer].n_units for layer in layers]
    figure.add_scatter(
        x=cuts,
        y=layers,
        mode="lines+markers",
        name="cut at K",
        line={"color": "white", "width": 3, "shape": "vhv"},
        marker={"size": 5, "color": "white", "line": {"color": "black", "width": 1}},
        hoverinfo="skip",
    )
    invisible = {"marker": {"opacity": 0}}
    figure.add_scatter(
        x=[x for x, _ in colours],
        y=[y for _, y in colours],
        mode="markers",
        customdata=points,
        name="units",
        marker={"symbol": "square", "size": 12, "opacity": 0},
        selected=invisible,
        unselected=invisible,
        text=hovers,
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )
    figure.update_layout(
        xaxis={"title": "units of the layer, most sensitive first (%)", "range": [0, 100]},
        yaxis={
            "title": "layer (1 = at the input)",
            "tickvals": layers,
            "ticktext": [f"{layer} ●" if layer in in_use else str(layer) for layer in layers],
            "autorange": "reversed",
        },
        height=130 + 18 * len(layers),
        margin=MARGIN,
        clickmode="event+select",
        dragmode=False,
        hovermode="closest",
        legend={"orientation": "h", "y": 1.08},
    )
    return figure


def overlap(table: pd.DataFrame) -> go.Figure:
    """Jaccard overlap between selections, criteria as rows and columns, with the numbers written in."""
    figure = go.Figure(
        go.Heatmap(
            z=table.to_numpy(),
            x=list(table.columns),
            y=list(table.index),
            zmin=0,
            zmax=1,
            colorscale=SEQUENTIAL,
            texttemplate="%{z:.2f}",
            hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>",
            colorbar={"title": "Jaccard", "thickness": 12},
        )
    )
    figure.update_layout(height=330, margin=MARGIN, yaxis={"autorange": "reversed"})
    return figure


def overlaps_by_count(runs: pd.DataFrame) -> go.Figure:
    """Overlap with the full selection against the number of normal pictures, one dot per choice of pictures."""
    figure = go.Figure()
    styles = {"fewer": ("circle-open", MUTED, "random choices"), "leave one out": ("diamond", VISUAL, "one left out")}
    for what, (symbol, colour, name) in styles.items():
        rows = runs[runs["what"] == what]
        figure.add_scatter(
            x=rows["n_normals"],
            y=rows["jaccard"],
            mode="markers",
            name=name,
            marker={"symbol": symbol, "size": 10, "color": colour, "line": {"width": 2}},
            hovertemplate="%{x} normal pictures: %{y:.3f}<extra></extra>",
        )
    figure.update_layout(
        xaxis={"title": "normal pictures used", "dtick": 1},
        yaxis={"title": "Jaccard with the full selection", "range": [0, 1.05]},
        height=320,
        margin=MARGIN,
        legend={"orientation": "h", "y": -0.3},
    )
    return figure


def sweep(rows: pd.DataFrame, top_k: int, measure: str) -> go.Figure:
    """Separation against K on a log scale, selected and random, with the gallery's memory on a second axis."""
    figure = go.Figure()
    upper, lower = rows["random_mean"] + rows["random_std"], rows["random_mean"] - rows["random_std"]
    figure.add_scatter(
        x=[*rows["k"], *rows["k"][::-1]],
        y=[*upper, *lower[::-1]],
        fill="toself",
        fillcolor="rgba(154,165,170,.3)",
        line={"width": 0},
        name="random ± std",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=rows["k"],
        y=rows["random_mean"],
        name="random units",
        mode="lines+markers",
        line={"color": MUTED, "dash": "dot"},
        marker={"symbol": "circle-open", "size": 8},
        hovertemplate="K = %{x}: %{y:.3f}<extra>random</extra>",
    )
    figure.add_scatter(
        x=rows["k"],
        y=rows["selected"],
        name="selected units",
        mode="lines+markers",
        line={"color": VISUAL},
        marker={"symbol": "diamond", "size": 9},
        hovertemplate="K = %{x}: %{y:.3f}<extra>selected</extra>",
    )
    figure.add_scatter(
        x=rows["k"],
        y=rows["gallery_bytes"] / 2**20,
        name="gallery memory",
        yaxis="y2",
        mode="lines",
        line={"color": LINE, "dash": "dash", "width": 1},
        hovertemplate="K = %{x}: %{y:.2f} MiB<extra>memory</extra>",
    )
    figure.add_vline(x=top_k, line={"dash": "dash", "color": LINE, "width": 2})
    figure.update_layout(
        xaxis={"title": "K, units kept per layer (log)", "type": "log"},
        yaxis={"title": measure},
        yaxis2={"title": "gallery (MiB)", "overlaying": "y", "side": "right", "showgrid": False, "rangemode": "tozero"},
        height=360,
        margin=MARGIN,
        legend={"orientation": "h", "y": -0.3},
    )
    return figure


def best_matches(matches: pd.DataFrame, alike: float) -> go.Figure:
    """Absolute agreement of each selected hidden unit with its best channel, most first.

    Args:
        matches: Columns unit, channel and correlation, greatest absolute correlation first.
        alike: From which two maps are called alike; drawn as a line.
    """
    figure = go.Figure(
        go.Bar(
            x=list(range(1, len(matches) + 1)),
            y=matches["correlation"].abs().tolist(),
            customdata=matches[["unit", "channel", "correlation"]].to_numpy().tolist(),
            marker={"color": VISUAL, "line": {"width": 0}},
            hovertemplate="hidden unit %{customdata[0]:d} and channel %{customdata[1]:d}: %{customdata[2]:.2f}"
            "<extra></extra>",
        )
    )
    figure.add_hline(y=alike, line={"dash": "dash", "color": LINE, "width": 2}, annotation_text="alike")
    figure.update_layout(
        bargap=0,
        xaxis_title="selected hidden units, best matched first",
        yaxis={"title": "agreement of maps (absolute correlation)", "range": [0, 1]},
        height=280,
        margin=MARGIN,
    )
    return figure
