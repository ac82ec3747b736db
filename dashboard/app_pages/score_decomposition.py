"""Score decomposition: one image's score as visual plus text, by layer, by neuron, for any patch or region."""

import streamlit as st

from dashboard.components import common, sidebar
from dashboard.views.score_decomposition import contributions, sections

SECTIONS = {
    "Neurons": sections.neurons,
    "Evidence": sections.evidence,
    "Fusion weight": sections.weight,
    "Against another image": sections.against,
}

common.heading(
    "Score decomposition",
    "Where one image's score comes from: what is **seen** (distance to the nearest normal patch, by layer and "
    "neuron) and what is **read** (the patch sounds more like “anomalous” than “normal”). The parts add up exactly.",
)
found = common.analysis(sidebar.current())
score = common.pick_image(found)
where = contributions.chosen_place(score)
left, right = st.columns([1, 1])
with left:
    contributions.clickable(found, score, where)
with right:
    contributions.contributions_document(found, score, where)
    contributions.nearest(found, score, where)
section = st.segmented_control(
    "Section",
    list(SECTIONS),
    default=next(iter(SECTIONS)),
    required=True,
    key="split_section",
    label_visibility="collapsed",
)
SECTIONS[section](found, score, where)
