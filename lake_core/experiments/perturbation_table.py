"""How far a score moves when something that should not matter is changed: what all such tables have in common."""

from dataclasses import dataclass, field

import pandas as pd

AS_IS = "as it is"
COLUMNS = ("family", "what", "score", "text", "threshold", "is_anomalous")


@dataclass(frozen=True, eq=False)
class PerturbationTable:
    """One image's score under changes.

    Attributes:
        table: One row per change: family, what (in words), score, text, threshold, is_anomalous. The first row,
            of the family "as it is", is the score without a change. Each score goes with its own threshold.
        sentence: The outcome in words.
    """

    table: pd.DataFrame = field(repr=False)
    sentence: str

    @property
    def changed(self) -> pd.DataFrame:
        """The rows with a change."""
        return self.table.iloc[1:]

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the greatest score, the unchanged one included."""
        return float(self.table["score"].min()), float(self.table["score"].max())

    @property
    def turned(self) -> pd.DataFrame:
        """The rows whose decision differs from the one without a change."""
        return self.table[self.table["is_anomalous"] != self.table["is_anomalous"].iloc[0]]

    def by_family(self) -> pd.DataFrame:
        """Columns family, n, lowest, highest (score) and n_turned, a row for each family of changes."""
        return families(self.table)


def families(table: pd.DataFrame) -> pd.DataFrame:
    """See `PerturbationTable.by_family`."""
    decision = table["is_anomalous"].iloc[0]
    changed = table.iloc[1:].assign(turned=table["is_anomalous"].iloc[1:] != decision)
    grouped = changed.groupby("family", sort=False)
    return grouped.agg(
        n=("score", "size"), lowest=("score", "min"), highest=("score", "max"), n_turned=("turned", "sum")
    ).reset_index()


def side(is_anomalous: bool) -> str:
    """Where a score lies, in words."""
    return "above its threshold" if is_anomalous else "not above its threshold"


def some(rows: pd.DataFrame, most: int = 3) -> str:
    """The names of a few rows, as "family: what"."""
    names = [f"{row.family}: {row.what}" for row in rows.itertuples()]
    return "; ".join(names[:most]) + (f"; and {len(names) - most} more" if len(names) > most else "")
