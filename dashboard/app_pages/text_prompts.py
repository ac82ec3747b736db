"""Text prompts: the text part of the score, from the prompts in use to any text."""

import streamlit as st

from dashboard.components.analysis import current_analysis
from dashboard.components.page import heading
from dashboard.components.pickers import pick_image, pick_section
from dashboard.components.tables import metrics
from dashboard.text import escaped
from dashboard.views.text_prompts import sections
from dashboard.words import of_normals
from lake_core.experiments.text_similarity import anomalous_probability, image_probabilities

heading(
    "Text prompts",
    "What the text part of the score responds to: the prompts, how similar each is to this image, and how much the "
    "score depends on their wording.",
)
found = current_analysis()
score = pick_image(found)
if found.lake.backbone.joint_hook_point is None:
    st.info(
        f"{escaped(found.lake.backbone.spec)} cannot compare single patches with text, so its scores have no text "
        "part. Choose another backbone to use this page.",
        icon=":material/translate:",
    )
    st.stop()
normals = image_probabilities(found.lake, found.lake.normals_)
probability = anomalous_probability(found.lake, score.image, score.patch)
scale = f"1 = {found.lake.config.calibration_percentile} of normal patches"
metrics(
    [
        ("Text part of the score", f"{score.text:.3f}", scale),
        ("P(“anomalous”), patch", f"{probability.patch:.0%}", "zero-shot, not in the score"),
        ("P(“anomalous”), image", f"{probability.image:.0%}", of_normals(normals)),
    ]
)
pick_section("Section", sections.SECTIONS, "prompt_section")(found, score)
