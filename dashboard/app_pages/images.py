"""Images: bring images in, label or remove them, and run the model on them."""

import streamlit as st

from dashboard.components.analysis import run_network
from dashboard.components.page import error, heading
from dashboard.components.pickers import see_page
from dashboard.components.samples import sample_cards
from dashboard.services.access import is_demo
from dashboard.services.analysis import hook_points_to_compute
from dashboard.services.models import model
from dashboard.session import current
from dashboard.views.images.adding import add_images, watch_reading
from dashboard.views.images.gallery import normal_images, test_images
from dashboard.views.images.project import open_project, project
from dashboard.views.images.question import ask, start_over
from lake_core.errors import LakeError
from lake_core.sentences import quantity
from lake_core.version import project_page

DOES = (
    "LAKE Explorer selects the neurons of a pretrained network that are most sensitive over good parts, and shows "
    "where and why a test image differs from them."
)


def install() -> str:
    """What else to do where nothing can be brought, with the way to the project where its address is known."""
    page = project_page()
    return "install LAKE Explorer" + (" as its README says" if page is None else f" from [its page]({page})")


def begin() -> str:
    """What this is, and what can be done here."""
    if is_demo():
        return f"{DOES} This server shows samples and shared projects. To use images of your own, {install()}."
    return DOES if current().is_read_only else f"Add a few images of **good** parts and some to **test**. {DOES}"


heading("Images", begin())
ask()
workspace, is_read_only = current().workspace, current().is_read_only

if workspace.is_empty:
    st.subheader("Start with a built-in sample", anchor=False)
    sample_cards("explain")
    if not is_demo():
        st.subheader("Or with your own images", anchor=False)

is_reading = watch_reading()
if not (is_read_only or is_demo() or is_reading):
    add_images()
if not workspace.is_empty:
    try:
        settings = current().settings
        store = model(settings.model)
        hook_points = hook_points_to_compute(settings, workspace)
        todo = store.missing(workspace.images, hook_points.all)
    except LakeError as reason:
        error(str(reason))
        st.stop()
    run, clear = st.columns([3, 1])
    with run:
        if not workspace.normals:
            st.info("Add at least one normal image to learn from.", icon=":material/arrow_upward:")
        elif not workspace.tests:
            st.info(
                "Add test images to score. Selection and Neurons work without them.", icon=":material/arrow_upward:"
            )
        see = "See the results" if workspace.tests else "See the selection"
        if workspace.normals and st.button(
            f"Run on {quantity(len(todo), 'image')}" if todo else see,
            key="run",
            type="primary",
            icon=":material/play_arrow:",
            width="stretch",
        ):
            current().is_paused = False
            run_network(settings)
            see_page("results" if workspace.tests else "selection")
        if todo and workspace.normals and len(todo) < workspace.n_images:
            st.caption(f"{workspace.n_images - len(todo)} of {workspace.n_images} images are done and kept.")
    if not is_read_only:
        with clear, st.popover("Start over", icon=":material/delete:", width="stretch"):
            st.markdown("This removes all images of this session, their object name and prompts.")
            st.button("Remove all images", type="primary", on_click=start_over)
    project(may_open=not is_reading)
    normal_images()
    test_images()
    if not is_read_only:
        with st.expander("Replace them with a built-in sample"):
            sample_cards("explain")
elif not (is_demo() or is_reading):
    open_project()
