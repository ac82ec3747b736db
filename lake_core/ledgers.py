"""Accounts of scores as plain values for JSON, shortened so that they still add up."""

from typing import Any

from lake_core.scoring import ImageScore

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
