"""Words: the text part opened, from the prompts to any text."""

import streamlit as st

from dashboard.components import common, sidebar
from dashboard.text import escaped
from dashboard.views.text_prompts import sections
from lake_core.experiments.text_similarity import anomalous_probability

common.heading(
    "Text prompts",
    "The text part opened: which prompts are asked, how alike each is to this image, and whether the answer depends "
    "on the wording.",
)
found = common.analysis(sidebar.current())
score = common.pick_image(found)
if found.lake.backbone.joint_hook_point is None:
    st.info(
        f"{escaped(found.lake.backbone.spec)} cannot compare single patches with words, so its scores have no text "
        "part. Choose another backbone to use this page.",
        icon=":material/translate:",
    )
    st.stop()
probability = anomalous_probability(found.lake, score.image, score.patch)
common.metrics(
    [
        ("Text, max-scoring patch", f"{score.text:.3f}", "1 = most anomalous-sounding normal patch"),
        ("Probability of “anomalous”, patch", f"{probability.patch:.0%}", "zero-shot, not in the score"),
        ("Probability of “anomalous”, image", f"{probability.image:.0%}", "zero-shot, not in the score"),
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
