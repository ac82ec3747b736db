"""Interventions: experiments on a score, each beside its random control."""

import streamlit as st

from dashboard.components import common, sidebar
from dashboard.views.interventions import images, neurons

EXPERIMENTS = {
    "Neurons off": neurons.off,
    "Inside the network": neurons.inside,
    "Patches removed": images.removed,
    "Contaminated normals": images.contaminated,
    "Stability of the score": images.steady,
}

common.heading(
    "Interventions",
    "Experiments on one image's score: change something, see what follows, and compare with the same done at random.",
)
found = common.analysis(sidebar.current())
score = common.pick_image(found)
experiment = st.segmented_control(
    "Experiment",
    list(EXPERIMENTS),
    default=next(iter(EXPERIMENTS)),
    required=True,
    key="experiment",
    label_visibility="collapsed",
)
EXPERIMENTS[experiment](found, score)
