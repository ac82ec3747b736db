"""Score decomposition: one image's score as visual plus text, by layer, by neuron, for any patch or region."""

import streamlit as st

from dashboard.components.analysis import current_analysis
from dashboard.components.page import heading
from dashboard.components.pickers import pick_image, pick_section
from dashboard.views.score_decomposition import contributions, sections

SECTIONS = {
    "Neurons": sections.neurons,
    "Nearest normal patch": sections.evidence,
    "Fusion weight": sections.weight,
    "Comparison": sections.against,
}

heading(
    "Score decomposition",
    "Where one image's score comes from: the **visual** part (distance to the nearest normal patch, by layer and "
    "neuron) and the **text** part (similarity to “anomalous” rather than “normal” prompts). The parts add up exactly.",
)
found = current_analysis()
score = pick_image(found)
where = contributions.chosen_where(score)
left, right = st.columns([1, 1])
with left:
    contributions.clickable(found, score, where)
with right:
    contributions.waterfall(found, score, where)
    contributions.nearest(found, score, where)
pick_section("Section", SECTIONS, "decomposition_section")(found, score, where)
