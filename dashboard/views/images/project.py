"""The analysis as a project: saved as a file, opened from one, shared by a link."""

from urllib.parse import urlsplit

import streamlit as st

from dashboard.components.page import warn
from dashboard.components.projects import copy_button, file_of, open_file, share
from dashboard.services.access import is_demo
from dashboard.services.autosave import autosave
from dashboard.services.projects import check_configuration
from dashboard.session import current
from dashboard.text import escaped
from lake_core.data.labels import safe_path
from lake_core.errors import LakeError
from lake_core.projects.project_file import SUFFIX

HELP = (
    "One file with images, labels, masks, configuration, threshold, prompts, pinned neurons and scores. It holds no "
    "model, and no path of this server."
)


def project(may_open: bool) -> None:
    """Ways to save, share and, if another may be opened now, to open; of a shared project, to copy it."""
    here = current()
    st.subheader("Project", anchor=False)
    if here.is_read_only:
        st.markdown(
            "This is a shared project: everybody who has the link sees it as it is here, and nobody changes it."
        )
    if here.left_behind:
        st.markdown(f"What was open before is still at [its own address](?w={here.left_behind}).")
    if here.agreement:
        said = ["When the project was opened, its scores were computed again.", *here.agreement]
        st.markdown(escaped(" ".join(said)))
    _save_and_share()
    if may_open and not is_demo():
        with st.expander("Open another project"):
            open_project()


def _save_and_share() -> None:
    here = current()
    try:
        check_configuration(here.settings)
    except LakeError as reason:
        warn(str(reason))
        return
    with st.container(horizontal=True):
        name = safe_path(here.workspace.name).name or "project"
        st.download_button(
            "Save the project",
            file_of(here),
            file_name=f"{name}{SUFFIX}",
            mime="application/zip",
            icon=":material/save:",
            help=HELP,
            on_click="ignore",
        )
        if here.is_read_only:
            copy_button("copy_here")
        elif not is_demo():
            st.button(
                "Share",
                icon=":material/link:",
                on_click=share,
                help="Makes a link to everything as it is now. Whoever has it sees it, images included, and cannot "
                "change it.",
            )
    if here.shared_as and not here.is_read_only:
        st.markdown("Whoever opens this link sees the project as it was when you pressed *Share*:")
        st.code(_link(here.shared_as), language=None)
    fault = autosave().fault(here.number)
    if fault:
        warn(f"Your work is not being kept for a restart of the server. {fault}")


def open_project() -> None:
    """A place for a project file."""
    key = f"project_{current().n_uploads}"

    def take() -> None:
        given = st.session_state.get(key)
        if given is not None:
            current().n_uploads += 1
            open_file(given.getvalue(), given.name)

    st.file_uploader(f"Open a project ({SUFFIX})", type=[SUFFIX.removeprefix(".")], key=key, on_change=take)


def _link(identity: str) -> str:
    """The address of a shared project on this server."""
    url = st.context.url
    parts = urlsplit(url) if isinstance(url, str) else None
    query = f"?project={identity}"
    return query if parts is None or not parts.netloc else f"{parts.scheme}://{parts.netloc}{parts.path or '/'}{query}"
