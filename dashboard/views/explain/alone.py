"""What stands in the window by itself, without sidebar, navigation and heading: the microscope, or a presentation."""

import streamlit as st

from dashboard.components.analysis import current_analysis
from dashboard.components.microscope import microscope
from dashboard.session import current
from dashboard.views.explain.presentation import present


def draw() -> None:
    """The microscope in another page's frame, or a presentation of the chosen image."""
    here = current()
    if not (here.workspace.normals and here.workspace.tests):
        if not here.is_embedded:
            here.presented_step = None
            st.rerun()
        st.info("There is no image to show: this address names none that is still on the server.")
        return
    found = current_analysis()
    score = found.score_of(here.focus.image)
    if score is None:
        return
    if here.is_embedded:
        microscope(found, score)
    elif here.presented_step is not None:
        present(found, score, here.presented_step)
