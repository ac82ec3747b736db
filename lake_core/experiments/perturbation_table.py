"""How far a score moves when something that should not matter is changed: what all such tables have in common."""

from dataclasses import dataclass, field

import pandas as pd

from lake_core.findings.images import PerturbationFinding
from lake_core.findings.normals import PromptSensitivityFinding

AS_IS = "as it is"
COLUMNS = ("family", "what", "score", "text", "threshold", "is_anomalous")


@dataclass(frozen=True, eq=False)
class PerturbationTable:
    """One image's score under changes.

    Attributes:
        table: One row per change: family, what (a short description), score, text, threshold, is_anomalous. The first
            row, of the family "as it is", is the score without a change. Each score goes with its own threshold.
        finding: The outcome.
    """

    table: pd.DataFrame = field(repr=False)
    finding: PerturbationFinding | PromptSensitivityFinding

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
        return turned_rows(self.table)

    def by_family(self) -> pd.DataFrame:
        """Columns family, n, lowest, highest (score) and n_turned, a row for each family of changes."""
        turned = self.table["is_anomalous"] != self.table["is_anomalous"].iloc[0]
        grouped = self.table.assign(turned=turned).iloc[1:].groupby("family", sort=False)
        return grouped.agg(
            n=("score", "size"), lowest=("score", "min"), highest=("score", "max"), n_turned=("turned", "sum")
        ).reset_index()


def turned_rows(table: pd.DataFrame) -> pd.DataFrame:
    """See `PerturbationTable.turned`."""
    turned: pd.DataFrame = table[table["is_anomalous"] != table["is_anomalous"].iloc[0]]
    return turned


def perturbation_finding(table: pd.DataFrame) -> PerturbationFinding:
    """The finding of a table, which has at least its first row."""
    scores = table["score"]
    return PerturbationFinding(
        float(scores.iloc[0]),
        bool(table["is_anomalous"].iloc[0]),
        len(table) - 1,
        float(scores.min()),
        float(scores.max()),
        tuple(f"{row.family}: {row.what}" for row in turned_rows(table).itertuples()),
    )
