"""Numbers in rows: metrics, downloads, and the table of perturbations."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard.plots.perturbations import perturbed_scores
from dashboard.text import escaped
from lake_core.experiments.perturbation_table import PerturbationTable
from lake_core.sentences import sentence
from lake_core.tables import csv_of

Cell = tuple[str, str | int, str | None]
"""Of `metrics`: name, value, and small print beneath or None."""


def metrics(cells: Sequence[Cell]) -> None:
    """A row of numbers that wraps on a narrow screen."""
    with st.container(horizontal=True, gap="large"):
        for name, value, beneath in cells:
            st.metric(name, value, beneath, delta_color="off", delta_arrow="off", width="content")


def download_table(table: pd.DataFrame, file_name: str, label: str = "Download (CSV)") -> None:
    """A button that downloads a table."""
    st.download_button(label, csv_of(table), file_name=file_name, mime="text/csv", icon=":material/download:")


def perturbations(result: PerturbationTable, name: str) -> None:
    """How far a score moves under changes that should not matter: in a sentence, as a plot and as a table."""
    low, high = result.spread
    st.markdown(f"**{escaped(sentence(result.finding))}**")
    st.plotly_chart(perturbed_scores(result.table), key=f"{name}_spread", alt=f"Scores from {low:.3f} to {high:.3f}")
    summary = result.by_family().rename(columns={"n": "changes", "n_turned": "decisions changed"})
    three_digits = {column: st.column_config.NumberColumn(format="%.3f") for column in ("lowest", "highest")}
    st.dataframe(
        summary, hide_index=True, column_config=three_digits, alt="Lowest and highest score of each kind of change"
    )
    with st.expander(f"All {len(result.changed)} changes, one by one"):
        st.dataframe(result.table, hide_index=True, alt="Score, threshold and decision for each change")
    download_table(result.table, f"{name}.csv")
