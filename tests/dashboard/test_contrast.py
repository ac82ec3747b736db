"""Text in figures is read well in both themes: at least 4.5 : 1 against what lies behind it (WCAG 2, level AA)."""

import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from plotly.colors import sample_colorscale

from dashboard.plots import checks, compare, decomposition, evaluate, template
from lake_core.experiments.comparison import Overlap
from lake_core.metrics.decision import Counts

DASHBOARD = Path(template.__file__).parents[1]
PALETTE = sorted({value for value in vars(template).values() if isinstance(value, str) and value.startswith("#")})
ENOUGH = 4.5


def contrast(one: str, other: str) -> float:
    """WCAG's contrast of two colours, computed here once more."""

    def channels(colour: str) -> list[float]:
        if colour.startswith("rgb"):
            return [float(part) / 255 for part in colour[4:-1].split(",")]
        return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]

    def light(colour: str) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels(colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05

    dark, bright = sorted((light(one), light(other)))
    return bright / dark


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_beside_the_marks_is_in_the_pages_own_colour_which_stands_out(theme: str) -> None:
    colours = tomllib.loads((DASHBOARD / ".streamlit/config.toml").read_text())["theme"][theme]
    for background in ("backgroundColor", "secondaryBackgroundColor"):
        assert contrast(colours["textColor"], colours[background]) > ENOUGH
    assert ".stPlotlyChart svg text:not(.bartext-inside, .textpoint text) { fill: currentColor" in (
        DASHBOARD / "style.css"
    ).read_text(encoding="utf-8")


def test_ink_stands_out_on_every_colour_of_the_palette_and_of_the_scale() -> None:
    scale = sample_colorscale(template.SEQUENTIAL, np.linspace(0, 1, 200).tolist())
    assert len(PALETTE) > 6
    assert min(contrast(template.ink(colour), colour) for colour in (*PALETTE, *scale)) > ENOUGH


def bars() -> list[go.Bar]:
    table = pd.DataFrame(
        {
            "part": ["visual"] * 4 + ["text"],
            "layer": pd.array([3, 3, 3, 3, None], dtype="Int64"),
            "neuron": pd.array([0, 1, 2, 3, None], dtype="Int64"),
            "contribution": [0.4, 0.3, 0.2, 0.1, 0.1],
            "difference": [0.4, -0.3, 0.2, -0.1, 0.1],
        }
    )
    some = np.arange(2)
    figures = [
        decomposition.difference_bars(table, 0.3, ("a", "b"), n_shown=2),
        compare.neurons_in_common([Overlap(3, 9, some, some + 2, some + 4, 0.3, 0.2)], ("A", "B")),
    ]
    return [bar for figure in figures for bar in figure.data]


def test_text_on_bars_stands_out() -> None:
    def each(colour: str | Sequence[str], n: int) -> Sequence[str]:
        return [colour] * n if isinstance(colour, str) else colour

    for bar in bars():
        n, inside = len(bar.x), bar.insidetextfont.color or bar.textfont.color
        for text, behind in zip(each(inside, n), each(bar.marker.color, n), strict=True):
            assert contrast(text, behind) > ENOUGH


@pytest.mark.parametrize("values", [np.linspace(0, 1, 9), np.full(9, 0.48), np.full(9, 0.52)])
def test_text_on_cells_stands_out(values: np.ndarray) -> None:
    names = list("abc")
    table = pd.DataFrame(values.reshape(3, 3), index=names, columns=names)
    heat, texts = checks.overlap(table).data
    assert (list(texts.x), list(texts.y)) == (names * 3, [one for one in names for _ in names])
    assert list(texts.text) == [f"{value:.2f}" for value in values]
    behind = sample_colorscale(template.SEQUENTIAL, np.ravel(heat.z).tolist())
    assert min(contrast(*pair) for pair in zip(texts.textfont.color, behind, strict=True)) > ENOUGH


def test_the_confusion_matrix_says_each_number_in_its_cell() -> None:
    _, texts = evaluate.confusion(Counts(3, 5, 6, 4)).data
    assert dict(zip(zip(texts.y, texts.x, strict=True), texts.text, strict=True)) == {
        ("defective", "above"): "3 true positives",
        ("defective", "not above the threshold"): "5 false negatives",
        ("good", "above"): "6 false positives",
        ("good", "not above the threshold"): "4 true negatives",
    }
