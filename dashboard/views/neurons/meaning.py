"""What a neuron may stand for: words, with their p-values, and the pixels that move it."""

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.components.legends import legend
from dashboard.components.pickers import pick_one
from dashboard.components.progress import Estimate, asked_beside, computed_beside, computed_on_demand
from dashboard.services.estimates import Steps, seconds_of
from dashboard.session import current
from dashboard.text import escaped
from dashboard.views.neurons.maps import CLICKED, LARGE, STRONGEST, WHOLE, looked_at
from dashboard.views.neurons.view import NeuronView
from lake_core.backbones.patch_grid import PatchGrid
from lake_core.data.images import InputImage
from lake_core.errors import ConfigError
from lake_core.neurons.attribution import Attribution, AttributionConfig, Method, neuron_attribution
from lake_core.neurons.concepts import LEVEL, ConceptLabels, checked_concepts
from lake_core.neurons.labels import label_concepts, label_with_control, n_label_passes
from lake_core.sentences import quantity, sentence
from lake_core.visualization.colours import ValueScale, symmetric_limit
from lake_core.visualization.overlays import Style, neuron_overlay

ATTRIBUTION_NAMES: dict[Method, str] = {"gradient": "gradient", "integrated_gradients": "integrated gradients"}
GRAINS = {"squares of 8 pixels": 8, "single pixels": 1}
STEPS = {"32 steps": 32, "64 steps": 64, "128 steps": 128}
PASSES_A_STEP = 2.3
"""A forward and a backward pass, in forward passes: measured on both included backbones."""


def words(view: NeuronView) -> None:
    """What the neuron could be called, on demand, with its p-value."""
    st.markdown("##### Concept label")
    st.caption(
        "Words for it by two routes: those whose similarity to the patches correlates with this neuron's "
        "maps, and those towards which it moves the whole image's embedding. A word is shown only if its p-value, "
        "corrected for the number of words tried, is small. The text side of a small model is weak: labels can be "
        "wrong."
    )
    with st.expander("Your own vocabulary"):
        typed = st.text_area(
            "One word or short phrase per line; leave empty for the built-in vocabulary",
            key="vocabulary",
            max_chars=20_000,
            placeholder="scratch\nrust\nbolt",
        )
    vocabulary = None
    if typed.strip():
        try:
            vocabulary = checked_concepts(typed.splitlines())
        except ConfigError as error:
            st.warning(escaped(str(error)), icon=":material/edit:")
            return
    lake, hook_point = view.found.lake, view.hook_point
    images = [*lake.normals_, *view.found.images]
    described = computed_on_demand(
        ("words", view.found.key, view.found.tests_key, hook_point, view.neuron, vocabulary),
        "Find concept labels",
        ":material/sell:",
        "Concept labels",
        lambda show: label_concepts(lake, hook_point.layer, [view.neuron], images, vocabulary, on_progress=show),
        Estimate(
            seconds_of(view.found, Steps(n_label_passes(lake.backbone, hook_point, len(images)))),
            "There may be no label: a word must be better than chance.",
        ),
    )
    if described is not None:
        _description(described[0])
        _nonsense(view, images, vocabulary)


def _nonsense(view: NeuronView, images: list[InputImage], vocabulary: tuple[str, ...] | None) -> None:
    """The control: labels of the layer's selected neurons with words that mean nothing, on demand."""
    lake, hook_point, neurons = view.found.lake, view.hook_point, view.selection.neurons
    key = "nonsense", view.found.key, view.found.tests_key, hook_point, vocabulary
    n_neurons = len(neurons)
    st.caption(
        f"The level holds for this neuron, whatever the number of words: a neuron without meaning gets a label with a "
        f"probability of up to {LEVEL:.0%}. So of the layer's {quantity(n_neurons, 'selected neuron')} up to "
        f"{LEVEL * n_neurons:.3g} get one by chance. Nonsense words, put through the same tests, show what labels are "
        "worth here."
    )
    estimate = Estimate(
        seconds_of(view.found, Steps(n_label_passes(lake.backbone, hook_point, len(images), n_neurons))),
        "Real words may turn out no better than nonsense.",
    )
    if not asked_beside(key, "Compare with nonsense words", ":material/shuffle:", estimate):
        return
    result = computed_beside(
        key,
        "Concept labels of the selected neurons",
        lambda show: (
            label_with_control(lake, hook_point.layer, neurons.tolist(), images, vocabulary, on_progress=show).finding
        ),
    )
    if result is not None:
        box = st.info if result.real_words_win else st.warning
        box(escaped(sentence(result)), icon=":material/shuffle:")


def _description(description: ConceptLabels) -> None:
    if not description.concepts:
        st.info("No concept label: no word stands out clearly enough from chance.", icon=":material/sell:")
        return
    st.success(f"**{escaped(description.text)}**", icon=":material/sell:")
    rows = [
        {"concept": one.concept, "route": route, "score": one.score, "p-value": one.p_value}
        for route, scores in (
            ("correlation of maps", description.agreement),
            ("effect on the image", description.effect),
        )
        for one in scores
        if one.concept in description.concepts
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Concept labels and how they were found")


def pixels(view: NeuronView) -> None:
    """The pixels behind the neuron on the image shown, on demand (Captum)."""
    st.markdown("##### Input attribution")
    st.caption(
        "Which pixels of this image raise its activation, and which lower it. Click a patch of the first map above to "
        "attribute the activation there."
    )
    image, own = looked_at(view).image, view.value_on(looked_at(view))
    held = current().neuron_patch
    clicked = held.patch if held is not None and held[:2] == (image.sha256, view.hook_point) else None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        where = pick_one("Of", [STRONGEST, CLICKED, WHOLE], "attribution_of")
        method = pick_one("Method", ATTRIBUTION_NAMES, "attribution_method", "integrated_gradients")
        steps = pick_one(
            "Precision",
            list(STEPS),
            "attribution_steps",
            "64 steps",
            disabled=method == "gradient",
            help="More steps on the way from the blurred image lower the completeness error and take longer.",
        )
    if where == CLICKED and clicked is None:
        st.caption("No patch of this image has been clicked yet, so this is of the top-activating patch.")
    strongest = int(np.nanargmax(own))
    patch = {STRONGEST: strongest, CLICKED: strongest if clicked is None else clicked, WHOLE: None}[where]
    n_steps = STEPS[steps] if method == "integrated_gradients" else 1
    config, backbone, key = AttributionConfig(method, steps=n_steps), view.found.lake.backbone, view.found.key.model
    result = computed_on_demand(
        ("pixels", key, image.sha256, view.hook_point, view.neuron, patch, method, n_steps),
        "Compute the attribution",
        ":material/biotech:",
        "Integration steps",
        lambda show: neuron_attribution(backbone, image, view.hook_point, view.neuron, patch, config, show),
        Estimate(
            seconds_of(view.found, Steps(PASSES_A_STEP * (n_steps + 2))), "It may light up pixels far from the patch."
        ),
    )
    if result is not None:
        _attribution(view, image, result)


def in_squares(map_hw: np.ndarray, side: int) -> np.ndarray:
    """Sums over squares of that side, so that the total stays; the rim is filled up with zeros."""
    height, width = map_hw.shape
    padded = np.pad(map_hw, ((0, -height % side), (0, -width % side)))
    rows, cols = padded.shape[0] // side, padded.shape[1] // side
    return np.asarray(padded.reshape(rows, side, cols, side).sum((1, 3)))


def _attribution(view: NeuronView, image: InputImage, result: Attribution) -> None:
    side = GRAINS[pick_one("Shown in", list(GRAINS), "attribution_grain")]
    shown = in_squares(result.map, side)
    rows, cols = shown.shape
    scale = ValueScale(symmetric_limit([shown], quantile=0.999))
    st.image(
        neuron_overlay(
            image,
            shown,
            PatchGrid(rows, cols, rows * side, cols * side),
            view.found.lake.backbone.placement(image),
            scale,
            Style(opacity=0.7, smooth=False, max_side=LARGE),
        ),
        caption="red raises the activation, blue lowers it",
        width=480,
        alt=f"Pixels that move neuron {view.neuron}",
    )
    legend(scale, "the attributions")
    said = f"Activation {result.value:.3f}"
    if result.baseline is not None and result.baseline_value is not None:
        said += f", {result.baseline_value:.3f} on the {result.baseline} image it is compared with"
    if result.completeness_error is not None:
        said += f". Completeness error {result.completeness_error:.1%} over {result.steps} steps (0 is exact)"
    st.caption(said + ".")
