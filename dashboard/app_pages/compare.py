"""Compare: two to four configurations, or LAKE and a baseline, on the same images, side by side."""

from itertools import combinations

import streamlit as st

from dashboard.components import sidebar
from dashboard.components.analysis import analysis_with, need_images
from dashboard.components.layout import cards
from dashboard.components.page import error, heading, warn
from dashboard.components.pickers import pick_one, pick_section
from dashboard.services import configurations
from dashboard.services.analysis import filled
from dashboard.services.configurations import LETTERS
from dashboard.services.models import model
from dashboard.session import current
from dashboard.settings import Settings
from dashboard.text import escaped
from dashboard.views.compare import baselines, sections
from lake_core.errors import LakeError
from lake_core.sentences import sentence

MAX_BACKBONES = 3


def add(settings: Settings) -> None:
    """Keeps one more configuration."""
    current().set_configurations([*current().configurations, settings])


def remove(settings: Settings) -> None:
    current().set_configurations(kept for kept in current().configurations if kept != settings)


def pair_buttons(present: Settings) -> None:
    """One click sets up two configurations worth a look, made from the sidebar's."""
    backbone = model(present.model).backbone
    with st.container(horizontal=True):
        for title, pair in configurations.pairs(present, backbone).items():
            st.button(
                title,
                key=f"pair_{title}",
                on_click=current().set_configurations,
                args=(pair,),
                icon=":material/compare:",
            )


def chosen_configurations(present: Settings) -> list[Settings]:
    """Shows the configurations that are kept, with ways to add and remove some; ends the page where there are not
    two."""
    try:
        held = [filled(settings) for settings in current().configurations]
    except LakeError as reason:
        error(str(reason))
        st.button("Remove all configurations", on_click=current().set_configurations, args=((),))
        st.stop()
    if not current().is_read_only:
        current().set_configurations(held)
        held = list(current().configurations)
    if held:
        places = cards(len(held), 250, "setup_cards", border=True)
        for card, letter, name, settings in zip(places, LETTERS, configurations.names(held), held, strict=False):
            with card:
                st.markdown(f"**{letter}** · {escaped(name)}")
                st.caption(escaped(configurations.in_full(settings)))
                with st.container(horizontal=True):
                    st.button(
                        "In use" if settings == present else "Use",
                        key=f"use_{letter}",
                        help="Sets the sidebar, and with it all pages, to this configuration.",
                        on_click=sidebar.take,
                        args=(settings,),
                        disabled=settings == present or current().is_read_only,
                    )
                    st.button("Remove", key=f"remove_{letter}", on_click=remove, args=(settings,), type="tertiary")
    with st.container(horizontal=True, vertical_alignment="center"):
        there, full = present in held, len(held) == len(LETTERS)
        st.button(
            "Add the current configuration",
            type="primary",
            icon=":material/add:",
            on_click=add,
            args=(present,),
            disabled=there or full,
            help="Keeps the sidebar's configuration. Then change the sidebar and add that one too.",
        )
        if there:
            st.caption(
                f"The sidebar's configuration is {LETTERS[held.index(present)]}; change it there to add another."
            )
        elif full:
            st.caption(f"{len(LETTERS)} configurations are the maximum; remove one to add another.")
    if len(held) < 2:
        st.markdown("Add two configurations, or start with a pair:")
        pair_buttons(present)
        st.stop()
    with st.expander("Start with a pair instead"):
        pair_buttons(present)
    if len({(settings.spec, settings.image_size) for settings in held}) > MAX_BACKBONES:
        st.error(f"At most {MAX_BACKBONES} backbones or input sizes can be compared at once; remove one.")
        st.stop()
    return held


def pick_pair(names: list[str]) -> tuple[int, int]:
    """Which two configurations are compared."""
    pairs = list(combinations(range(len(names)), 2))
    if len(pairs) == 1:
        return pairs[0]
    # By number: Streamlit takes a default that is a tuple for several defaults.
    titles = {number: f"{LETTERS[one]} and {LETTERS[other]}" for number, (one, other) in enumerate(pairs)}
    return pairs[pick_one("Pair to compare", titles, f"pair_of_{len(names)}")]


def compare_configurations() -> None:
    """Two to four configurations of LAKE."""
    held = chosen_configurations(current().settings)
    names = configurations.names(held)
    analyses = [analysis_with(settings) for settings in held]
    for warning in dict.fromkeys(warning for found in analyses for warning in found.lake.memory_bank_.warnings):
        warn(sentence(warning))
    sections.in_numbers(analyses, names)
    one, other = pick_pair(names)
    letters = LETTERS[one], LETTERS[other]
    sections.scores(analyses[one], analyses[other], letters)
    sections.maps(analyses, names)
    sections.neurons(analyses[one], analyses[other], letters)
    sections.cost(analyses, names)


SECTIONS = {"Configurations": compare_configurations, "LAKE beside a baseline": baselines.beside_lake}

heading(
    "Compare",
    "Two to four configurations, or LAKE and a published method, on the same images: their maps, their scores against "
    "each other, and what each costs.",
)
need_images(page_after="compare")
pick_section("What is compared", SECTIONS, "compare_section")()
