"""Figures of the Score split page: the waterfall, its neurons, the text weight, and two accounts compared."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.figures import CROSS, LINE, MARGIN, MUTED, TEST, TOTAL, VISUAL


class Step(NamedTuple):
    """One step of a waterfall: what it is, how much, its part, and "layer:unit" where a click leads to a unit."""

    name: str
    value: float
    part: str
    unit: str = ""


def steps_of(ledger: pd.DataFrame, unfolded: int | None = None, n_units: int = 8) -> list[Step]:
    """A ledger of units as steps: one per layer, or for the unfolded layer its top units and the rest; then the text.

    The steps add up to what the ledger adds up to.
    """
    steps = []
    visual = ledger[ledger["part"] == "visual"]
    for layer in sorted(visual["layer"].unique().tolist()):
        rows = visual[visual["layer"] == layer]
        if layer != unfolded:
            steps.append(Step(f"visual, layer {layer}", float(rows["contribution"].sum()), "visual"))
            continue
        ranked = rows.sort_values("contribution", ascending=False, kind="stable")
        for row in ranked.head(n_units).to_dict("records"):
            code = f"{row['layer']}:{row['unit']}"
            steps.append(Step(f"unit {row['unit']}", row["contribution"], "visual", code))
        rest = ranked.iloc[n_units:]
        if len(rest):
            steps.append(Step(f"other {len(rest)} units", float(rest["contribution"].sum()), "rest"))
    cross = ledger[ledger["part"] == "cross_modal"]
    if len(cross):
        steps.append(Step("cross-modal (text)", float(cross["contribution"].sum()), "cross_modal"))
    return steps


def waterfall(steps: Sequence[Step], total: float, threshold: float) -> go.Figure:
    """From 0 to a value, step by step, with the threshold."""
    values = [step.value for step in steps]
    colours = {"visual": VISUAL, "rest": MUTED, "cross_modal": CROSS}
    patterns = {"visual": "", "rest": ".", "cross_modal": "/"}
    figure = go.Figure(
        go.Bar(
            x=[*(step.name for step in steps), "score"],
            y=[*values, total],
            base=[*np.concatenate([[0.0], np.cumsum(values)[:-1]]).tolist(), 0.0],
            marker={
                "color": [*(colours[step.part] for step in steps), TOTAL],
                "pattern": {"shape": [*(patterns[step.part] for step in steps), ""]},
            },
            text=[f"{value:.3f}" for value in [*values, total]],
            textposition="outside",
            customdata=[[value, step.unit] for value, step in zip(values, steps, strict=True)] + [[total, ""]],
            hovertemplate="%{x}: %{customdata[0]:.4f}<extra></extra>",
        )
    )
    figure.add_hline(
        y=threshold,
        line={"dash": "dash", "color": LINE, "width": 2},
        annotation_text=f"threshold {threshold:.3f}",
        annotation_position="right",
    )
    figure.update_layout(
        yaxis_title="contribution to the score",
        height=340,
        margin=MARGIN | {"r": 110},
        showlegend=False,
        yaxis_range=[0, 1.18 * max(total, threshold, 1e-6)],
    )
    return figure


def unit_bars(units: pd.DataFrame, n_shown: int = 15) -> go.Figure:
    """The units that carry most of the visual part, the rest as one bar, so that the bars add up."""
    visual = units[units["part"] == "visual"].sort_values("contribution", ascending=False, kind="stable")
    shown, rest = visual.head(n_shown), visual.iloc[n_shown:]
    names = [f"layer {row.layer} · unit {row.unit}" for row in shown.itertuples()]
    values = shown["contribution"].tolist()
    codes = [f"{row.layer}:{row.unit}" for row in shown.itertuples()]
    if len(rest):
        names.append(f"the other {len(rest)} units")
        values.append(float(rest["contribution"].sum()))
        codes.append("")
    figure = go.Figure(
        go.Bar(
            x=values,
            y=names,
            customdata=codes,
            orientation="h",
            marker={"color": [VISUAL] * len(shown) + [MUTED] * (len(values) - len(shown))},
            text=[f"{value:.3f}" for value in values],
            textposition="auto",
            hovertemplate="%{y}: %{x:.4f}<extra></extra>",
        )
    )
    figure.update_layout(
        xaxis_title="contribution to the score",
        height=60 + 26 * len(values),
        margin=MARGIN,
        yaxis={"autorange": "reversed"},
    )
    return figure


def weight_curve(curve: pd.DataFrame, measure: str, present: float, paper: float = 0.3) -> go.Figure:
    """Separation against text weight, with the paper's weight and the present one.

    Args:
        curve: Columns text_weight and separation.
        measure: What the separation is.
        present: The present weight.
        paper: The paper's best weight.
    """
    figure = go.Figure()
    figure.add_scatter(
        x=curve["text_weight"].tolist(),
        y=curve["separation"].tolist(),
        mode="lines+markers",
        line={"color": VISUAL, "width": 2},
        hovertemplate="w = %{x:.2f}: %{y:.3f}<extra></extra>",
    )
    figure.add_vline(x=paper, line={"dash": "dot", "color": MUTED, "width": 2}, annotation_text="paper: 0.3")
    figure.add_vline(
        x=present,
        line={"dash": "dash", "color": LINE, "width": 2},
        annotation_text=f"now: {present:.2f}",
        annotation_position="bottom right",
    )
    figure.update_layout(
        xaxis_title="text weight w (0 is visual alone, 1 is text alone)",
        yaxis_title=measure,
        height=320,
        margin=MARGIN,
        showlegend=False,
    )
    return figure


def difference_bars(table: pd.DataFrame, names: tuple[str, str], n_shown: int = 15) -> go.Figure:
    """Where two accounts differ most: difference by unit, the rest as one bar.

    Args:
        table: Columns part, layer, unit and difference, greatest absolute difference first.
        names: Of the two pictures.
        n_shown: Rows shown one by one.
    """
    shown, rest = table.head(n_shown), table.iloc[n_shown:]
    labels = [
        "cross-modal (text)" if row["part"] == "cross_modal" else f"layer {row['layer']} · unit {row['unit']}"
        for row in shown.to_dict("records")
    ]
    values = shown["difference"].tolist()
    if len(rest):
        labels.append(f"the other {len(rest)}")
        values.append(float(rest["difference"].sum()))
    figure = go.Figure(
        go.Bar(
            x=values,
            y=labels,
            orientation="h",
            marker={"color": [TEST if value > 0 else VISUAL for value in values]},
            text=[f"{value:+.3f}" for value in values],
            textposition="auto",
            hovertemplate="%{y}: %{x:+.4f}<extra></extra>",
        )
    )
    figure.update_layout(
        xaxis_title=f"contribution in {names[0]} less contribution in {names[1]}",
        height=80 + 26 * len(values),
        margin=MARGIN,
        yaxis={"autorange": "reversed"},
    )
    return figure


def prompt_bars(by_phrase: pd.DataFrame) -> go.Figure:
    """Similarity of each phrase with the patch and with the whole picture.

    Args:
        by_phrase: Columns state, phrase, cos_patch and cos_picture.
    """
    names = [f"{row['state']}: {row['phrase']}" for row in by_phrase.to_dict("records")]
    figure = go.Figure()
    for name, column, colour, symbol in (
        ("patch", "cos_patch", TEST, "circle"),
        ("whole picture", "cos_picture", VISUAL, "diamond-open"),
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
        margin=MARGIN,
        yaxis={"autorange": "reversed"},
        legend={"orientation": "h", "y": -0.15},
    )
    return figure
