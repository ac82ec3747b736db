"""Explain: which neurons made one image's score, where, and what it is made of."""

import streamlit as st

from dashboard.components.analysis import current_analysis
from dashboard.components.film_strip import after, film_strip
from dashboard.components.microscope import microscope
from dashboard.components.page import heading
from dashboard.components.pickers import pick_section
from dashboard.session import current
from dashboard.views.explain import layers, sections
from dashboard.views.explain.presentation import begin
from dashboard.views.selection.overview import control_in_a_line

SECTIONS = {
    "Random neurons": sections.random_neurons,
    "Neurons of a layer": layers.contact_sheet,
    "Comparison": sections.against,
    "Fusion weight": sections.weight,
    "Contributions": sections.contributions,
}


def present() -> None:
    """The way to the presentation."""
    st.button("Present", icon=":material/slideshow:", on_click=begin, type="tertiary", help="This image in six steps")


left, right = st.columns([2, 3], vertical_alignment="bottom")
with left:
    heading("Explain", "Which neurons differ from normal, where, and what they add.", present)
found = current_analysis()
with left:
    if (control := control_in_a_line(found)) is not None:
        st.caption(control)
with right:
    score = film_strip(found)
here, patch = current(), current().focus.patch
if patch is not None and not (0 <= patch < score.map.size and score.patch_scores.inside[patch]):
    here.set_focus(patch=None)
has_all_layers = microscope(found, score)
layers.beside(found, score, after(found, score), has_all_layers)
st.subheader("More about this image", anchor=False)
pick_section("Section", SECTIONS, "explain_section")(found, score)
