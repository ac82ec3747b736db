"""The microscope on a page: the core's component, which tells of the patch that was fixed and the neuron to open."""

import streamlit as st

from dashboard.components.pickers import see_page
from dashboard.services.analysis import Analysis
from dashboard.services.every_layer import known_maps, layers_outside
from dashboard.services.images import microscope_payload
from dashboard.session import current
from lake_core.detector.result import ImageResult
from lake_core.visualization.microscope.html import script, style

NAME = "lake_microscope"


def microscope(found: Analysis, score: ImageResult) -> bool:
    """A test image under the microscope, with all layers once they are known.

    A patch that is fixed there becomes that of the shared selection, and a neuron that is opened leads to its page,
    where there are pages.

    Returns:
        Whether all layers are there.
    """
    here, sha256 = current(), score.image.sha256
    key = f"microscope_{here.n_returns}"
    if key not in st.session_state or here.opened_image != sha256:
        # It is not on screen yet: from now on the browser knows which patch is fixed.
        here.opened_image, here.opened_patch = sha256, here.focus.patch
    maps = known_maps(found, score.image)
    blob = microscope_payload(found, score, maps, layers_outside(found), here.opened_patch)

    def fix() -> None:
        here.set_focus(patch=st.session_state[key].fix["patch"])

    show = st.components.v2.component(NAME, css=style(), js=script())
    # A trigger's value is in the result only where a callback is registered, too.
    result = show(data=blob, key=key, height="content", on_fix_change=fix, on_open_neuron_change=lambda: None)
    if result.open_neuron and not here.is_embedded:
        see_page("neurons", **{name: int(result.open_neuron[name]) for name in ("layer", "neuron")})
    return maps is not None
