"""The microscope on a page: the core's component, which tells of the patch that was fixed and the neuron to open."""

import streamlit as st

from dashboard.session import current
from lake_core.visualization.microscope.html import script, style

NAME = "lake_microscope"


def microscope(blob: bytes, key: str) -> None:
    """Shows a payload; a fixed patch becomes the shared selection's, and a neuron that is opened leads to its page.

    Args:
        blob: As from `lake_core.visualization.microscope.payload.encode`.
        key: Of this image's microscope; its state is forgotten with it.
    """

    def fix() -> None:
        current().set_focus(patch=st.session_state[key].patch)

    show = st.components.v2.component(NAME, css=style(), js=script())
    result = show(data=blob, key=key, height="content", on_patch_change=fix, on_open_neuron_change=lambda: None)
    if result.open_neuron:
        current().set_focus(**{name: int(result.open_neuron[name]) for name in ("layer", "neuron")})
        st.switch_page(current().pages["neurons"])
