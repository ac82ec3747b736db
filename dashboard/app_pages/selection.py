"""Selection: neurons ranked by sensitivity in every layer, which are kept, and what that choice is worth."""

from dashboard.components.analysis import current_analysis, need_images, run_network_or_stop
from dashboard.components.page import heading
from dashboard.components.pickers import pick_one
from dashboard.services.analysis import all_selections, resolved
from dashboard.session import current
from dashboard.views.selection import checks, forming, other_normals, overview

GLANCE, FORMING, OTHER_NORMALS = "Layers at a glance", "Watch it form", "Other normal images"
VIEWS = (GLANCE, "Ranking", FORMING, "Criteria", OTHER_NORMALS, "Sweep over K")

heading(
    "Selection",
    "The neurons of each layer ranked by their sensitivity over the **normal** patches; the K most sensitive are kept. "
    "The ranking does not prove that these neurons cause anything.",
)
settings, workspace = current().settings, current().workspace
need_images(tests_needed=False)
run_network_or_stop(settings)
view = pick_one("View", VIEWS, "selection_view", "Ranking", persist_state="session")
if view == GLANCE:  # nothing needs to be fitted for it, so that K moves at once
    overview.glance(all_selections(settings, workspace), resolved(settings).layers)
elif view == FORMING:
    forming.watch(settings, workspace)
else:
    found = current_analysis(tests_needed=False)
    if view == "Ranking":
        selections = found.lake.selection_
        overview.pick_k(selections)
        overview.k_and_elbows(selections)
        for selection in selections.values():
            overview.ranking(selection, len(selections))
        overview.against_random(found)
    elif view == "Criteria":
        checks.criteria(found)
    elif view == OTHER_NORMALS:
        other_normals.decisions(found)
        other_normals.selections(found)
    else:
        checks.over_k(found)
