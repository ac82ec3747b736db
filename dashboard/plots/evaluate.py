"""Figures of the Evaluate page: methods by category and by shots, the two curves of a run, and its confusion matrix."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from sklearn.metrics import precision_recall_curve, roc_curve

from dashboard.plots.template import (
    CHOSEN,
    DEFECTIVE,
    GOOD,
    LEGEND_ABOVE,
    RANDOM,
    REFERENCE_LINE,
    SEQUENTIAL,
    TEMPLATE,
    THRESHOLD,
    THRESHOLD_LINE,
    TOTAL,
    VISUAL,
    written,
)
from dashboard.text import in_figure
from dashboard.words import METHOD_NAMES
from lake_core.metrics.decision import Counts, counts, thresholds_below

METRIC_NAMES = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "best image F1",
    "pixel_auroc": "pixel AUROC",
    "pixel_aupro": "pixel AUPRO (up to FPR 0.3)",
    "pointing_game": "pointing game (max-scoring patch on the defect)",
}
STYLES: dict[str, dict[str, str]] = {
    "lake": {"color": VISUAL, "symbol": "diamond", "dash": "solid"},
    "random": {"color": RANDOM, "symbol": "circle-open", "dash": "dot"},
    "all": {"color": GOOD, "symbol": "square", "dash": "dash"},
    "visual": {"color": CHOSEN, "symbol": "triangle-up", "dash": "dashdot"},
    "text": {"color": THRESHOLD, "symbol": "x", "dash": "longdash"},
    "patchcore": {"color": "#9C2C77", "symbol": "star", "dash": "longdashdot"},
    "anomalydino": {"color": "#2F6B2F", "symbol": "pentagon", "dash": "2px,5px"},
    "subspacead": {"color": "#5A4FCF", "symbol": "cross", "dash": "12px,4px"},
    "winclip": {"color": "#3B5BA9", "symbol": "hourglass", "dash": "8px,3px,2px,3px,2px,3px"},
}
OTHER_STYLE = {"color": TOTAL, "symbol": "circle", "dash": "solid"}
"""Of a baseline that was added without a look of its own."""


def style_of(method: str) -> dict[str, str]:
    """Colour, symbol and dash of a method."""
    return STYLES.get(method, OTHER_STYLE)


def by_category(summary: pd.DataFrame, metric: str) -> go.Figure:
    """Each method's mean over seeds, a row for each category, with intervals."""
    figure = go.Figure()
    categories = list(dict.fromkeys(summary["category"]))
    methods = list(dict.fromkeys(summary["method"]))
    for index, method in enumerate(methods):
        rows = summary[summary["method"] == method]
        offset = min(0.13, 0.8 / len(methods)) * ((len(methods) - 1) / 2 - index)
        figure.add_scatter(
            x=rows[f"{metric}_mean"],
            y=[categories.index(category) - offset for category in rows["category"]],
            mode="markers",
            name=METHOD_NAMES[method],
            error_x=_bars(rows, metric, method),
            marker={"symbol": style_of(method)["symbol"], "size": 10, "color": style_of(method)["color"]},
            text=rows["category"].map(in_figure),
            hovertemplate="%{text}: %{x:.3f}<extra>" + METHOD_NAMES[method] + "</extra>",
        )
    figure.update_layout(
        xaxis={"title": f"{METRIC_NAMES[metric]}, mean over seeds", "range": _range(summary, metric)},
        yaxis={
            "tickvals": list(range(len(categories))),
            "ticktext": list(map(in_figure, categories)),
            "autorange": "reversed",
        },
        height=150 + 24 * len(methods) * len(categories) ** 0.9,
        template=TEMPLATE,
        legend=LEGEND_ABOVE,
    )
    return figure


def by_shots(summary: pd.DataFrame, metric: str) -> go.Figure:
    """Each method against the number of normal images, for one category or the mean, with intervals."""
    figure = go.Figure()
    for index, method in enumerate(dict.fromkeys(summary["method"])):
        rows = summary[summary["method"] == method]
        figure.add_scatter(
            x=rows["shots"] * 1.02**index,  # side by side on the log scale, so that intervals do not cover each other
            y=rows[f"{metric}_mean"],
            mode="lines+markers",
            name=METHOD_NAMES[method],
            error_y=_bars(rows, metric, method),
            customdata=rows["shots"],
            line={"color": style_of(method)["color"], "dash": style_of(method)["dash"]},
            marker={"symbol": style_of(method)["symbol"], "size": 9},
            hovertemplate="normal images: %{customdata}, %{y:.3f}<extra>" + METHOD_NAMES[method] + "</extra>",
        )
    figure.update_layout(
        xaxis={
            "title": "normal images learned from (shots, log)",
            "type": "log",
            "tickvals": sorted(set(summary["shots"])),
        },
        yaxis={"title": METRIC_NAMES[metric], "range": _range(summary, metric)},
        height=420,
        template=TEMPLATE,
        legend=LEGEND_ABOVE,
    )
    return figure


def curves(labels: np.ndarray, scores: np.ndarray, threshold: float) -> go.Figure:
    """ROC and precision-recall curve of one run, with the point of the threshold marked on both."""
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.2)
    false_positive, true_positive, at_roc = roc_curve(labels, scores, drop_intermediate=False)
    precision, recall, at_pr = precision_recall_curve(labels, scores)
    highest = scores.max()
    line = {"color": VISUAL, "width": 2}
    figure.add_scatter(
        x=false_positive,
        y=true_positive,
        mode="lines",
        line=line,
        customdata=np.append(highest, thresholds_below(scores, at_roc[1:])),  # the first point lies above all scores
        hovertemplate="false-positive rate %{x:.2f}, true-positive rate %{y:.2f}, threshold %{customdata:.3f}"
        "<extra></extra>",
        row=1,
        col=1,
    )
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=REFERENCE_LINE, hoverinfo="skip", row=1, col=1)
    figure.add_scatter(
        x=recall,
        y=precision,
        mode="lines",
        line=line | {"shape": "vh"},
        customdata=np.append(thresholds_below(scores, at_pr), highest),
        hovertemplate="recall %{x:.2f}, precision %{y:.2f}, threshold %{customdata:.3f}<extra></extra>",
        row=1,
        col=2,
    )
    share = float(np.mean(labels))
    figure.add_scatter(x=[0, 1], y=[share] * 2, mode="lines", line=REFERENCE_LINE, hoverinfo="skip", row=1, col=2)
    here = counts(labels, scores, threshold)
    recalled = here.true_positives / max(here.true_positives + here.false_negatives, 1)
    point = {"symbol": "diamond", "size": 13, "color": THRESHOLD, "line": {"width": 1, "color": "white"}}
    false_share = here.false_positives / max(here.false_positives + here.true_negatives, 1)
    figure.add_scatter(
        x=[false_share], y=[recalled], mode="markers", marker=point, hoverinfo="skip", cliponaxis=False, row=1, col=1
    )
    if here.true_positives + here.false_positives:
        precise = here.true_positives / (here.true_positives + here.false_positives)
        figure.add_scatter(
            x=[recalled], y=[precise], mode="markers", marker=point, hoverinfo="skip", cliponaxis=False, row=1, col=2
        )
    for col, x, y in ((1, "false-positive rate", "true-positive rate"), (2, "recall", "precision")):
        figure.update_xaxes(title_text=x, range=[-0.03, 1.03], nticks=6, row=1, col=col)
        figure.update_yaxes(title_text=y, range=[-0.03, 1.05], nticks=6, row=1, col=col)
    figure.update_layout(height=340, template=TEMPLATE, showlegend=False)
    return figure


def confusion(found: Counts) -> go.Figure:
    """The confusion matrix, with the numbers written in; shares of each row by colour."""
    rows = np.array([[found.true_positives, found.false_negatives], [found.false_positives, found.true_negatives]])
    shares = rows / np.maximum(rows.sum(1, keepdims=True), 1)
    words = ["true positives", "false negatives", "false positives", "true negatives"]
    texts = np.array([f"{number} {word}" for number, word in zip(rows.ravel(), words, strict=True)])
    decisions, labels = ["above", "not above the threshold"], ["defective", "good"]
    heat = go.Heatmap(
        z=shares,
        x=decisions,
        y=labels,
        colorscale=SEQUENTIAL,
        zmin=0,
        zmax=1,
        showscale=False,
        hovertemplate="%{y}, %{x}: %{z:.0%} of the row<extra></extra>",
    )
    figure = go.Figure([heat, written(shares, decisions, labels, texts)])
    figure.update_layout(height=240, template=TEMPLATE, yaxis={"autorange": "reversed"})
    return figure


def score_strip(labels: np.ndarray, scores: np.ndarray, names: Sequence[str], threshold: float) -> go.Figure:
    """The scores of one run, good and defective images each on a line, with the threshold."""
    figure = go.Figure()
    for truth, name, symbol, colour in ((True, "defective", "x", DEFECTIVE), (False, "good", "circle", GOOD)):
        chosen = labels == truth
        figure.add_scatter(
            x=scores[chosen],
            y=[name] * int(chosen.sum()),
            mode="markers",
            text=[in_figure(one) for one, is_it in zip(names, chosen, strict=True) if is_it],
            marker={"symbol": symbol, "size": 10, "color": colour, "opacity": 0.8},
            hovertemplate="%{text}: %{x:.3f}<extra></extra>",
        )
    figure.add_vline(x=threshold, line=THRESHOLD_LINE)
    figure.update_layout(xaxis_title="image score", height=170, template=TEMPLATE, showlegend=False)
    return figure


def _range(summary: pd.DataFrame, metric: str) -> list[float]:
    """From a little below the lowest bar to a little above 1, the most that a measure can be."""
    lowest = np.nanmin(summary[[f"{metric}_mean", f"{metric}_low"]].to_numpy(dtype=float))
    return [float(max(0.0, min(lowest - 0.04, 0.9))), 1.03]


def _bars(rows: pd.DataFrame, metric: str, method: str) -> dict[str, Any]:
    """Error bars: the 95% interval, which need not lie evenly about the figure."""
    look = {"color": style_of(method)["color"], "thickness": 1.5, "width": 4}
    above = (rows[f"{metric}_high"] - rows[f"{metric}_mean"]).clip(lower=0)
    below = (rows[f"{metric}_mean"] - rows[f"{metric}_low"]).clip(lower=0)
    return look | {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
