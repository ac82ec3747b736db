"""Compare: two to four configurations on the same images, side by side."""

from itertools import combinations

import streamlit as st

from dashboard import session
from dashboard.components import common, sidebar
from dashboard.services import compute, configurations
from dashboard.services.compute import ModelKey
from dashboard.services.configurations import LETTERS
from dashboard.session import Settings
from dashboard.text import escaped
from dashboard.views.compare import sections
from lake_core.errors import LakeError
from lake_core.sentences import sentence

MAX_BACKBONES = 3


def add(settings: Settings) -> None:
    """Keeps one more configuration."""
    session.set_configurations([*session.snapshot().configurations, settings])


def remove(settings: Settings) -> None:
    session.set_configurations(kept for kept in session.snapshot().configurations if kept != settings)


def pair_buttons(present: Settings) -> None:
    """One click sets up two configurations worth a look, made from the sidebar's."""
    backbone = compute.model(ModelKey(present.spec, present.image_size)).backbone
    with st.container(horizontal=True):
        for title, pair in configurations.pairs(present, backbone).items():
            st.button(
                title, key=f"pair_{title}", on_click=session.set_configurations, args=(pair,), icon=":material/compare:"
            )


def chosen_configurations(present: Settings) -> list[Settings]:
    """Shows the configurations that are kept, with ways to add and remove some; ends the page where there are not
    two."""
    try:
        held = [compute.filled(settings) for settings in session.snapshot().configurations]
    except LakeError as error:
        st.error(escaped(str(error)), icon=":material/error:")
        st.button("Remove all configurations", on_click=session.set_configurations, args=((),))
        st.stop()
    session.set_configurations(held)
    held = list(session.snapshot().configurations)
    if held:
        with st.container(horizontal=True, key="setup_cards"):
            cards = [st.container(border=True, width=250) for _ in held]
        for card, letter, name, settings in zip(cards, LETTERS, configurations.names(held), held, strict=False):
            with card:
                st.markdown(f"**{letter}** · {escaped(name)}")
                st.caption(escaped(configurations.in_full(settings)))
                with st.container(horizontal=True):
                    st.button(
                        "In the sidebar" if settings == present else "Use",
                        key=f"use_{letter}",
                        help="Puts the sidebar, and with it all pages, to this configuration.",
                        on_click=sidebar.take,
                        args=(settings,),
                        disabled=settings == present,
                    )
                    st.button("Remove", key=f"remove_{letter}", on_click=remove, args=(settings,), type="tertiary")
    with st.container(horizontal=True, vertical_alignment="center"):
        there, full = present in held, len(held) == len(LETTERS)
        st.button(
            "Add the present configuration",
            type="primary",
            icon=":material/add:",
            on_click=add,
            args=(present,),
            disabled=there or full,
            help="Keeps what the sidebar says now. Then change the sidebar, and add that too.",
        )
        if there:
            st.caption(
                f"The sidebar's configuration is {LETTERS[held.index(present)]}; change it there to add another."
            )
        elif full:
            st.caption(f"{len(LETTERS)} configurations are the most; remove one to add another.")
    if len(held) < 2:
        st.markdown("Add two configurations, or start with a pair:")
        pair_buttons(present)
        st.stop()
    with st.expander("Start with a pair instead"):
        pair_buttons(present)
    if len({(settings.spec, settings.image_size) for settings in held}) > MAX_BACKBONES:
        st.error(f"These are more than {MAX_BACKBONES} backbones or input sizes at once; remove one.")
        st.stop()
    return held


def pick_pair(names: list[str]) -> tuple[int, int]:
    """Which two configurations are set against each other."""
    pairs = list(combinations(range(len(names)), 2))
    if len(pairs) == 1:
        return pairs[0]
    # By number: Streamlit takes a default that is a tuple for several defaults.
    chosen = st.segmented_control(
        "Set against each other",
        range(len(pairs)),
        default=0,
        required=True,
        format_func=lambda i: f"{LETTERS[pairs[i][0]]} and {LETTERS[pairs[i][1]]}",
        key=f"pair_of_{len(names)}",
    )
    return pairs[chosen]


common.heading(
    "Compare",
    "Two to four configurations on the same images: their maps on one scale, their scores against each other, the"
    " neurons they share, and what each costs.",
)
common.need_images(page_after="compare")
held = chosen_configurations(sidebar.current())
names = configurations.names(held)
analyses = [common.analysis_of(settings) for settings in held]
for warning in dict.fromkeys(warning for found in analyses for warning in found.lake.memory_bank_.warnings):
    st.warning(escaped(sentence(warning)), icon=":material/warning:")
sections.in_numbers(analyses, names)
one, other = pick_pair(names)
letters = LETTERS[one], LETTERS[other]
sections.scores(analyses[one], analyses[other], letters)
sections.maps(analyses, names)
sections.neurons(analyses[one], analyses[other], letters)
sections.cost(analyses, names)
