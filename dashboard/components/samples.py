"""The built-in samples as cards to open, and whose images they are."""

import streamlit as st

from dashboard.components.layout import cards
from dashboard.services.models import sample, sample_cover
from dashboard.session import current
from dashboard.text import escaped
from dashboard.words import light
from dashboard.workspace import Workspace, shas
from lake_core.data.samples import MeasuredMethod, MeasuredSample, measured_sample, sample_facts, sample_names
from lake_core.errors import LakeError

CARD_WIDTH = 190
"""Five of them lie side by side on a laptop."""


def take_sample(name: str) -> None:
    """Puts a built-in sample into the workspace, in place of what is there, and names the object; only before the
    sidebar is drawn.

    Raises:
        LakeError: if the server has no room for more images.
    """
    here, dataset = current(), sample(name)
    fresh, _ = Workspace(sample=name).with_added(dataset)
    here.set_workspace(fresh)
    if here.focus.image not in shas(dataset.tests):
        here.set_focus(image=None, patch=None)
    facts = sample_facts(name)
    st.session_state.object_name = facts.object_name if facts else name
    here.is_paused, here.own_threshold = False, None


def sample_cards(page_after: str) -> None:
    """One card per built-in sample; a click opens it and goes on to a page."""
    names = sample_names()
    places = cards(len(names), CARD_WIDTH, "sample_cards", border=True, height="stretch")
    for card, name in zip(places, names, strict=True):
        facts, measured = sample_facts(name), measured_sample(name)
        with card:
            st.image(sample_cover(name), width="stretch", alt=f"A defective image of the sample {name}")
            st.markdown(facts.title if facts else escaped(name))
            st.button(f"Open {name}", key=f"sample_{name}", on_click=_open, args=(name, page_after), width="stretch")
            if measured:
                st.caption(lesson(measured))
            if facts:
                st.caption(facts.credit)


def lesson(measured: MeasuredSample) -> str:
    """What a sample teaches: its image AUROCs, how the selection stands in them, and what gives its defects away."""
    lake, random, every = (measured.methods[method] for method in ("lake", "random", "all"))
    said = [
        f"Selected neurons **{lake.mean:.2f}**, random {random.mean:.2f}, all {every.mean:.2f} (image AUROC, "
        f"{measured.shots} normals, mean of {len(measured.seeds)} seeds).",
        _comparison(lake, random, every),
    ]
    return " ".join([*said, *light(measured)])


def _comparison(lake: MeasuredMethod, random: MeasuredMethod, every: MeasuredMethod) -> str:
    if all(method.low <= 0.5 for method in (lake, random, every)):
        return "None is clearly better than chance."
    by_random, by_all = _standing(lake, random), _standing(lake, every)
    standing = f"{by_random} both" if by_random == by_all else f"{by_random} random and {by_all} all neurons"
    overlaps = [lake.low <= other.high and other.low <= lake.high for other in (random, every)]
    return f"The selection is {standing}{', within the 95% intervals' if all(overlaps) else ''}."


def _standing(lake: MeasuredMethod, other: MeasuredMethod) -> str:
    if f"{lake.mean:.2f}" == f"{other.mean:.2f}":
        return "level with"
    if lake.mean < other.mean:
        return "clearly behind" if lake.high < other.low else "behind"
    return "clearly ahead of" if lake.low > other.high else "ahead of"


def _open(name: str, page_after: str) -> None:
    here = current()
    if not here.arrived.is_empty and not here.arrived.sample:
        here.say(["Your upload still waits for an answer: say first what becomes of it."])
        here.go_to = "images"
        return
    try:
        if here.workspace.holds_more_than(sample(here.workspace.sample or name), labels_count=True):
            here.arrived, _ = Workspace(sample=name).with_added(sample(name))
            here.go_to = "images"
            return
        take_sample(name)
    except LakeError as reason:
        here.say([str(reason)])
    else:
        here.go_to = page_after
