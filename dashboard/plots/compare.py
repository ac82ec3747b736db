"""Figures of the Compare page: scores against scores, neurons in common, and what each configuration costs."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.plots.template import (
    DEFECTIVE,
    GOOD,
    LEGEND_ABOVE,
    NORMAL,
    REST,
    TEMPLATE,
    TEXT,
    THRESHOLD,
    THRESHOLD_LINE,
    UNKNOWN,
    VISUAL,
    ink,
)
from dashboard.text import in_figure
from lake_core.experiments.comparison import Overlap

MARKS = {
    "defective": ("x", DEFECTIVE, "test, labelled defective"),
    "good": ("circle", GOOD, "test, labelled good"),
    "none": ("square", UNKNOWN, "test, no label"),
    "normal": ("triangle-up-open", NORMAL, "normal, each left out"),
}


def scores_against_scores(
    points: pd.DataFrame, names: tuple[str, str], thresholds: tuple[float, float], percentile: str
) -> go.Figure:
    """Each image's score with two configurations, with both thresholds; in the tinted quarters they disagree.

    The scales are logarithmic where the greatest score is more than ten times the lowest. A point can be clicked; its
    customdata is (name, sha256).

    Args:
        points: Columns name, sha256, mark (a key of MARKS), x, y.
        names: Letters of the configurations on the x and the y axis.
        thresholds: Theirs.
        percentile: Of normal patches, where a score is 1.
    """
    least, most = (pick([*points["x"], *points["y"], *thresholds]) for pick in (min, max))
    is_log = 0 < 10 * least < most
    figure = go.Figure()
    ranges = _quarters(figure, points, thresholds, names)
    for mark, (symbol, colour, title) in MARKS.items():
        rows = points[points["mark"] == mark]
        if len(rows):
            figure.add_scatter(
                x=rows["x"],
                y=rows["y"],
                mode="markers",
                name=title,
                customdata=list(zip(rows["name"].map(in_figure), rows["sha256"], strict=True)),
                marker={"symbol": symbol, "size": 10, "color": colour, "line": {"width": 1 + (mark == "normal")}},
                hovertemplate=(
                    f"%{{customdata[0]}}<br>{names[0]}: %{{x:.3f}}<br>{names[1]}: %{{y:.3f}}<extra>{title}</extra>"
                ),
            )
    axis = {"type": "log", "tickvals": [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]} if is_log else {"type": "linear"}
    x_range, y_range = (list(np.log10(bounds) if is_log else bounds) for bounds in ranges)
    figure.update_layout(
        xaxis=axis | {"title": f"score with {names[0]} (1 = {percentile} of normal patches)", "range": x_range},
        yaxis=axis | {"title": f"score with {names[1]}", "range": y_range},
        height=460,
        template=TEMPLATE,
        clickmode="event+select",
        dragmode=False,
        hovermode="closest",
        legend={"y": -0.2},
    )
    return figure


def _quarters(
    figure: go.Figure, points: pd.DataFrame, thresholds: tuple[float, float], names: tuple[str, str]
) -> list[tuple[float, float]]:
    """Draws both thresholds and tints the quarters where one configuration alone is above; the ranges of x and y."""
    tops = [1.15 * max(points[axis].max(), threshold) for axis, threshold in zip("xy", thresholds, strict=True)]
    lows = [0.87 * min(points[axis].min(), threshold) for axis, threshold in zip("xy", thresholds, strict=True)]
    changes = {"fillcolor": THRESHOLD, "opacity": 0.10, "line": {"width": 0}, "layer": "below"}
    figure.add_shape(type="rect", x0=thresholds[0], x1=tops[0], y0=lows[1], y1=thresholds[1], **changes)
    figure.add_shape(type="rect", x0=lows[0], x1=thresholds[0], y0=thresholds[1], y1=tops[1], **changes)
    figure.add_vline(x=thresholds[0], line=THRESHOLD_LINE)
    figure.add_hline(y=thresholds[1], line=THRESHOLD_LINE)
    for x, y, xanchor, yanchor, only in ((1, 0, "right", "bottom", names[0]), (0, 1, "left", "top", names[1])):
        figure.add_annotation(
            x=x,
            y=y,
            xref="paper",
            yref="paper",
            xanchor=xanchor,
            yanchor=yanchor,
            text=f"only {only} above",
            showarrow=False,
        )
    return list(zip(lows, tops, strict=True))


def neurons_in_common(overlaps: Sequence[Overlap], names: tuple[str, str]) -> go.Figure:
    """For each layer how many selected neurons are common and how many belong to one configuration alone."""
    rows = [f"layer {overlap.layer}" for overlap in overlaps]
    groups = (
        (f"only {names[0]}", [len(o.only_first) for o in overlaps], VISUAL, ""),
        ("both", [len(o.common) for o in overlaps], GOOD, "x"),
        (f"only {names[1]}", [len(o.only_second) for o in overlaps], TEXT, "/"),
    )
    figure = go.Figure()
    for name, counts, colour, pattern in groups:
        figure.add_bar(
            x=counts,
            y=rows,
            orientation="h",
            textposition="inside",
            insidetextanchor="middle",
            textfont={"size": 14, "color": ink(colour)},
            name=name,
            text=[str(count) if count else "" for count in counts],
            marker={"color": colour, "pattern": {"shape": pattern, "fillmode": "overlay", "fgopacity": 0.2}},
            hovertemplate=f"%{{y}}, {name}: %{{x}} neurons<extra></extra>",
        )
    figure.update_layout(
        barmode="stack",
        xaxis_title="selected neurons",
        height=150 + 42 * len(rows),
        template=TEMPLATE,
        yaxis={"autorange": "reversed"},
        legend=LEGEND_ABOVE,
    )
    return figure


def costs(table: pd.DataFrame) -> go.Figure:
    """Milliseconds per image and megabytes of memory bank, a bar for each configuration.

    Args:
        table: Indexed by letter, with columns forward_ms (NaN where not measured), score_ms, memory_bank_mib.
    """
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.12)
    letters = list(table.index)
    for column, name, colour, pattern in (("forward_ms", "network", REST, ""), ("score_ms", "scoring", VISUAL, "/")):
        figure.add_bar(
            x=table[column],
            y=letters,
            orientation="h",
            name=name,
            marker={"color": colour, "pattern": {"shape": pattern, "fillmode": "overlay", "fgopacity": 0.5}},
            hovertemplate=f"%{{y}}, {name}: %{{x:.1f}} ms<extra></extra>",
            row=1,
            col=1,
        )
    figure.add_bar(
        x=table["memory_bank_mib"],
        y=letters,
        orientation="h",
        name="memory bank",
        marker={"color": TEXT, "pattern": {"shape": "x", "fillmode": "overlay", "fgopacity": 0.5}},
        hovertemplate="%{y}: %{x:.2f} MiB<extra></extra>",
        row=1,
        col=2,
    )
    figure.update_xaxes(title_text="ms per image", row=1, col=1, nticks=5)
    figure.update_xaxes(title_text="memory bank, MiB", row=1, col=2, nticks=5)
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_layout(barmode="stack", height=130 + 34 * len(letters), template=TEMPLATE, legend=LEGEND_ABOVE)
    return figure


def quiet(values: Sequence[float | None]) -> np.ndarray:
    """Numbers with NaN where there is none, as the figures take them."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
