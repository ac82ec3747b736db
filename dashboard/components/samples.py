"""The built-in samples as cards to open."""

import streamlit as st

from dashboard.components.layout import cards
from dashboard.services.models import sample, sample_cover
from dashboard.session import current
from dashboard.workspace import Workspace, shas
from lake_core.data.samples import sample_names
from lake_core.errors import LakeError

TITLES = {
    "metal": "Machined flange: scratches, dents, rust",
    "textile": "Woven cloth: holes, stains, misweaves",
    "gravel": "Gravel: spills, mortar, foreign objects",
}
OBJECT_NAMES = {"metal": "metal flange", "textile": "woven fabric", "gravel": "gravel"}


def take_sample(name: str) -> None:
    """Puts a built-in sample into the workspace, in place of what is there, and names the object; only before the
    sidebar is drawn.

    Raises:
        LakeError: if the server has no room for more images.
    """
    here, dataset = current(), sample(name)
    fresh, _ = Workspace().with_added(dataset)
    here.set_workspace(fresh)
    if here.focus.image not in shas(dataset.tests):
        here.set_focus(image=None, patch=None)
    st.session_state.object_name = OBJECT_NAMES.get(name, name)
    here.is_paused, here.own_threshold = False, None


def sample_cards(page_after: str) -> None:
    """One card per built-in sample; a click opens it and goes on to a page."""
    names = sample_names()
    for card, name in zip(cards(len(names), 260, border=True), names, strict=True):
        with card:
            st.image(sample_cover(name), width="stretch", alt=f"A defective image of the sample {name}")
            st.markdown(TITLES.get(name, name))
            st.button(f"Open {name}", key=f"sample_{name}", on_click=_open, args=(name, page_after), width="stretch")


def _open(name: str, page_after: str) -> None:
    try:
        take_sample(name)
    except LakeError as reason:
        current().say([str(reason)])
    else:
        current().go_to = page_after
