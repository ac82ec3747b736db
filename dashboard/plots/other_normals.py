"""Figures of scores and selections with other normal images."""

import pandas as pd
import plotly.graph_objects as go

from dashboard.plots.template import CHOSEN, RANDOM, SELECTED, TEMPLATE, THRESHOLD_LINE
from dashboard.text import in_figure


def score_ranges(images: pd.DataFrame, threshold: float) -> go.Figure:
    """Score of each test image with all normal images, and the lowest and highest over the refits.

    Args:
        images: The rows of one kind of refits of `OtherNormals.images`, highest score first.
        threshold: From all normal images.
    """
    figure = go.Figure()
    rows = images.assign(place=range(1, len(images) + 1))
    groups = (
        ("same decision in all refits", rows[rows["n_changed"] == 0], "circle", SELECTED),
        ("decision changes in some", rows[rows["n_changed"] > 0], "x", CHOSEN),
    )
    for name, group, symbol, colour in groups:
        if len(group):
            figure.add_scatter(
                x=group["place"].tolist(),
                y=group["score"].tolist(),
                mode="markers",
                name=name,
                marker={"symbol": symbol, "size": 9, "color": colour},
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": (group["highest"] - group["score"]).clip(lower=0).tolist(),
                    "arrayminus": (group["score"] - group["lowest"]).clip(lower=0).tolist(),
                    "thickness": 2,
                },
                text=group["image"].map(in_figure).tolist(),
                customdata=group[["lowest", "highest", "n_changed", "n_refits"]].to_numpy().tolist(),
                hovertemplate="%{text}: %{y:.3f}, refits %{customdata[0]:.3f} to %{customdata[1]:.3f}, "
                "decision changed in %{customdata[2]} of %{customdata[3]}<extra></extra>",
            )
    figure.add_hline(y=threshold, line=THRESHOLD_LINE, annotation_text="threshold")
    figure.update_layout(
        xaxis={"title": "test images, highest score first"},
        yaxis={"title": "image score", "rangemode": "tozero"},
        height=360,
        template=TEMPLATE,
    )
    return figure


def overlaps_by_count(runs: pd.DataFrame) -> go.Figure:
    """Overlap with the full selection against the number of normal images, one dot per subset."""
    figure = go.Figure()
    styles = {
        "fewer": ("circle-open", RANDOM, "random choices"),
        "leave one out": ("diamond", SELECTED, "one left out"),
    }
    for what, (symbol, colour, name) in styles.items():
        rows = runs[runs["what"] == what]
        figure.add_scatter(
            x=rows["n_normals"],
            y=rows["jaccard"],
            mode="markers",
            name=name,
            marker={"symbol": symbol, "size": 10, "color": colour, "line": {"width": 2}},
            hovertemplate="normal images: %{x}, overlap %{y:.3f}<extra></extra>",
        )
    figure.update_layout(
        xaxis={"title": "normal images used", "dtick": 1},
        yaxis={"title": "Jaccard with the full selection", "range": [0, 1.05]},
        height=320,
        template=TEMPLATE,
    )
    return figure
