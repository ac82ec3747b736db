"""Figure of the page Results: the histogram of image scores."""

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboard.plots.template import DEFECTIVE, GOOD, NORMAL, TEMPLATE, THRESHOLD_LINE, UNKNOWN


def score_histogram(
    normal: Sequence[float],
    good: Sequence[float],
    defective: Sequence[float],
    unknown: Sequence[float],
    threshold: float,
    percentile: str,
) -> go.Figure:
    """Scores of the normal images (each left out) and of the test images, with the decision threshold.

    A score of 1 is the given percentile of normal patches.
    """
    groups = [
        ("normal, each left out", normal, NORMAL, "/"),
        ("test, labelled good", good, GOOD, ""),
        ("test, labelled defective", defective, DEFECTIVE, "x"),
        ("test, no label", unknown, UNKNOWN, "."),
    ]
    everything = [value for _, values, _, _ in groups for value in values]
    top = max([*everything, threshold]) * 1.05 if everything else 1.0
    figure = go.Figure()
    for name, values, colour, pattern in groups:
        if len(values):
            figure.add_histogram(
                x=list(values),
                name=name,
                xbins={"start": 0, "end": top, "size": top / 30},
                marker={"color": colour, "pattern": {"shape": pattern}},
                hovertemplate="score %{x}, images: %{y}<extra></extra>",
            )
    figure.add_vline(x=threshold, line=THRESHOLD_LINE, annotation_text="threshold")
    figure.update_layout(
        barmode="stack",
        xaxis_title=f"image score (1 = {percentile} of normal patches)",
        yaxis_title="images",
        height=320,
        template=TEMPLATE,
    )
    return figure
