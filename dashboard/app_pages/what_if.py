"""What if: experiments on a score, each beside its random control."""

import streamlit as st

from dashboard import components, sidebar, what_if_neurons, what_if_pictures

EXPERIMENTS = {
    "Neurons off": what_if_neurons.off,
    "Inside the network": what_if_neurons.inside,
    "Patches removed": what_if_pictures.removed,
    "Contaminated normals": what_if_pictures.contaminated,
    "Stability of the score": what_if_pictures.steady,
}

components.heading(
    "What if",
    "Experiments on one picture's score: change something, see what follows, and compare with the same done at random.",
)
found = components.analysis(sidebar.current())
score = components.pick_picture(found)
experiment = st.segmented_control(
    "Experiment",
    list(EXPERIMENTS),
    default=next(iter(EXPERIMENTS)),
    required=True,
    key="experiment",
    label_visibility="collapsed",
)
EXPERIMENTS[experiment](found, score)
