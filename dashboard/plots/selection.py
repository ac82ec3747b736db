"""Figures of the Selection page: all layers at a glance, criteria, stability, and the sweep over K."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.plots.figures import LINE, MARGIN, MUTED, VISUAL
from lake_core.detector.selection import Selection

N_BINS = 60
SEQUENTIAL = "Cividis"


def bins(selection: Selection) -> list[np.ndarray]:
    """A layer's neurons, most sensitive first, in the parts that the X-ray draws as one square each."""
    return np.array_split(selection.order, min(N_BINS, selection.n_neurons))


def xray(selections: Mapping[int, Selection], in_use: tuple[int, ...]) -> go.Figure:
    """Every layer as a row, its neurons in bins from most to least sensitive; colour is sensitivity over the mean.

    A square can be clicked; its customdata is (layer, most sensitive neuron of the bin).
    """
    layers = list(selections)
    shares, points, x, y, hovers = [], [], [], [], []
    for layer in layers:
        selection = selections[layer]
        parts = bins(selection)
        mean = float(selection.sensitivity.mean()) or 1.0
        row = np.array([selection.sensitivity[part].mean() / mean for part in parts])
        shares.append(np.interp(np.linspace(0, 1, N_BINS), np.linspace(0, 1, len(row)), row))
        n_kept, start = len(selection.neurons), 0
        for index, (part, share) in enumerate(zip(parts, row.tolist(), strict=True)):
            points.append((layer, int(part[0])))
            x.append((index + 0.5) / len(parts) * 100)
            y.append(layer)
            n_in = min(max(n_kept - start, 0), len(part))
            hovers.append(
                f"layer {layer}, ranks {start + 1} to {start + len(part)}: {share:.2f} × the layer's mean, "
                f"{n_in} of {len(part)} selected"
            )
            start += len(part)
    heat = go.Heatmap(
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
    cut = go.Scatter(
        x=[100 * len(selections[layer].neurons) / selections[layer].n_neurons for layer in layers],
        y=layers,
        mode="lines+markers",
        name="cut at K",
        line={"color": "white", "width": 3, "shape": "vhv"},
        marker={"size": 5, "color": "white", "line": {"color": "black", "width": 1}},
        unselected={"marker": {"opacity": 1}},
        hoverinfo="skip",
    )
    invisible = {"marker": {"opacity": 0}}
    targets = go.Scatter(
        x=np.array(x),
        y=np.array(y),
        mode="markers",
        customdata=points,
        name="neurons",
        marker={"symbol": "square", "size": 12, "opacity": 0},
        selected=invisible,
        unselected=invisible,
        text=hovers,
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )
    layout = {
        "xaxis": {"title": {"text": "neurons of the layer, most sensitive first (%)"}, "range": [0, 100]},
        "yaxis": {
            "title": {"text": "layer (1 = at the input)"},
            "tickvals": layers,
            "ticktext": [f"{layer} ●" if layer in in_use else str(layer) for layer in layers],
            "autorange": "reversed",
        },
        "height": 220 + 18 * len(layers),
        "margin": MARGIN,
        "clickmode": "event+select",
        "dragmode": False,
        "hovermode": "closest",
        "legend": {"orientation": "h", "y": 1.08},
    }
    return go.Figure([heat, cut, targets], layout)


def side_by_side(selections: Mapping[str, Selection]) -> go.Figure:
    """Which of a layer's neurons each criterion selects: criteria as rows, neurons in the first criterion's order."""
    names = list(selections)
    order = selections[names[0]].order
    heat = go.Heatmap(
        z=np.array([np.isin(order, selections[name].neurons) for name in names], dtype=np.uint8),
        x=np.arange(1, len(order) + 1),
        y=names,
        customdata=np.tile(order, (len(names), 1)),
        colorscale=[[0, MUTED], [1, VISUAL]],
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
        "margin": MARGIN,
    }
    return go.Figure(heat, layout)


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
    """Overlap with the full selection against the number of normal images, one dot per choice of images."""
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
            hovertemplate="%{x} normal images: %{y:.3f}<extra></extra>",
        )
    figure.update_layout(
        xaxis={"title": "normal images used", "dtick": 1},
        yaxis={"title": "Jaccard with the full selection", "range": [0, 1.05]},
        height=320,
        margin=MARGIN,
        legend={"orientation": "h", "y": -0.3},
    )
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


def sweep(rows: pd.DataFrame, top_k: int, measure: str) -> go.Figure:
    """Separation against K on a log scale, selected and random, with the memory bank's memory on a second axis."""
    low, high = _drawn_range(rows)
    room = 0.15 * max(high - low, 0.05)
    figure = go.Figure()
    upper, lower = rows["random_mean"] + rows["random_std"], rows["random_mean"] - rows["random_std"]
    figure.add_scatter(
        x=[*rows["k"], *rows["k"][::-1]],
        y=[*upper, *lower[::-1]],
        fill="toself",
        fillcolor="rgba(154,165,170,.3)",
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
        line={"color": MUTED, "dash": "dot"},
        marker={"symbol": "circle-open", "size": 8},
        hovertemplate="K = %{x}: %{y:.3f}<extra>random</extra>",
    )
    figure.add_scatter(
        x=rows["k"],
        y=rows["selected"],
        name="selected neurons",
        mode="lines+markers",
        line={"color": VISUAL},
        marker={"symbol": "diamond", "size": 9},
        hovertemplate="K = %{x}: %{y:.3f}<extra>selected</extra>",
    )
    figure.add_scatter(
        x=rows["k"],
        y=rows["memory_bank_bytes"] / 2**20,
        name="memory bank memory",
        yaxis="y2",
        mode="lines",
        line={"color": LINE, "dash": "dash", "width": 1},
        hovertemplate="K = %{x}: %{y:.2f} MiB<extra>memory</extra>",
    )
    figure.add_vline(x=top_k, line={"dash": "dash", "color": LINE, "width": 2})
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
        margin=MARGIN,
        legend={"orientation": "h", "y": -0.3},
    )
    return figure


def best_matches(matches: pd.DataFrame, alike: float) -> go.Figure:
    """Absolute agreement of each selected hidden neuron with its best channel, most first.

    Args:
        matches: Columns neuron, channel and correlation, greatest absolute correlation first.
        alike: From which two maps are called alike; drawn as a line.
    """
    figure = go.Figure(
        go.Bar(
            x=list(range(1, len(matches) + 1)),
            y=matches["correlation"].abs().tolist(),
            customdata=matches[["neuron", "residual_channel", "correlation"]].to_numpy().tolist(),
            marker={"color": VISUAL, "line": {"width": 0}},
            hovertemplate="hidden neuron %{customdata[0]:d} and channel %{customdata[1]:d}: %{customdata[2]:.2f}"
            "<extra></extra>",
        )
    )
    figure.add_hline(y=alike, line={"dash": "dash", "color": LINE, "width": 2}, annotation_text="alike")
    figure.update_layout(
        bargap=0,
        xaxis_title="selected hidden neurons, best matched first",
        yaxis={"title": "agreement of maps (absolute correlation)", "range": [0, 1]},
        height=280,
        margin=MARGIN,
    )
    return figure
