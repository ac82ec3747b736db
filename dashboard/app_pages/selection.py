"""Selection: neurons ranked by sensitivity in every layer, which are kept, and what that choice is worth."""

import streamlit as st

from dashboard import session
from dashboard.components import common, sidebar
from dashboard.services import compute
from dashboard.views.selection import checks, overview

GLANCE = "Layers at a glance"
VIEWS = (GLANCE, "Ranking", "Criteria", "Stability", "Sweep over K")

common.heading(
    "Selection",
    "The neurons of each layer ranked by how strongly they vary over the **normal** patches; the most sensitive ones "
    "are kept. High variance is a ranking, not a proof of cause.",
)
settings, workspace = sidebar.current(), session.workspace()
common.see_images(settings)
view = st.segmented_control("View", VIEWS, default="Ranking", required=True, key="selection_view")
if view == GLANCE:  # nothing needs to be fitted for it, so that K moves at once
    layers = compute.fit_key(settings, workspace).config.layers
    overview.glance(compute.all_selections(settings, workspace), layers)
else:
    found = common.analysis(settings, tests_needed=False)
    if view == "Ranking":
        overview.pick_k(found.lake.selection_)
        for selection in found.lake.selection_.values():
            overview.ranking(selection)
        overview.against_random(found)
    elif view == "Criteria":
        checks.criteria(found)
    elif view == "Stability":
        checks.steadiness(found)
    else:
        checks.over_k(found)
