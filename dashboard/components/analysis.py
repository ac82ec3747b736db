"""The way into an analysis: what is missing for one ends the page, and the network runs first where it must."""

import streamlit as st

from dashboard.components.page import error, warn
from dashboard.components.progress import computed, progress_frame
from dashboard.components.samples import sample_cards
from dashboard.services import analysis
from dashboard.services.analysis import Analysis, hook_points_to_compute, patch_scores, patch_scores_key
from dashboard.services.models import model
from dashboard.services.options import is_demo
from dashboard.services.projects import agreement
from dashboard.session import current
from dashboard.settings import Settings
from dashboard.text import escaped
from dashboard.workspace import shas
from lake_core.errors import LakeError
from lake_core.sentences import quantity, sentence

MANY_TESTS = 40
"""More test images take long enough to score that a page says how far it is."""


def current_analysis(tests_needed: bool = True) -> Analysis:
    """The analysis of this session, or what is missing for one, which ends the page.

    Runs the network first, with progress and a way to cancel, on images that it has not seen yet.
    """
    need_images(tests_needed)
    here = current()
    found = analysis_with(here.settings, here.own_threshold)
    if tests_needed and len(found.workspace.tests) > MANY_TESTS:
        _score(found)
    memory_bank = found.lake.memory_bank_
    here.follow_grid(memory_bank.grid.rows, memory_bank.grid.cols)
    for warning in memory_bank.warnings:
        warn(sentence(warning))
    if found.workspace.tests:
        _say_agreement(found)
    if found.workspace.tests and here.focus.image not in shas(found.workspace.tests):
        highest = max(found.scores, key=lambda score: score.score)
        here.set_focus(image=highest.image.sha256)
    return found


def _say_agreement(found: Analysis) -> None:
    """Of a project that was opened, once: whether its scores are those that came out here."""
    here = current()
    if here.to_check is None:
        return
    result, here.to_check = agreement(here.to_check, found), None
    if result is None:
        return
    here.agreement = tuple(result.sentences())
    if result.agrees:
        st.toast(escaped(here.agreement[0]), icon=":material/verified:")
    else:
        for said in here.agreement:
            warn(said)


def analysis_with(settings: Settings, threshold: float | None = None) -> Analysis:
    """The analysis of this session's images with some settings, the network run first; an error ends the page.

    Args:
        settings: Any, not only the sidebar's.
        threshold: The user's own, or None for the normal images'.
    """
    run_network_or_stop(settings)
    try:
        return analysis.analyse(settings, current().workspace, threshold)
    except LakeError as reason:
        error(str(reason))
        st.stop()


def _score(found: Analysis) -> None:
    """Scores the test images with progress, so that the page can be used meanwhile; if cancelled, the page ends."""
    key = patch_scores_key(found.key, found.workspace)
    scores = computed(key, "Test images scored", lambda show: patch_scores(found.key, found.workspace, show))
    if scores is None:
        st.stop()


def need_images(tests_needed: bool = True, page_after: str = "explain") -> None:
    """Ends the page where images are missing, with ways to get some."""
    here = current()
    workspace = here.workspace
    if workspace.normals and (workspace.tests or not tests_needed):
        return
    missing = "normal images to learn from" if not workspace.normals else "test images to look at"
    if is_demo():
        st.info(f"There are no {missing} yet. Open a sample.", icon=":material/image:")
    else:
        st.info(f"There are no {missing} yet. Add some on the page Images, or open a sample.", icon=":material/image:")
        st.page_link(here.pages["images"], label="Go to Images", icon=":material/upload:")
    sample_cards(page_after)
    st.stop()


def run_network_or_stop(settings: Settings) -> None:
    """Runs the network on images that it has not seen yet; an error ends the page."""
    try:
        run_network(settings)
    except LakeError as reason:
        error(str(reason))
        st.stop()


def run_network(settings: Settings) -> None:
    """Computes the activations that are missing; stops the page if the user cancelled.

    Raises:
        LakeError: if the backbone cannot be opened or cannot run.
    """
    here = current()
    store, images = model(settings.model), here.workspace.images
    hook_points = hook_points_to_compute(settings, here.workspace)
    todo = store.missing(images, hook_points.all)
    if not todo:
        return
    if here.is_paused:
        n_done = len(images) - len(todo)
        st.info(
            f"{n_done} of {len(images)} images have run through the network and are kept.",
            icon=":material/pause_circle:",
        )
        name = "Resume" if n_done else "Run"
        st.button(name, type="primary", on_click=_set_paused, args=(False,), key="resume")
        st.stop()
    summary = (
        f"**{escaped(settings.spec)}** runs once on {quantity(len(todo), 'image')}. Every later step uses the stored "
        "result."
    )
    with progress_frame("Images", _set_paused, True, summary=summary) as show:
        store.ensure(images, hook_points.needed, show, hook_points.all)


def _set_paused(is_paused: bool) -> None:
    current().is_paused = is_paused
