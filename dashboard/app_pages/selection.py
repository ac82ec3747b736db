"""Selection: units ranked by sensitivity in every layer, which are kept, and what that choice is worth."""

import streamlit as st

from dashboard import components, compute, selection_checks, selection_views, sidebar, state

GLANCE = "Layers at a glance"
VIEWS = (GLANCE, "Ranking", "Criteria", "Stability", "Sweep over K")

components.heading(
    "Selection",
    "The neurons of each layer ranked by how strongly they vary over the **normal** patches; the most sensitive ones "
    "are kept. High variance is a ranking, not a proof of cause.",
)
settings, workspace = sidebar.current(), state.workspace()
components.see_pictures(settings)
view = st.segmented_control("View", VIEWS, default="Ranking", required=True, key="selection_view")
if view == GLANCE:  # nothing needs to be fitted for it, so that K moves at once
    layers = compute.fit_key(settings, workspace).config.layers
    selection_views.glance(compute.all_selections(settings, workspace), layers)
else:
    found = components.analysis(settings, tests_needed=False)
    if view == "Ranking":
        selection_views.pick_k(found.lake.selection_)
        for selection in found.lake.selection_.values():
            selection_views.ranking(selection)
        selection_views.against_random(found)
    elif view == "Criteria":
        selection_checks.criteria(found)
    elif view == "Stability":
        selection_checks.steadiness(found)
    else:
        selection_checks.over_k(found)
