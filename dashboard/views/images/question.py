"""Images that arrive while others are open: they wait until the visitor has said whether they replace those."""

import streamlit as st

from dashboard.components.samples import take_sample
from dashboard.session import current
from dashboard.text import escaped
from dashboard.views.text_prompts.sections import forget_prompts
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset
from lake_core.errors import LakeError
from lake_core.sentences import quantity


def ask() -> None:
    """The question, where images wait for its answer."""
    here = current()
    held, arrived = here.workspace, here.arrived
    if arrived.is_empty:
        return
    with st.container(border=True):
        st.markdown(f"**{question(held, arrived)}**")
        with st.container(horizontal=True):
            replace = "Open" if held.is_empty else "Replace"
            st.button(replace, type="primary", icon=":material/swap_horiz:", on_click=_replace)
            if not (held.is_empty or arrived.sample):
                st.button("Add", icon=":material/add:", on_click=_add)
            st.button("Keep mine" if arrived.sample else "Discard my upload", on_click=_discard)


def question(held: Workspace, arrived: Workspace) -> str:
    """What is asked, with what would be replaced."""
    new = (
        f"the sample {escaped(arrived.sample)} ({_counted(arrived)})" if arrived.sample else f"your {_counted(arrived)}"
    )
    if held.is_empty:
        return f"Open {new}?"
    said = "labels, object name and prompts"
    if arrived.sample:
        return f"Replace your {_counted(held)}, with {said}, by {new}?"
    return f"Replace the sample {escaped(held.sample)} ({_counted(held)}, with {said}) by {new}, or add yours to it?"


def start_over() -> None:
    """Forgets the images and what was said of them: the next ones are of another object."""
    here = current()
    here.arrived = Workspace()
    here.set_workspace(Workspace())
    _forget_object()


def _replace() -> None:
    here = current()
    arrived = here.arrived
    if not _take(arrived):
        return
    _forget_object()
    if arrived.sample:
        take_sample(arrived.sample)


def _add() -> None:
    here = current()
    arrived = here.arrived
    changed, notices = here.workspace.with_added(Dataset(arrived.name, arrived.normals, arrived.tests))
    if _take(changed):
        here.say(notices)


def _take(changed: Workspace) -> bool:
    """Takes the answer; returns whether there was still a question, and room on the server."""
    here = current()
    if here.arrived.is_empty:  # answered in another tab
        return False
    try:
        here.set_workspace(changed)
    except LakeError as reason:
        here.say([str(reason)])
        return False
    here.arrived, here.own_threshold, here.is_paused = Workspace(), None, True
    return True


def _discard() -> None:
    current().arrived = Workspace()


def _forget_object() -> None:
    current().set_focus(image=None, neuron=None, patch=None)
    st.session_state.object_name = ""
    forget_prompts()


def _counted(workspace: Workspace) -> str:
    """How many images of each side: "8 normal and 18 test images"."""
    sides = [(len(workspace.normals), "normal"), (len(workspace.tests), "test")]
    given = [(n, side) for n, side in sides if n]
    if len(given) == 1:
        n, side = given[0]
        return quantity(n, f"{side} image")
    return " and ".join(f"{n} {side}" for n, side in given) + " images"
