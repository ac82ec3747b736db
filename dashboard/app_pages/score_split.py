"""Score split: one picture's score as visual plus cross-modal, by layer, by unit, for any patch or region."""

import streamlit as st

from dashboard import components, sidebar, split_account, split_sections

SECTIONS = {
    "Neurons": split_sections.neurons,
    "Evidence": split_sections.evidence,
    "Text weight": split_sections.weight,
    "Against another picture": split_sections.against,
}

components.heading(
    "Score split",
    "Where one picture's score comes from: what is **seen** (distance to the nearest normal patch, by layer and "
    "neuron) and what is **read** (the patch sounds more like “anomalous” than “normal”). The parts add up exactly.",
)
found = components.analysis(sidebar.current())
score = components.pick_picture(found)
where = split_account.chosen_place(score)
left, right = st.columns([1, 1])
with left:
    split_account.clickable(found, score, where)
with right:
    split_account.account(found, score, where)
    split_account.nearest(found, score, where)
section = st.segmented_control(
    "Section",
    list(SECTIONS),
    default=next(iter(SECTIONS)),
    required=True,
    key="split_section",
    label_visibility="collapsed",
)
SECTIONS[section](found, score, where)
