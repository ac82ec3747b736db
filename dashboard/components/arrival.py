"""Who arrives: a new visitor, one who comes back by an address, or somebody who was sent a shared project."""

import time
from dataclasses import replace

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from dashboard.components.projects import look_at
from dashboard.services.access import asks_for_a_frame, is_demo
from dashboard.services.autosave import waiting
from dashboard.services.models import known_specs
from dashboard.services.projects import as_snapshot, store
from dashboard.services.registry import Registry
from dashboard.session import KEY, Session, Tour, current, focus_in_link, number_in_link
from dashboard.settings import Settings
from lake_core.backbones.registry import SHIPPED
from lake_core.config import LakeConfig
from lake_core.errors import LakeError
from lake_core.projects.project import Project
from lake_core.projects.store import Kind
from lake_core.types import SITES

COPIED = (
    "This address is open in another window, so this window has a copy of its own: what you change here does not "
    "change there."
)
NO_PROJECT = "There is no shared project at this address, or it was removed because of its age; ask for a new link."
LEAVING_S, STEP_S = 1.0, 0.05
"""How long a tab that is being reloaded may take to leave."""


def start(registry: Registry) -> bool:
    """Ties this session to a snapshot: the one in the address, if it is in memory or in the store, else a new one.

    Returns:
        Whether the session is new.
    """
    is_new = KEY not in st.session_state
    if is_new:
        st.session_state[KEY] = found = _from_link(registry)
        found.presented_step, found.is_embedded = number_in_link("present") or None, _asks_for_a_frame()
    here = current()
    if registry.find(here.number) is None and not _is_back(here):
        registry.keep(here.number)
        if here.has_images:
            here.say([f"Your images are no longer on the server. {_again()}"])
    here.tab = _tab()
    if here.tab:
        registry.connect(here.number, here.tab)
    here.has_images = not here.workspace.is_empty
    return is_new


def _from_link(registry: Registry) -> Session:
    shared, asked = st.query_params.get("project", ""), st.query_params.get("w", "")
    found = Session(registry, asked, focus=focus_in_link(), tour=Tour(is_offered=not (asked or shared)))
    if shared:
        found.number = registry.create()
        project = _stored("shared", shared, found)
        if project is None:
            found.say([NO_PROJECT])
        else:
            _show(found, project, shared)
    elif asked and (registry.find(asked) is not None or _is_back(found)):
        _take_or_copy(found)
    else:
        found.number = registry.create()
        _begin(found)
        if asked:
            found.say([f"The images of this link are no longer on the server. {_again()}"])
    return found


def _begin(found: Session) -> None:
    """A new visitor's settings: the model and the site that a link may name."""
    spec, site = st.query_params.get("model", Settings.spec), st.query_params.get("site")
    if spec not in SHIPPED or spec not in known_specs():  # whoever sent the link need not be who opens it
        spec = Settings.spec
        found.say(["A link opens only the models that come with LAKE Explorer; choose any other under Backbone."])
    found.set_settings(Settings(spec, config=LakeConfig(site=site if site in SITES else None)))


def _take_or_copy(found: Session) -> None:
    """Takes the snapshot of the address; where another window shows it, a copy."""
    registry, mine = found.registry, _tab()
    held, until = found.snapshot, time.monotonic() + LEAVING_S
    found.settings = held.settings
    while registry.is_shown_elsewhere(found.number, mine) and time.monotonic() < until:
        time.sleep(STEP_S)
    if not registry.is_shown_elsewhere(found.number, mine):
        return
    found.number = registry.create()
    try:
        registry.keep(found.number, **vars(held))
    except LakeError as reason:
        found.say([str(reason)])
    else:
        found.say([COPIED])


def _show(found: Session, project: Project, shared: str) -> None:
    """Shows a shared project, with what the address chooses in it, if anything."""
    asked = found.focus
    try:
        look_at(found, project.opened(), shared)
    except LakeError as reason:
        found.say([str(reason)])
    if any(value is not None for value in vars(asked).values()):
        found.focus = asked


def _is_back(here: Session) -> bool:
    """Brings a session from the store back into memory, under its number; returns whether it was there."""
    shared = st.query_params.get("project", "")
    project = _stored("shared", shared, here) if shared else _stored("sessions", here.number, here)
    if project is None:
        return False
    if shared:
        _show(here, project, shared)
        return True
    arrived = _stored("sessions", waiting(here.number), here)
    try:
        held, said = as_snapshot(project.opened(), is_own=True)
        if arrived is not None:
            held = replace(held, arrived=as_snapshot(arrived.opened(), is_own=True)[0].workspace)
        here.registry.keep(here.number, **vars(held))
    except LakeError as reason:
        here.say([str(reason)])
        return False
    here.say(said)
    return True


def _stored(kind: Kind, identity: str, here: Session) -> Project | None:
    try:
        return store().find(kind, identity)
    except LakeError as reason:
        here.say([str(reason)])
        return None


def _again() -> str:
    return "Open a sample again." if is_demo() else "Add them again."


def _tab() -> str:
    """Streamlit's number of this session; "" where there is none."""
    context = get_script_run_ctx()
    return "" if context is None else context.session_id


def _asks_for_a_frame() -> bool:
    """Whether the address asks for it; `st.query_params` leaves that out."""
    context = get_script_run_ctx()
    return context is not None and asks_for_a_frame(context.query_string)
