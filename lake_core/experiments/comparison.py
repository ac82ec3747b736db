"""Two images side by side: where the difference of their scores comes from."""

from collections.abc import Sequence

import pandas as pd

from lake_core.detector.result import ImageResult, Level

_KEYS: dict[Level, list[str]] = {"neuron": ["part", "layer", "neuron"], "layer": ["part", "layer"], "part": ["part"]}


def compare_contributions(
    a: ImageResult,
    b: ImageResult,
    level: Level = "neuron",
    patch_a: int | Sequence[int] | None = None,
    patch_b: int | Sequence[int] | None = None,
) -> pd.DataFrame:
    """The difference of two accounts, row by row.

    The two may come from different detectors: what only one of them accounts for counts as 0 in the other.

    Args:
        a, b: Scores of two images, or of one image by two detectors.
        level: As in `ImageResult.contributions`.
        patch_a, patch_b: A patch or region of each, as in `ImageResult.contributions`; None takes the image score.
    Returns:
        Columns part, layer and neuron (as far as the level has them), contribution_a, contribution_b, and difference
        (a - b, float64), greatest absolute difference first. The differences add up to score a - score b, to float32
        rounding.
    """
    keys = _KEYS[level]
    table = a.contributions(patch_a, level).merge(
        b.contributions(patch_b, level), how="outer", on=keys, suffixes=("_a", "_b")
    )
    values = ["contribution_a", "contribution_b"]
    table[values] = table[values].fillna(0.0)
    table["difference"] = table["contribution_a"] - table["contribution_b"]
    return table.sort_values("difference", key=lambda column: -column.abs(), kind="stable", ignore_index=True)
