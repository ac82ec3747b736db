"""Two pictures' accounts side by side: where one score is higher, unit by unit."""

import numpy as np
import pandas as pd

from lake_core.scoring import ImageScore, Level


def compare_ledgers(a: ImageScore, b: ImageScore, level: Level = "unit") -> pd.DataFrame:
    """Where one score is higher than another, unit by unit.

    Args:
        a, b: Scores of two pictures by one detector.
        level: As in `ImageScore.ledger`.
    Returns:
        Columns part, layer, unit (as far as the level has them), contribution_a, contribution_b and difference, a less
        b; the differences add up to the difference of the scores. Greatest absolute difference first.
    """
    keys = {"unit": ["part", "layer", "unit"], "layer": ["part", "layer"], "part": ["part"]}[level]
    table = a.ledger(level=level).merge(b.ledger(level=level), on=keys, how="outer", suffixes=("_a", "_b"))
    table[["contribution_a", "contribution_b"]] = table[["contribution_a", "contribution_b"]].fillna(0.0)
    table["difference"] = table["contribution_a"] - table["contribution_b"]
    return table.sort_values("difference", key=np.abs, ascending=False, kind="stable").reset_index(drop=True)
