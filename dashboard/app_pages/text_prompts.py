"""Words: the cross-modal part opened, from the prompts to any text."""

import streamlit as st

from dashboard.components import common, sidebar
from dashboard.text import escaped
from dashboard.views.text_prompts import sections
from lake_core.experiments.text_similarity import anomalous_probability

common.heading(
    "Words",
    "The text part opened: which prompts are asked, how alike each is to this picture, and whether the answer depends "
    "on the wording.",
)
found = common.analysis(sidebar.current())
score = common.pick_picture(found)
if found.lake.backbone.joint_place is None:
    st.info(
        f"{escaped(found.lake.backbone.spec)} cannot compare single patches with words, so its scores have no text "
        "part. Choose another backbone to use this page.",
        icon=":material/translate:",
    )
    st.stop()
probability = anomalous_probability(found.lake, score.picture, score.patch)
common.metrics(
    [
        ("Cross-modal, deciding patch", f"{score.cross_modal:.3f}", "1 = most anomalous-sounding normal patch"),
        ("Probability of “anomalous”, patch", f"{probability.patch:.0%}", "zero-shot, not in the score"),
        ("Probability of “anomalous”, picture", f"{probability.picture:.0%}", "zero-shot, not in the score"),
    ]
)
section = st.segmented_control(
    "Section",
    list(sections.SECTIONS),
    default=next(iter(sections.SECTIONS)),
    required=True,
    key="words_section",
    label_visibility="collapsed",
)
sections.SECTIONS[section](found, score)
