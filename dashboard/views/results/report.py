"""The report on the page Results: prepared beside the page when it is asked for, then offered as a file."""

import streamlit as st

from dashboard.components.progress import Estimate, asked_beside, computed_beside
from dashboard.services.analysis import Analysis
from dashboard.services.report import report_key, report_of, report_seconds


def report_download(found: Analysis) -> None:
    """A button that prepares the report, its progress with a way to cancel, and then the download."""
    key = report_key(found)
    estimate = Estimate(
        report_seconds(found), "It compares with random neurons first, and gives one HTML file to show to others."
    )
    if not asked_beside(key, "Report", ":material/lab_profile:", estimate, "report"):
        return
    made = computed_beside(key, "Report", lambda show: report_of(found, show), "report")
    if made is None:
        return
    st.download_button(
        "Download the report (HTML)",
        lambda: made,
        file_name="report.html",
        mime="text/html",
        icon=":material/download:",
        on_click="ignore",
    )
