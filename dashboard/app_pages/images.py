"""Images: bring images in, label or remove them, and run the model on them."""

import streamlit as st

from dashboard.components.analysis import run_network
from dashboard.components.layout import cards
from dashboard.components.page import error, heading
from dashboard.components.samples import sample_cards
from dashboard.services.analysis import hook_points_to_compute
from dashboard.services.images import plain_image
from dashboard.services.models import model
from dashboard.session import current
from dashboard.text import escaped
from dashboard.views.text_prompts.sections import forget_prompts
from dashboard.words import LABEL_NAMES
from dashboard.workspace import Side, Workspace
from lake_core.data.datasets import Example, read_members
from lake_core.errors import LakeError
from lake_core.sentences import quantity
from lake_core.types import Label

LABELS: dict[Label | None, str] = {None: "no label", "good": "good", "defective": "defective"}
THUMBNAIL = 220
N_SHOWN = 24


def add(role: str | None, key: str) -> None:
    """Reads what was uploaded under a key into the workspace, and empties the uploader."""
    files = st.session_state.get(key) or []
    with st.spinner(f"Reading {len(files)} files …"):
        dataset = read_members(((file.name, file.getvalue()) for file in files), role, "your upload")  # type: ignore[arg-type]
    here = current()
    here.n_uploads += 1
    changed, notices = here.workspace.with_added(dataset)
    try:
        current().set_workspace(changed)
    except LakeError as reason:
        current().say([str(reason)])
        return
    notes = [note for e in (*dataset.normals, *dataset.tests) for note in e.image.notes]
    current().say([*dataset.problems, *notices, *notes])
    current().is_paused = True


def uploader(title: str, says: str, role: str | None, folder: bool) -> None:
    """A place to drop files; the widget is renewed after each upload, so that nothing is read twice."""
    key = f"upload_{role}_{folder}_{current().n_uploads}"
    st.file_uploader(
        title,
        accept_multiple_files="directory" if folder else True,
        key=key,
        help=says,
        on_change=add,
        args=(role, key),
    )


def gallery(side: Side, examples: tuple[Example, ...]) -> None:
    """Thumbnails with a way to remove each, and to label test images."""
    everything = st.toggle(f"Show all {len(examples)}", key=f"all_{side}") if len(examples) > N_SHOWN else True
    shown = examples if everything else examples[:N_SHOWN]
    for card, example in zip(cards(len(shown), 148, border=True), shown, strict=True):
        image = example.image
        with card:
            st.image(plain_image(image, THUMBNAIL), width="stretch", alt=f"{image.name}, {LABEL_NAMES[example.label]}")
            st.caption(escaped(image.name))
            if side == "tests":
                chosen = st.selectbox(
                    f"Label of {escaped(image.name)}",
                    list(LABELS),
                    index=list(LABELS).index(example.label),
                    format_func=LABELS.__getitem__,
                    key=f"label_{image.sha256}",
                    label_visibility="collapsed",
                )
                if chosen != example.label:
                    current().set_workspace(current().workspace.labelled(image.sha256, chosen))
                    st.rerun()
            st.button(
                "Remove",
                key=f"remove_{side}_{image.sha256}",
                on_click=lambda sha=image.sha256: current().set_workspace(current().workspace.without(side, sha)),
                width="stretch",
                type="tertiary",
                icon=":material/close:",
            )


def start_over() -> None:
    """Forgets the images and what was said of them: the next ones are of another object."""
    current().set_workspace(Workspace())
    current().set_focus(image=None, neuron=None, patch=None)
    st.session_state.object_name = ""
    forget_prompts()


heading(
    "Images",
    "Add a few images of **good** parts and some to **test**. LAKE Explorer selects the neurons of a pretrained "
    "network that are most sensitive over the good parts, and shows where and why a test image differs from them.",
)
workspace = current().workspace

if workspace.is_empty:
    st.subheader("Start with a built-in sample", anchor=False)
    sample_cards("explain")
    st.subheader("Or with your own images", anchor=False)

as_folder = st.toggle("Upload whole folders", help="Labels are taken from folder names such as good or defective.")
left, middle, right = st.columns(3)
with left:
    uploader("Normal images", "Good parts only; 4 to 8 images are enough.", "normal", as_folder)
with middle:
    uploader("Test images", "Good or defective; labels are optional.", "test", as_folder)
with right:
    uploader(
        "Both at once (ZIP or folder)",
        "Folders named train/good, test/<defect>, ground_truth/<defect>, or normal and test.",
        None,
        as_folder,
    )
st.caption("PNG, JPEG, WebP, BMP, TIFF, GIF or a ZIP of them, up to 50 megapixels each. Images stay on this server.")

if not workspace.is_empty:
    try:
        settings = current().settings
        store = model(settings.model)
        hook_points = hook_points_to_compute(settings, workspace)
        todo = store.missing(workspace.images, hook_points)
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
            type="primary",
            icon=":material/play_arrow:",
            width="stretch",
        ):
            current().is_paused = False
            run_network(settings)
            st.switch_page(current().pages["results" if workspace.tests else "selection"])
        if todo and workspace.normals and len(todo) < workspace.n_images:
            st.caption(f"{workspace.n_images - len(todo)} of {workspace.n_images} images are done and kept.")
    with clear, st.popover("Start over", icon=":material/delete:", width="stretch"):
        st.markdown("This removes all images of this session, their object name and prompts.")
        st.button("Remove all images", type="primary", on_click=start_over)
    for title, side, examples in (
        ("Normal images", "normals", workspace.normals),
        ("Test images", "tests", workspace.tests),
    ):
        st.subheader(f"{title} ({len(examples)})", anchor=False)
        if examples:
            gallery(side, examples)  # type: ignore[arg-type]
        else:
            st.caption("None yet.")
    with st.expander("Replace them with a built-in sample"):
        sample_cards("explain")
