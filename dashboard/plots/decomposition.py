"""Figures of the Score decomposition page: the waterfall, its neurons, the fusion weight, and two images compared."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.plots.template import CHOSEN, REST, TEMPLATE, TEXT, THRESHOLD_LINE, TOTAL, VISUAL, ink
from dashboard.text import in_figure
from lake_core.detector.contributions import adding_up


class Step(NamedTuple):
    """One step of a waterfall: what it is, how much, its part, and "layer:neuron" where a click leads to a neuron.

    `shown` is the value as it is read: rounded so that the steps on screen add up to the score on screen.
    """

    name: str
    value: float
    part: str
    neuron: str = ""
    shown: float = 0.0


def parts_of(contributions: pd.DataFrame, total: float) -> dict[str, float]:
    """Contribution of each part as it is read: they add up to the score on screen."""
    sums = contributions.groupby("part", sort=False)["contribution"].sum()
    return dict(zip(sums.index, adding_up(sums, total).tolist(), strict=True))


def steps_of(contributions: pd.DataFrame, total: float, unfolded: int | None = None, n_neurons: int = 8) -> list[Step]:
    """A contributions of neurons as steps: one per layer, or for the unfolded layer its top neurons and the rest; then
    the text.

    Args:
        contributions: As from `ImageResult.contributions`.
        total: What it accounts for; the steps add up to it, as values and as they are read.
        unfolded: A layer, or None.
        n_neurons: Neurons of the unfolded layer that get a step of their own.
    """
    parts, steps = parts_of(contributions, total), []
    visual = contributions[contributions["part"] == "visual"]
    layers = visual.groupby("layer")["contribution"].sum()
    for layer, value, shown in zip(layers.index, layers, _shown(layers, parts.get("visual", 0.0)), strict=True):
        if layer == unfolded:
            steps += _neuron_steps(visual[visual["layer"] == layer], shown, n_neurons)
        else:
            steps.append(Step(f"visual, layer {layer}", float(value), "visual", "", shown))
    if "text" in parts:
        value = float(contributions.loc[contributions["part"] == "text", "contribution"].sum())
        steps.append(Step("text", value, "text", "", parts["text"]))
    return steps


def _neuron_steps(rows: pd.DataFrame, total: float, n_neurons: int, with_layer: bool = False) -> list[Step]:
    """The top neurons and the rest, which add up to a total on screen."""
    ranked = rows.sort_values("contribution", ascending=False, kind="stable")
    steps = [
        Step(
            f"layer {row['layer']} · neuron {row['neuron']}" if with_layer else f"neuron {row['neuron']}",
            row["contribution"],
            "visual",
            f"{row['layer']}:{row['neuron']}",
        )
        for row in ranked.head(n_neurons).to_dict("records")
    ]
    rest = ranked.iloc[n_neurons:]
    if len(rest):
        steps.append(Step(f"other {len(rest)} neurons", float(rest["contribution"].sum()), "rest"))
    shown = _shown([step.value for step in steps], total)
    return [step._replace(shown=value) for step, value in zip(steps, shown, strict=True)]


def _shown(values: Any, total: float) -> list[float]:
    return adding_up(values, total).tolist() if len(values) else []


def step_table(steps: Sequence[Step], total: float) -> pd.DataFrame:
    """The waterfall as numbers: columns step, contribution and so far, as they are read."""
    shown, score = [step.shown for step in steps], round(total, 3)
    return pd.DataFrame(
        {
            "step": [*(step.name for step in steps), "score"],
            "contribution": [*shown, score],
            "so far": [*np.cumsum(shown).round(3).tolist(), score],
        }
    )


def waterfall(steps: Sequence[Step], total: float, threshold: float) -> go.Figure:
    """From 0 to a value, step by step, with the threshold."""
    values = [step.value for step in steps]
    colours = {"visual": VISUAL, "rest": REST, "text": TEXT}
    patterns = {"visual": "", "rest": ".", "text": "/"}
    figure = go.Figure(
        go.Bar(
            x=[*(step.name for step in steps), "score"],
            y=[*values, total],
            base=[*np.concatenate([[0.0], np.cumsum(values)[:-1]]).tolist(), 0.0],
            marker={
                "color": [*(colours[step.part] for step in steps), TOTAL],
                "pattern": {"shape": [*(patterns[step.part] for step in steps), ""], "fillmode": "overlay"},
            },
            text=[f"{value:.3f}" for value in [*(step.shown for step in steps), total]],
            textposition="outside",
            cliponaxis=False,
            customdata=[[value, step.neuron] for value, step in zip(values, steps, strict=True)] + [[total, ""]],
            hovertemplate="%{x}: %{customdata[0]:.4f}<extra></extra>",
        )
    )
    figure.add_hline(
        y=threshold, line=THRESHOLD_LINE, annotation_text=f"threshold {threshold:.3f}", annotation_position="right"
    )
    figure.update_layout(
        yaxis_title="contribution to the score",
        height=340,
        template=TEMPLATE,
        margin_r=110,
        showlegend=False,
        yaxis_range=[0, 1.18 * max(total, threshold, 1e-6)],
    )
    return figure


def neuron_bars(contributions: pd.DataFrame, total: float, n_shown: int = 15) -> go.Figure:
    """The neurons that carry most of the visual part, the rest as one bar; they add up to it, also as they are read.

    Args:
        contributions: As from `ImageResult.contributions`.
        total: What it accounts for.
        n_shown: Neurons with a bar of their own.
    """
    visual = contributions[contributions["part"] == "visual"]
    shown = parts_of(contributions, total).get("visual", 0.0)
    steps = _neuron_steps(visual, shown, n_shown, with_layer=True)
    colours = {"visual": VISUAL, "rest": REST}
    bars = _bars(
        [step.value for step in steps],
        [step.name for step in steps],
        [colours[step.part] for step in steps],
        [f"{step.shown:.3f}" for step in steps],
    )
    bars.update(customdata=[step.neuron for step in steps], hovertemplate="%{y}: %{x:.4f}<extra></extra>")
    return _top_down(bars, "contribution to the score", 60 + 26 * len(steps))


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
    figure.add_vline(x=paper, line={"dash": "dot", "color": REST, "width": 2}, annotation_text="paper: 0.3")
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


def difference_bars(table: pd.DataFrame, total: float, names: tuple[str, str], n_shown: int = 15) -> go.Figure:
    """Where two accounts differ most: difference by neuron, the rest as one bar.

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
    colours = [CHOSEN if value > 0 else VISUAL for value in values]
    bars = _bars(values, labels, colours, [f"{value:+.3f}" for value in adding_up(values, total)])
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
