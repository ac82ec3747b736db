"""Contributions as plain values for JSON, cut short so that they still add up, and rounded so that they do."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lake_core.detector.result import ImageResult

SCHEMA = 2


def contributions_document(result: ImageResult, top: int = 10) -> dict[str, Any]:
    """One image's score decomposition: score = parts, visual part = layers, layer = its top neurons + the rest.

    Args:
        result: The image's result.
        top: Neurons named in each layer; the others add up to "rest".
    Returns:
        score, threshold, is_anomalous, visual, text, fusion_weight, patch (index into the flattened map), grid
        (rows, cols), parts (contribution of each), layers (layer, contribution, neurons, rest). Contributions are
        weighted; visual and text are not: score = (1 - fusion_weight) * visual + fusion_weight * text.
    """
    contributions = result.contributions()
    visual = contributions[contributions["part"] == "visual"]
    layers = []
    for number, rows in visual.groupby("layer", sort=False):
        neurons, values = rows["neuron"].tolist(), rows["contribution"].tolist()
        layers.append(
            {
                "layer": int(str(number)),
                "contribution": sum(values),
                "neurons": [
                    {"neuron": int(neuron), "contribution": value}
                    for neuron, value in zip(neurons[:top], values[:top], strict=True)
                ],
                "rest": {"n_neurons": len(values[top:]), "contribution": sum(values[top:])},
            }
        )
    grid = result.patch_scores.grid
    return {
        "score": result.score,
        "threshold": result.threshold,
        "is_anomalous": bool(result.is_anomalous),
        "visual": result.visual,
        "text": result.text,
        "fusion_weight": result.fusion_weight,
        "patch": result.patch,
        "grid": {"rows": grid.rows, "cols": grid.cols},
        "parts": {
            str(part): float(value) for part, value in contributions.groupby("part")["contribution"].sum().items()
        },
        "layers": layers,
    }


def adding_up(values: ArrayLike, total: float, digits: int = 3) -> np.ndarray:
    """Contributions rounded so that the numbers shown add up to the total shown.

    Each is rounded as usual; what is left over goes to those that were closest to rounding the other way.

    Args:
        values: (n,), n >= 1, that add up to the total.
        total: As it is shown beside them, rounded or not.
        digits: After the point.
    Returns:
        (n,) float64, each less than one step of the last digit away from its value.
    """
    step = 10.0**-digits
    exact = np.asarray(values, dtype=np.float64) / step
    rounded = np.rint(exact)
    missing = round(round(total, digits) / step - float(rounded.sum()))
    nearest_first = np.argsort(-np.sign(missing) * (exact - rounded), kind="stable")
    rounded[nearest_first[: abs(missing)]] += np.sign(missing)
    shown: np.ndarray = np.round(rounded * step, digits) + 0.0
    return shown
