"""The microscope on a page: the core's component, which tells of the patch that was fixed and the neuron to open."""

from collections.abc import Sequence

import streamlit as st

from dashboard.components.pickers import see_page
from dashboard.services.analysis import Analysis
from dashboard.services.images import microscope_payload
from dashboard.session import current
from lake_core.detector.result import ImageResult
from lake_core.visualization.microscope.html import script, style

NAME = "lake_microscope"


def microscope(found: Analysis, score: ImageResult, watched: Sequence[ImageResult]) -> None:
    """A test image under the microscope.

    A patch that is fixed there becomes that of the shared selection, and a neuron that is opened leads to its page,
    where there are pages.

    Args:
        watched: The image's results of layers outside of the score, where they are known.
    """
    here, key = current(), f"microscope_{score.image.sha256[:12]}_{current().n_returns}"
    if key not in st.session_state:  # it is not on screen yet: from now on the browser knows which patch is fixed
        here.opened_patch = here.focus.patch
    blob = microscope_payload(found, score, watched, here.opened_patch)

    def fix() -> None:
        here.set_focus(patch=st.session_state[key].fix["patch"])

    show = st.components.v2.component(NAME, css=style(), js=script())
    # A trigger's value is in the result only where a callback is registered, too.
    result = show(data=blob, key=key, height="content", on_fix_change=fix, on_open_neuron_change=lambda: None)
    if result.open_neuron and not here.is_embedded:
        see_page("neurons", **{name: int(result.open_neuron[name]) for name in ("layer", "neuron")})
