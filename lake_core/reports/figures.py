"""Small figures as SVG, drawn in the page's own colours."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lake_core.visualization.markup import Markup, element

_WIDTH, _ROW, _N_BINS, _POINTS = 640, 72, 32, 160


class Mark(NamedTuple):
    """A value that a line stands at, and what it is called."""

    value: float
    name: str


def histograms(groups: Mapping[str, Sequence[float]], mark: Mark, axis: str, says: str) -> Markup:
    """How values are spread: a row of bars for each group, on one axis, and a line at one value.

    Args:
        groups: Name -> values; at least one value in all.
        mark: On the axis, too.
        axis: What the values are.
        says: The same in words, for screen readers.
    """
    held = {name: np.asarray(values, dtype=np.float64) for name, values in groups.items() if len(values)}
    everything = np.concatenate([*held.values(), [mark.value]])
    low, high = float(everything.min()), float(everything.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    bottom = len(held) * _ROW
    at = (mark.value - low) / (high - low) * _WIDTH
    parts = [_line(at, 4, at, bottom, "report-mark")]
    for number, (name, values) in enumerate(held.items()):
        base = (number + 1) * _ROW
        counts, _ = np.histogram(values, bins=_N_BINS, range=(low, high))
        step = _WIDTH / _N_BINS
        for i, count in enumerate(counts.tolist()):
            height = count / counts.max() * (_ROW - 30)
            if count:
                parts.append(_box(i * step + 1, base - height, step - 2, height, "report-bar"))
        title = f"{name} ({len(values)}), at most {counts.max()} in a bar"
        parts.append(element("text", title, x=0, y=base - _ROW + 20))
        parts.append(_line(0, base, _WIDTH, base, "report-axis"))
    ends = [(0.0, f"{low:.3g}", "start"), (_WIDTH / 2, axis, "middle"), (_WIDTH, f"{high:.3g}", "end")]
    parts += [element("text", text, x=x, y=bottom + 18, text_anchor=anchor) for x, text, anchor in ends]
    anchor = "start" if at < _WIDTH / 3 else "end" if at > 2 * _WIDTH / 3 else "middle"
    parts.append(
        element("text", mark.name, x=f"{at:.1f}", y=bottom + 36, text_anchor=anchor, class_="report-mark-name")
    )
    return _svg(parts, bottom + 44, says)


def ranked(sensitivity: np.ndarray, n_kept: int, says: str) -> Markup:
    """The ranked sensitivities of a layer's neurons as a curve, with what is kept filled.

    Args:
        sensitivity: (n_neurons,) float32 >= 0, the most sensitive first.
        n_kept: The first so many are kept.
        says: The same in words, for screen readers.
    """
    height, n = 2 * _ROW, len(sensitivity)
    top = max(float(sensitivity.max()), 1e-12)
    index = np.unique(np.r_[np.linspace(0, n - 1, _POINTS).round(), n_kept - 1]).astype(int)
    x, y = index / max(n - 1, 1) * _WIDTH, height - 8 - sensitivity[index] / top * (height - 16)
    points = [f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True)]
    kept = [point for point, at in zip(points, index, strict=True) if at < n_kept]
    cut = x[index == n_kept - 1][0]
    area = f"0,{height - 8} {' '.join(kept)} {cut:.1f},{height - 8}"
    parts = [
        element("polygon", points=area, class_="report-kept"),
        element("polyline", points=" ".join(points), class_="report-curve"),
        _line(0, height - 8, _WIDTH, height - 8, "report-axis"),
    ]
    return _svg(parts, height, says)


def _svg(parts: Sequence[Markup], height: int, says: str) -> Markup:
    return element("svg", *parts, viewBox=f"0 0 {_WIDTH} {height}", role="img", aria_label=says, class_="report-figure")


def _box(x: float, y: float, width: float, height: float, class_: str) -> Markup:
    numbers = {"x": x, "y": y, "width": width, "height": height}
    return element("rect", class_=class_, **{name: f"{value:.1f}" for name, value in numbers.items()})


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    numbers = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return element("line", class_=class_, **{name: f"{value:.1f}" for name, value in numbers.items()})
