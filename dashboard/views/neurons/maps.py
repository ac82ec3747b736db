"""Where a neuron is active: the image shown beside a good one, the patches it answers to most and least, all images."""

from typing import Any

import numpy as np
import streamlit as st

from dashboard.components.layout import cards, chart
from dashboard.components.legends import legend
from dashboard.components.pickers import clicked_data, pick, pick_one
from dashboard.plots.maps import clickable_map
from dashboard.services.images import NeuronMap, neuron_image, neuron_images
from dashboard.session import NeuronPatch, current
from dashboard.text import escaped
from dashboard.views.neurons.view import NeuronView
from dashboard.words import LABEL_NAMES
from lake_core.data.datasets import Example
from lake_core.neurons.statistics import ExtremePatch, extreme_patches
from lake_core.visualization.crops import crop_with_box

CARD, CARD_WIDTH, CROP_WIDTH, LARGE = 200, 132, 118, 640
MOST = 40
"""Images of a gallery on one page."""
N_EXTREMES = 8
STRONGEST, CLICKED, WHOLE = "the top-activating patch", "the clicked patch", "the whole image"
"""What input attribution can be of."""
COMMON = 0.1
"""From this share of all patches on, a value is too common for its patches to be shown one by one."""


def look_at(sha256: str, view: NeuronView) -> None:
    """Makes an image the one that the card is about; a test image becomes the shared one."""
    if view.found.score_of(sha256) is not None:
        current().set_focus(image=sha256)
        current().normal_looked_at = None
    else:
        current().normal_looked_at = sha256


def looked_at(view: NeuronView) -> Example:
    """The image that the card is about: a normal one that was chosen, else the shared test image."""
    chosen = current().normal_looked_at or current().focus.image
    return next((one for one in view.examples if one.image.sha256 == chosen), view.examples[0])


def pick_looked_at(view: NeuronView) -> None:
    """Picker of the image that the card is about."""
    names = {one.image.sha256: f"test · {one.image.name}" for one in view.tests_by_score}
    for one in view.found.workspace.normals:  # the same file on both sides is looked at as a test image
        names.setdefault(one.image.sha256, f"normal · {one.image.name}")
    shown = looked_at(view).image.sha256
    pick("Image (by score, then normal ones)", names, shown, lambda sha256: look_at(sha256, view), 250)


def beside(view: NeuronView, shown: Example) -> tuple[Example, str]:
    """An image beside the one shown, and what it is: the good test image with the lowest score, else a normal one."""
    score = view.found.score_of(shown.image.sha256)
    good = None if score is None else view.found.good_image_beside(score)
    for example in view.tests_by_score:
        if good is not None and example.image.sha256 == good.image.sha256 and example.label == "good":
            return example, "A good image"
    others = [one for one in view.found.workspace.normals if one.image.sha256 != shown.image.sha256]
    return (others or [shown])[0], "A normal image"


def two_images(view: NeuronView) -> None:
    """The image shown and a good one, with the value of each patch on hover and one scale."""
    st.markdown("##### Where it is active")
    shown = looked_at(view)
    good, what = beside(view, shown)
    with st.container(horizontal=True, vertical_alignment="center"):
        legend(view.scale, "the activations")
        opacity = st.slider("Overlay opacity", 0.0, 1.0, 0.7, 0.05, key="neuron_opacity", width=180)
        smooth = st.toggle(
            "Smooth display",
            True,
            key="neuron_smooth",
            help="Interpolates between patches for display only; the numbers stay the same.",
        )
    drawn = view.drawn(LARGE, smooth, opacity)
    key = f"neuron_on_{shown.image.sha256[:12]}"
    left, right = st.columns(2)
    with left:
        _map(view, shown, "This image", drawn, key, on_select=lambda: choose_patch(key, view), selection_mode="points")
    with right:
        _map(view, good, what, drawn, "neuron_on_good")
    ceiling = view.ceiling
    if ceiling is not None:
        st.caption(
            f"{ceiling.value:g} is the ceiling of this layer's activation function ({ceiling.function}): no neuron "
            "of it can be more active."
        )


def _map(view: NeuronView, example: Example, what: str, drawn: NeuronMap, key: str, **options: Any) -> None:
    """One image with its map, the value of each patch on hover, and what it is."""
    image, own, placement = example.image, view.value_on(example), view.found.lake.backbone.placement(example.image)
    peak = int(np.nanargmax(own))
    chart(
        clickable_map(neuron_image(image, drawn), image.size, view.grid, placement, own, [peak]),
        key,
        f"Activation of neuron {view.neuron} on {image.name}; its greatest, {own[peak]:.3g}, is at patch {peak}",
        **options,
    )
    st.caption(
        f"{what}: {escaped(image.name)}, {LABEL_NAMES[example.label]}. Greatest activation {view.said(own[peak])}, at "
        "the outlined patch."
    )


def choose_patch(key: str, view: NeuronView) -> None:
    """Keeps a clicked patch of the image shown: input attribution can be of it."""
    clicked = clicked_data(key)
    if clicked:
        sha256 = looked_at(view).image.sha256
        current().neuron_patch = NeuronPatch(sha256, view.hook_point, int(clicked[0][0]))
        st.session_state.attribution_of = CLICKED


def everywhere(view: NeuronView) -> None:
    """The neuron's map on all images, small; a click makes an image the one that the card is about."""
    st.markdown("##### On every image")
    _gallery("Test images", view.tests_by_score, view)
    _gallery("Normal images", view.found.workspace.normals, view)


def _gallery(title: str, examples: tuple[Example, ...], view: NeuronView) -> None:
    if not examples:
        return
    st.markdown(f"**{title}** ({len(examples)})")
    start, end = part_of(title.lower(), len(examples))
    shown = examples[start:end]
    drawn = view.drawn(CARD, st.session_state.neuron_smooth, st.session_state.neuron_opacity)
    jpegs = neuron_images([example.image for example in shown], drawn)
    for card, example, jpeg in zip(cards(len(shown), CARD_WIDTH, gap="xxsmall"), shown, jpegs, strict=True):
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
                help="Show this image",
            )
            label = f"{example.label or 'no label'} · " if title.startswith("Test") else ""
            st.caption(f"{label}max {view.said(peak)}")


def part_of(what: str, n: int) -> tuple[int, int]:
    """Start and end of as many images as a page holds well, with a picker of the part where there are more."""
    if n <= MOST:
        return 0, n
    names = {at: f"{at + 1} to {min(at + MOST, n)}" for at in range(0, n, MOST)}
    start = pick_one(f"Which of the {what}", names, f"part_{what}_{n}", label_visibility="collapsed")
    return start, min(start + MOST, n)


def extremes(view: NeuronView) -> None:
    """The patches of all images that the neuron answers to most, and least; a click leads to the image."""
    values = np.stack(view.values)
    for title, lowest in (("Top-activating patches", False), ("Lowest-activating patches", True)):
        st.markdown(f"##### {title}")
        found = extreme_patches(values, np.isfinite(values), N_EXTREMES, lowest=lowest, per_image=2)
        shown = [patch for patch in found if _share_of(patch, values) < COMMON]
        st.caption(_said_of(found, shown, values, view))
        _crops(shown, lowest, view)


def _share_of(patch: ExtremePatch, values: np.ndarray) -> float:
    """Share of all patches that have the same value."""
    return float((values == patch.value).sum() / np.isfinite(values).sum())


def _said_of(found: list[ExtremePatch], shown: list[ExtremePatch], values: np.ndarray, view: NeuronView) -> str:
    """What is shown of the most extreme patches, and why no more of them."""
    said = ["Of all normal and test images, at most two per image; a click leads to the image."] if shown else []
    if len(shown) < len(found):
        common = found[-1]
        said.append(
            f"{_share_of(common, values):.0%} of all patches have the value {view.said(common.value)}, so "
            f"{'no more are' if shown else 'none is'} shown by itself."
        )
    elif shown and (n_equal := int((values == shown[0].value).sum())) > N_EXTREMES:
        said.append(f"{n_equal} patches share the value {view.said(shown[0].value)}; only the first are shown.")
    return " ".join(said)


def _crops(shown: list[ExtremePatch], lowest: bool, view: NeuronView) -> None:
    for card, patch in zip(cards(len(shown), CROP_WIDTH, gap="xxsmall"), shown, strict=True):
        image = view.examples[patch.image].image
        box = view.grid.box(patch.patch, view.found.lake.backbone.placement(image), image.size)
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
