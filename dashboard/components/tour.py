"""The guided tour: six steps through one image, each on its page, with an outline around what it is about."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import streamlit as st

from dashboard.components.layout import cards
from dashboard.components.samples import lesson, take_sample
from dashboard.services.models import model
from dashboard.session import current
from lake_core.criteria import criteria
from lake_core.data.samples import MeasuredSample, measured_sample, sample_names
from lake_core.errors import LakeError
from lake_core.sentences import quantity

OUTLINE = "3px solid #E69F00"
RANKING = "Ranking"
"""The view of the page Selection that the tour speaks of."""
BOTH_NEEDED = "The tour needs normal and test images: add those that are missing, or start over to see it on a sample."


def _given() -> str:
    workspace = current().workspace
    return (
        f"All that is learned comes from **{quantity(len(workspace.normals), 'image')} of good parts**, the normal "
        f"images. The **{quantity(len(workspace.tests), 'test image')}** below them are to be judged. Their labels "
        "only serve to check the result: no defective image is used to learn."
    )


def _seen() -> str:
    return (
        "The network is used as it is. It sees the image as a grid of small squares, called **patches**, and describes "
        "each by many numbers. The colour is a patch's score: it grows with how much the patch differs from the most "
        "similar patch of all good parts, and with how close it is to words for a defect. **Try it:** move the "
        "pointer over the outlined image, and read the value of a patch."
    )


def _selected() -> str:
    settings = current().settings
    config, backbone = settings.config, model(settings.model).backbone
    layers = config.layers or backbone.recommended.layers
    site = config.site or backbone.recommended.site
    sizes = " and ".join(
        f"the **first {config.k_of(layer)}** of {backbone.layer(layer).n_neurons[site]} in layer {layer}"
        for layer in layers
    )
    return (
        "A **neuron** is one of the numbers that a layer of the network computes for every patch. Neurons are ranked "
        f"by their {criteria()[config.criterion].title} over the good parts, and {sizes} "
        "are kept. The outlined curve shows the ranking and where it is cut. **Try it:** move K, and see what "
        "is kept."
    )


def _fires() -> str:
    return (
        "Each bar is one selected neuron at the marked patch: up if it is **more active** than in the most similar "
        "patch of a good part, down if it is **less active**. Both add to the score, so a neuron that counts may be "
        "dark at the defect. **Try it:** point at a bar or a number. The image shows where that neuron is active, and "
        "the small images show it here and on a good part."
    )


def _made_of() -> str:
    return (
        "The score is a sum. **Visual** is what all selected neurons add together. **Text** is what words add: how "
        "much closer the patch is to words for a defect than good parts are. The dashed line is the threshold, which "
        "comes from the good parts: an image above it counts as anomalous. **Try it:** move the fusion weight in the "
        "sidebar."
    )


def _chance() -> str:
    return (
        "A test of the idea: take **as many neurons at random**, and do the same. The two samples below were measured "
        "in that way (image AUROC: 1 is perfect, 0.5 is guessing). At the end of this page stands the same comparison "
        "for the images that are open."
    )


class Step(NamedTuple):
    """One step: its question, its page, its words, and the style that outlines what it is about."""

    question: str
    page: str
    words: Callable[[], str]
    style: str


def _around(selector: str) -> str:
    return f"{selector} {{ outline: {OUTLINE}; outline-offset: 6px; border-radius: 4px; }}"


def _in_microscope(part: str) -> str:
    return f'[class*="st-key-microscope_"] {{ --ms-outline-{part}: {OUTLINE}; }}'


STEPS = (
    Step("What is given?", "images", _given, _around(".st-key-gallery_normals, .st-key-gallery_tests")),
    Step("What does the network see?", "explain", _seen, _in_microscope("image")),
    Step("Which neurons are selected?", "selection", _selected, _around('[class*="st-key-ranking_"]')),
    Step("Where do they fire?", "explain", _fires, _in_microscope("neurons")),
    Step("What is the score made of?", "explain", _made_of, _in_microscope("parts")),
    Step("Is it better than chance?", "selection", _chance, _around(".st-key-random_control")),
)


def draw(page: str) -> None:
    """The present step, at the top of the page of that name."""
    if (step := current().tour.step) is not None:
        _box(step, page)


def offer(beside: Callable[[], None] | None = None) -> None:
    """The offer on the first visit, in one line.

    Args:
        beside: Draws what stands in that line at any time.
    """
    tour = current().tour
    is_offered = tour.step is None and tour.is_offered
    if not is_offered and beside is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", key="tour_offer"):
        if is_offered:
            st.markdown("New here?", width="content")
            start = "One image explained in six steps"
            st.button("Start the tour", key="tour_start", on_click=_go, args=(1, ""), help=start)
            st.button("No, thanks", key="tour_decline", on_click=_leave, args=(None,), type="tertiary")
        if beside is not None:
            beside()


def way_back(page: str) -> None:
    """The way to the tour at any time, in the sidebar: to the step where it was left."""
    tour = current().tour
    if tour.step is None:
        left_at = tour.left_at or 1
        name = "Guided tour" if left_at == 1 else f"Continue the tour (step {left_at})"
        st.sidebar.button(
            name, key="tour_back", icon=":material/tour:", on_click=_go, args=(left_at, page), type="tertiary"
        )


def _box(number: int, page: str) -> None:
    step = STEPS[number - 1]
    is_here, is_last = step.page == page, number == len(STEPS)
    if is_here:
        st.html(f"<style>{step.style}</style>")
    with st.container(border=True, key="tour"):
        st.markdown(f"**Tour, step {number} of {len(STEPS)}: {step.question}**")
        if is_here:
            st.markdown(step.words())
            if is_last:
                _two_samples()
        else:
            st.markdown(f"This step is on the page {current().pages[step.page].title}.")
        with st.container(horizontal=True):
            st.button("Back", key="tour_previous", on_click=_go, args=(number - 1, page), disabled=number == 1)
            if not is_here:
                st.button("Go there", key="tour_there", on_click=_go, args=(number, page), type="primary")
            elif is_last:
                st.button("Finish", key="tour_finish", on_click=_leave, args=(None,), type="primary")
            else:
                st.button("Next", key="tour_next", on_click=_go, args=(number + 1, page), type="primary")
            if not (is_here and is_last):
                st.button("Leave the tour", key="tour_leave", on_click=_leave, args=(number,), type="tertiary")


def _two_samples() -> None:
    """The sample on which the selection is furthest ahead of random neurons, and the one on which it is furthest
    behind."""
    found = {name: one for name in sample_names() if (one := measured_sample(name)) is not None}
    by_lead = sorted(found, key=lambda name: _lead(found[name]))
    shown = [(name, "is ahead of") for name in by_lead[-1:] if _lead(found[name]) > 0]
    shown += [(name, "is behind") for name in by_lead[:1] if _lead(found[name]) < 0]
    for place, (name, outcome) in zip(cards(len(shown), 420, "tour_samples", border=True), shown, strict=True):
        place.markdown(f"**{name}**: the selection {outcome} random neurons")
        place.markdown(lesson(found[name]))
    n_won = sum(_lead(one) > 0 for one in found.values())
    st.markdown(
        "**What this shows:** a part of the network's neurons, chosen from good parts alone, can set defects apart. "
        f"**What it does not show:** that this choice is better than chance. It was ahead of random neurons on {n_won} "
        f"of {len(found)} samples. Nor does it show that a neuron stands for a defect."
    )


def _lead(measured: MeasuredSample) -> float:
    return measured.methods["lake"].mean - measured.methods["random"].mean


def _go(number: int, page: str) -> None:
    """Goes to a step; opens a sample where there is nothing to look at."""
    here = current()
    if here.workspace.is_empty:
        try:
            take_sample(sample_names()[0])
        except LakeError as reason:
            here.say([str(reason)])
            return
    elif not (here.workspace.normals and here.workspace.tests):
        here.say([BOTH_NEEDED])
        here.go_to = None if page == "images" else "images"
        return
    here.tour = replace(here.tour, step=number, is_offered=False)
    st.session_state.selection_view = RANKING
    if STEPS[number - 1].page != page:
        here.go_to = STEPS[number - 1].page


def _leave(at: int | None) -> None:
    current().tour = replace(current().tour, step=None, left_at=at, is_offered=False)
