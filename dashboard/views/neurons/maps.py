"""Where a neuron is active: one image in full, all images small, and the patches it answers to most and least."""

import numpy as np
import streamlit as st

from dashboard.components.layout import cards, chart
from dashboard.components.pickers import pick, pick_one
from dashboard.plots.maps import clickable_map
from dashboard.services.images import neuron_image, neuron_images, plain_image
from dashboard.session import current
from dashboard.text import escaped
from dashboard.views.neurons.view import NeuronView
from dashboard.words import LABEL_NAMES
from lake_core.data.datasets import Example
from lake_core.neurons.statistics import extreme_patches
from lake_core.visualization.crops import crop_with_box

CARD, CARD_WIDTH, CROP_WIDTH, LARGE = 200, 166, 128, 640
MOST = 40
"""Images of a memory bank on one page."""
N_EXTREMES = 8


def look_at(sha256: str, view: NeuronView) -> None:
    """Makes an image the one shown in full; a test image becomes the shared one."""
    if view.found.score_of(sha256) is not None:
        current().set_focus(image=sha256)
        current().normal_looked_at = None
    else:
        current().normal_looked_at = sha256
    st.session_state.neuron_section = "Maps"


def looked_at(view: NeuronView) -> Example:
    """The image shown in full: a normal one that was chosen, else the shared test image."""
    chosen = current().normal_looked_at or current().focus.image
    return next((one for one in view.examples if one.image.sha256 == chosen), view.examples[0])


def in_full(view: NeuronView) -> None:
    """One image beside its map, with the value of each patch on hover."""
    example, backbone = looked_at(view), view.found.lake.backbone
    names = {one.image.sha256: f"test · {one.image.name}" for one in view.tests_by_score}
    for one in view.found.workspace.normals:  # the same file on both sides is looked at as a test image
        names.setdefault(one.image.sha256, f"normal · {one.image.name}")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        pick(
            "Image (test images by score, then normal ones)",
            names,
            example.image.sha256,
            lambda sha256: look_at(sha256, view),
            420,
        )
        opacity = st.slider("Overlay opacity", 0.0, 1.0, 0.7, 0.05, key="neuron_opacity", width=220)
        smooth = st.toggle(
            "Smooth display",
            True,
            key="neuron_smooth",
            help="Interpolates between patches for display only; the numbers stay the same.",
        )
    image, own = example.image, view.value_on(example)
    left, right = st.columns(2)
    left.image(plain_image(image, LARGE), width="stretch", alt=image.name, caption=escaped(image.name))
    jpeg = neuron_image(image, view.drawn(LARGE, smooth, opacity))
    peak = int(np.nanargmax(own))
    with right:
        chart(
            clickable_map(jpeg, image.size, view.grid, backbone.placement(image), own, [peak]),
            "neuron_in_full",
            f"Activation of neuron {view.neuron} on {image.name}; its greatest, {own[peak]:.3g}, is at patch {peak}",
        )
    right.caption(f"Greatest activation {own[peak]:.3f}, at the outlined patch. Hover over a patch to read its value.")


def gallery(title: str, examples: tuple[Example, ...], view: NeuronView) -> None:
    """The neuron's map on each image, and the image's greatest activation; a click shows the image in full."""
    st.subheader(f"{title} ({len(examples)})", anchor=False)
    if not examples:
        st.caption("None yet.")
        return
    shown = part_of(title, examples)
    drawn = view.drawn(CARD, st.session_state.neuron_smooth, st.session_state.neuron_opacity)
    jpegs = neuron_images([example.image for example in shown], drawn)
    for card, example, jpeg in zip(cards(len(shown), CARD_WIDTH, gap="xsmall"), shown, jpegs, strict=True):
        image = example.image
        peak = float(np.nanmax(view.value_on(example)))
        with card:
            st.image(
                jpeg, width="stretch", alt=f"Activation of neuron {view.neuron} on {image.name}, greatest {peak:.3g}"
            )
            st.button(
                escaped(image.name),
                key=f"card_{title}_{image.sha256}",
                on_click=look_at,
                args=(image.sha256, view),
                type="tertiary",
                help="Show this image in full",
            )
            label = f"{LABEL_NAMES[example.label]} · " if title.startswith("Test") else ""
            st.caption(f"{label}max {peak:.2f}")


def part_of(title: str, examples: tuple[Example, ...]) -> tuple[Example, ...]:
    """As many images as a page holds well, with a picker of the part where there are more."""
    if len(examples) <= MOST:
        return examples
    names = {at: f"{at + 1} to {min(at + MOST, len(examples))}" for at in range(0, len(examples), MOST)}
    key = f"part_{title}_{len(examples)}"
    start = pick_one(f"Which of the {title.lower()}", names, key, label_visibility="collapsed")
    return examples[start : start + MOST]


def extremes(view: NeuronView) -> None:
    """The patches of all images that the neuron answers to most, and least; a click leads to the image."""
    values = np.stack(view.values)
    backbone = view.found.lake.backbone
    for title, lowest in (("Top-activating patches", False), ("Lowest-activating patches", True)):
        st.markdown(f"**{title}**, at most two per image")
        shown = extreme_patches(values, np.isfinite(values), N_EXTREMES, lowest=lowest, per_image=2)
        n_correlated = int((values == shown[0].value).sum())
        if n_correlated > N_EXTREMES:
            share = n_correlated / int(np.isfinite(values).sum())
            st.caption(
                f"{n_correlated} patches ({share:.0%} of all) share this {'lowest' if lowest else 'greatest'}"
                f" value, {shown[0].value:.2f}; only the first are shown."
            )
        for card, patch in zip(cards(len(shown), CROP_WIDTH), shown, strict=True):
            image = view.examples[patch.image].image
            box = view.grid.box(patch.patch, backbone.placement(image), image.size)
            with card:
                st.image(
                    crop_with_box(image, box, context=5, side=160),
                    width="stretch",
                    alt=f"Patch {patch.patch} of {image.name}, activation {patch.value:.3g}",
                )
                st.button(
                    f"{patch.value:.2f} · {escaped(image.name)}",
                    key=f"crop_{lowest}_{patch.image}_{patch.patch}",
                    on_click=look_at,
                    args=(image.sha256, view),
                    type="tertiary",
                    help="Show this image",
                )
