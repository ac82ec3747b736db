"""Projects that are opened, shared or copied: what becomes of the session."""

from dataclasses import fields
from functools import partial

import streamlit as st

from dashboard.components import sidebar
from dashboard.services.projects import as_project, as_snapshot, scores_now, store
from dashboard.services.snapshot import Snapshot
from dashboard.services.uploads import open_at_once, open_beside
from dashboard.session import PIN_LIST, Focus, Session, current
from lake_core.errors import LakeError, ProjectError
from lake_core.projects.manifest import Chosen, checked
from lake_core.projects.project import OpenedProject, Project
from lake_core.projects.project_file import project_bytes
from lake_core.prompts import PromptEnsemble


def look_at(here: Session, opened: OpenedProject, shared: str = "") -> None:
    """Puts a project into a session, in place of what is there; only before the sidebar is drawn.

    Args:
        shared: Its identity in the store, where it is looked at and cannot be changed.
    Raises:
        LakeError: if it cannot be used here, or the server has no room; then nothing changes.
    """
    held, said = as_snapshot(opened, is_own=False)
    here.registry.keep(here.number, **vars(held) | {"shared": shared})
    here.focus = Focus(**opened.manifest.chosen.model_dump())
    here.settings, here.grid, here.to_check, here.agreement = held.settings, None, opened.manifest, ()
    here.normal_looked_at, here.neuron_patch, here.compared_with, here.selected = None, None, None, frozenset()
    here.is_paused, here.prompt_texts, here.left_behind, here.shared_as = False, None, "", ""
    here.say(said)


def open_file(data: bytes, name: str) -> None:
    """Opens a project file, a heavy one beside the page; only in a callback."""
    here = current()
    try:
        opened = open_at_once(data, name)
    except LakeError as reason:
        here.say([str(reason)])
        return
    if opened is None:
        open_beside(here.number, data, name)
    else:
        move_to(opened)


def move_to(opened: OpenedProject) -> None:
    """Shows a project in a session of its own; what was open stays at its address. Only before the sidebar is drawn."""
    here = current()
    before, had_images = here.number, not here.workspace.is_empty
    try:
        here.number = here.registry.create()
        look_at(here, opened)
    except LakeError as reason:
        here.number = before
        here.say([str(reason)])
        return
    here.registry.connect(here.number, here.tab)
    sidebar.take(here.settings)
    for key in (PIN_LIST, *(f"typed_{field.name}" for field in fields(PromptEnsemble))):
        st.session_state.pop(key, None)
    if had_images:
        here.left_behind = before


def in_sidebar(here: Session, with_copy: bool) -> None:
    """In place of the sidebar's controls: what a shared project was made with.

    Args:
        with_copy: Whether the way to a copy is there, too: on pages that have none of their own.
    """
    sidebar.shared(here)
    if with_copy:
        with st.sidebar:
            copy_button("copy_in_sidebar")


def copy_button(key: str) -> None:
    """Makes what is looked at the visitor's own, to be changed."""
    st.button("Make a copy", icon=":material/content_copy:", on_click=_copy, type="primary", key=key)


def _copy() -> None:
    here = current()
    own = here.registry.create()
    try:
        here.registry.keep(own, **vars(here.snapshot) | {"shared": ""})
    except LakeError as reason:
        here.say([str(reason)])
        return
    here.number = own
    sidebar.take(here.settings)


def share() -> None:
    """Puts the session as it is into the store; its link is then shown."""
    here = current()
    try:
        here.shared_as = store().share(_project(here.snapshot, here.focus))
    except LakeError as reason:
        here.say([str(reason)])


def file_of(here: Session) -> "partial[bytes]":
    """What makes the project file of a session as it is now, when it is asked for."""
    return partial(_file, here.snapshot, here.focus)


def _file(held: Snapshot, focus: Focus) -> bytes:
    return project_bytes(_project(held, focus))


def _project(held: Snapshot, focus: Focus) -> Project:
    return as_project(held, _chosen(focus), scores_now(held), for_others=True)


def _chosen(focus: Focus) -> Chosen:
    """What is looked at; nothing where an address says what cannot be."""
    try:
        return checked(Chosen, vars(focus))
    except ProjectError:
        return Chosen()
