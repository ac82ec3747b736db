"""Figure of scores under changes that should not matter."""

import pandas as pd
import plotly.graph_objects as go

from dashboard.plots.template import CHOSEN, REFERENCE_LINE, SELECTED, TEMPLATE, THRESHOLD
from dashboard.text import in_figure


def perturbed_scores(table: pd.DataFrame) -> go.Figure:
    """Scores under changes, one row per family of changes, with each one's threshold; crosses changed the decision.

    Args:
        table: Columns family, what, score, threshold and is_anomalous; the first row is without a change.
    """
    first = table.iloc[0]
    turned = table["is_anomalous"] != first["is_anomalous"]
    figure = go.Figure()
    groups = (
        ("same decision", table[~turned], "circle-open", SELECTED),
        ("decision changed", table[turned], "x", CHOSEN),
    )
    for name, rows, symbol, colour in groups:
        if len(rows):
            figure.add_scatter(
                x=rows["score"].tolist(),
                y=rows["family"].tolist(),
                mode="markers",
                name=name,
                marker={"symbol": symbol, "size": 10, "color": colour, "line": {"width": 2}},
                customdata=rows["what"].map(in_figure).tolist(),
                hovertemplate="%{customdata}: %{x:.3f}<extra></extra>",
            )
    figure.add_scatter(
        x=table["threshold"].tolist(),
        y=table["family"].tolist(),
        mode="markers",
        name="its threshold",
        marker={"symbol": "line-ns", "size": 16, "line": {"color": THRESHOLD, "width": 2}},
        hovertemplate="threshold %{x:.3f}<extra></extra>",
    )
    figure.add_vline(x=float(first["score"]), line=REFERENCE_LINE)
    figure.update_layout(
        xaxis_title="image score",
        yaxis={"autorange": "reversed"},
        height=130 + 44 * table["family"].nunique(),
        template=TEMPLATE,
        legend={"y": -0.4},
    )
    return figure
