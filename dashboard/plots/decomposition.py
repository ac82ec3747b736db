"""Figures of the score decomposition: the fusion weight, two images compared, and phrases."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboard.plots.template import CHOSEN, REST, TEMPLATE, TEXT, THRESHOLD_LINE, TOTAL, VISUAL, ink
from dashboard.text import in_figure
from lake_core.detector.contributions import adding_up


def _bars(values: Sequence[float], names: Sequence[str], colours: Sequence[str], texts: Sequence[str]) -> go.Bar:
    """Horizontal bars with their values written in, or beside them where they are short."""
    return go.Bar(
        x=values,
        y=names,
        orientation="h",
        marker={"color": colours},
        text=texts,
        textposition="auto",
        insidetextfont={"color": [ink(colour) for colour in colours]},
    )


def _top_down(bars: go.Bar, axis: str, height: float) -> go.Figure:
    """Bars as a figure, the first at the top."""
    layout = {"xaxis": {"title": {"text": axis}}, "yaxis": {"autorange": "reversed"}}
    return go.Figure(bars, layout | {"height": height, "template": TEMPLATE})


def weight_curve(curve: pd.DataFrame, measure: str, present: float, paper: float = 0.3) -> go.Figure:
    """Separation against fusion weight, with the paper's weight and the present one.

    Args:
        curve: Columns fusion_weight and separation.
        measure: What the separation is.
        present: The present weight.
        paper: The paper's best weight.
    """
    figure = go.Figure()
    figure.add_scatter(
        x=curve["fusion_weight"].tolist(),
        y=curve["separation"].tolist(),
        mode="lines+markers",
        line={"color": VISUAL, "width": 2},
        hovertemplate="w = %{x:.2f}: %{y:.3f}<extra></extra>",
    )
    figure.add_vline(x=paper, line={"dash": "dot", "color": REST, "width": 2}, annotation_text=f"paper: {paper:g}")
    figure.add_vline(
        x=present, line=THRESHOLD_LINE, annotation_text=f"now: {present:.2f}", annotation_position="bottom right"
    )
    figure.update_layout(
        xaxis_title="fusion weight w (0 is visual alone, 1 is text alone)",
        yaxis_title=measure,
        height=320,
        template=TEMPLATE,
        showlegend=False,
    )
    return figure


def score_parts(by_layer: pd.DataFrame, score: float, threshold: float) -> go.Figure:
    """The parts of a score, each bar beginning where the one before ends, their sum, and the threshold.

    Args:
        by_layer: Columns part, layer and contribution, a row for each layer and the text part.
        score: What they add up to.
        threshold: The decision threshold.
    """
    rows = by_layer.to_dict("records")
    names = ["text" if row["part"] == "text" else f"visual, layer {row['layer']}" for row in rows]
    values = [float(row["contribution"]) for row in rows]
    colours = [TEXT if row["part"] == "text" else VISUAL for row in rows]
    texts = [f"{value:.3f}" for value in adding_up(values, score)]
    bars = _bars([*values, score], [*names, "score"], [*colours, TOTAL], [*texts, f"{score:.3f}"])
    bars.textangle = 0
    bars.base = [*(sum(values[:i]) for i in range(len(values))), 0.0]
    figure = _top_down(bars, "", 110 + 62 * (len(rows) + 1))
    figure.add_vline(x=threshold, line=THRESHOLD_LINE, annotation_text=f"threshold {threshold:.2f}")
    figure.update_layout(font_size=20, xaxis_tickfont_size=18, yaxis_tickfont_size=20)
    return figure


def difference_bars(table: pd.DataFrame, total: float, names: tuple[str, str], n_shown: int = 15) -> go.Figure:
    """Where two decompositions differ most: difference by neuron, the rest as one bar.

    Args:
        table: Columns part, layer, neuron and difference, greatest absolute difference first.
        total: The difference of the two scores, as it is read; the bars add up to it, as they are read.
        names: Of the two images.
        n_shown: Rows shown one by one.
    """
    shown, rest = table.head(n_shown), table.iloc[n_shown:]
    labels = [
        "text" if row["part"] == "text" else f"layer {row['layer']} · neuron {row['neuron']}"
        for row in shown.to_dict("records")
    ]
    values = shown["difference"].tolist()
    if len(rest):
        labels.append(f"other {len(rest)} contributions")
        values.append(float(rest["difference"].sum()))
    bars = _bars(values, labels, [TOTAL] * len(values), [f"{value:+.3f}" for value in adding_up(values, total)])
    bars.hovertemplate = "%{y}: %{x:+.4f}<extra></extra>"
    axis = "contribution in {} minus contribution in {}".format(*map(in_figure, names))
    return _top_down(bars, axis, 80 + 26 * len(values))


def prompt_bars(by_phrase: pd.DataFrame) -> go.Figure:
    """Similarity of each phrase with the patch and with the whole image.

    Args:
        by_phrase: Columns state, phrase, cos_patch and cos_image.
    """
    names = [in_figure(f"{row['state']}: {row['phrase']}") for row in by_phrase.to_dict("records")]
    figure = go.Figure()
    for name, column, colour, symbol in (
        ("patch", "cos_patch", CHOSEN, "circle"),
        ("whole image", "cos_image", VISUAL, "diamond-open"),
    ):
        figure.add_scatter(
            x=by_phrase[column].tolist(),
            y=names,
            mode="markers",
            name=name,
            marker={"size": 11, "color": colour, "symbol": symbol, "line": {"width": 2}},
            hovertemplate="%{y}: %{x:.3f}<extra>" + name + "</extra>",
        )
    figure.update_layout(
        xaxis_title="cosine similarity",
        height=110 + 24 * len(names),
        template=TEMPLATE,
        yaxis={"autorange": "reversed"},
        legend={"y": -0.15},
    )
    return figure
