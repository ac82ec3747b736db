"""Accounts of scores as plain values for JSON, shortened so that they still add up; and rounded likewise."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lake_core.detector.scoring import ImageScore

SCHEMA = 1


def account(result: ImageScore, top: int = 10) -> dict[str, Any]:
    """One picture's account: score = parts, visual part = layers, layer = its top units + rest.

    Args:
        result: A score.
        top: Units named in each layer; the others add up to "rest".
    Returns:
        score, threshold, is_anomalous, visual, cross_modal, text_weight, patch (index into the flattened map), grid
        (rows, cols), parts (contribution of each), layers (layer, contribution, units, rest). Contributions are
        weighted; visual and cross_modal are not: score = (1 - text_weight) * visual + text_weight * cross_modal.
    """
    ledger = result.ledger()
    visual = ledger[ledger["part"] == "visual"]
    layers = []
    for number, rows in visual.groupby("layer", sort=False):
        units, values = rows["unit"].tolist(), rows["contribution"].tolist()
        layers.append(
            {
                "layer": int(str(number)),
                "contribution": sum(values),
                "units": [
                    {"unit": int(unit), "contribution": value}
                    for unit, value in zip(units[:top], values[:top], strict=True)
                ],
                "rest": {"n_units": len(values[top:]), "contribution": sum(values[top:])},
            }
        )
    grid = result.witnesses.grid
    return {
        "score": result.score,
        "threshold": result.threshold,
        "is_anomalous": bool(result.is_anomalous),
        "visual": result.visual,
        "cross_modal": result.cross_modal,
        "text_weight": result.text_weight,
        "patch": result.patch,
        "grid": {"rows": grid.rows, "cols": grid.cols},
        "parts": {str(part): float(value) for part, value in ledger.groupby("part")["contribution"].sum().items()},
        "layers": layers,
    }


def adding_up(values: ArrayLike, total: float, digits: int = 3) -> np.ndarray:
    """Contributions rounded so that what is read adds up to the total that is read.

    Each is rounded as usual; what is left over goes to those that were closest to the other side.

    Args:
        values: (n,), n >= 1, that add up to the total.
        total: As it is shown beside them, rounded or not.
        digits: After the point.
    Returns:
        (n,) float64, each less than one unit of the last digit away from its value.
    """
    unit = 10.0**-digits
    exact = np.asarray(values, dtype=np.float64) / unit
    rounded = np.rint(exact)
    missing = round(round(total, digits) / unit - float(rounded.sum()))
    nearest_first = np.argsort(-np.sign(missing) * (exact - rounded), kind="stable")
    rounded[nearest_first[: abs(missing)]] += np.sign(missing)
    shown: np.ndarray = np.round(rounded * unit, digits) + 0.0
    return shown
