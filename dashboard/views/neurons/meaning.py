"""What a neuron may stand for: words, with their odds against chance, and the pixels that move it."""

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.components.layout import chart
from dashboard.components.legends import legend
from dashboard.components.pickers import clicked_data, pick_one
from dashboard.components.progress import computed_on_demand
from dashboard.plots.maps import clickable_map
from dashboard.services.images import neuron_image
from dashboard.session import NeuronPatch, current
from dashboard.text import escaped
from dashboard.views.neurons.maps import LARGE, looked_at
from dashboard.views.neurons.view import NeuronView
from lake_core.backbones.patch_grid import PatchGrid
from lake_core.data.datasets import Example
from lake_core.errors import ConfigError
from lake_core.neurons.attribution import AttributionConfig, Method, neuron_attribution
from lake_core.neurons.concepts import ConceptLabels, checked_concepts
from lake_core.neurons.effects import label_concepts
from lake_core.visualization.colours import symmetric_limit
from lake_core.visualization.overlays import Style, neuron_overlay

STRONGEST, CLICKED, WHOLE = "the top-activating patch", "the clicked patch", "the whole image"
ATTRIBUTION_NAMES: dict[Method, str] = {"gradient": "gradient", "integrated_gradients": "integrated gradients"}
GRAINS = {"squares of 8 pixels": 8, "single pixels": 1}
STEPS = {"32 steps": 32, "64 steps": 64, "128 steps": 128}


def words(view: NeuronView) -> None:
    """What the neuron could be called, on demand, with its odds against chance."""
    st.markdown(
        "Concept labels from two independent routes: words whose similarity to the patches correlates with this "
        "neuron's maps, and words towards which the neuron moves the whole image's embedding. A label is shown only "
        "if its p-value, corrected for the number of words, is small."
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
    )
    if described is not None:
        _description(described[0])


def _description(description: ConceptLabels) -> None:
    st.caption("The text side of a small model is weak; a label can be wrong.")
    if not description.concepts:
        st.info("No concept label: no concept is better than chance.", icon=":material/sell:")
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


def choose_patch(key: str, example: Example, view: NeuronView) -> None:
    """Keeps a clicked patch for the image and place it was clicked on."""
    clicked = clicked_data(key)
    if clicked:
        current().neuron_patch = NeuronPatch(example.image.sha256, view.hook_point, int(clicked[0][0]))
        st.session_state.attribution_of = CLICKED


def pixels(view: NeuronView) -> None:
    """The pixels behind the neuron on one image, on demand (Captum)."""
    example, backbone = looked_at(view), view.found.lake.backbone
    image, own = example.image, view.value_on(example)
    held = current().neuron_patch
    clicked = held.patch if held is not None and held[:2] == (image.sha256, view.hook_point) else None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        method = pick_one("Method", ATTRIBUTION_NAMES, "attribution_method", "integrated_gradients")
        steps = pick_one(
            "Precision",
            list(STEPS),
            "attribution_steps",
            "64 steps",
            disabled=method == "gradient",
            help="More steps on the way from the blurred image lower the completeness error and take longer.",
        )
        where = pick_one("Of", [STRONGEST, CLICKED, WHOLE], "attribution_of")
    strongest = int(np.nanargmax(own))
    patch = {STRONGEST: strongest, CLICKED: strongest if clicked is None else clicked, WHOLE: None}[where]
    left, right = st.columns(2)
    with left:
        jpeg = neuron_image(image, view.drawn(LARGE))
        marked = [] if patch is None else [patch]
        key = f"pixels_{image.sha256[:12]}"
        chart(
            clickable_map(jpeg, image.size, view.grid, backbone.placement(image), own, marked),
            key,
            f"Activation of neuron {view.neuron} on {image.name}",
            on_select=lambda: choose_patch(key, example, view),
            selection_mode="points",
        )
        st.caption(
            f"{escaped(image.name)}, the neuron's activation. Click a patch to attribute its activation to the input."
        )
    with right:
        _attribution(view, example, patch, method, STEPS[steps])


def in_squares(map_hw: np.ndarray, side: int) -> np.ndarray:
    """Sums over squares of that side, so that the total stays; the rim is filled up with zeros."""
    height, width = map_hw.shape
    padded = np.pad(map_hw, ((0, -height % side), (0, -width % side)))
    rows, cols = padded.shape[0] // side, padded.shape[1] // side
    return np.asarray(padded.reshape(rows, side, cols, side).sum((1, 3)))


def _attribution(view: NeuronView, example: Example, patch: int | None, method: Method, steps: int) -> None:
    image, hook_point = example.image, view.hook_point
    backbone = view.found.lake.backbone
    n_steps = steps if method == "integrated_gradients" else 1
    config = AttributionConfig(method, steps=n_steps)
    result = computed_on_demand(
        ("pixels", view.found.key.model, image.sha256, hook_point, view.neuron, patch, method, n_steps),
        "Compute the attribution",
        ":material/biotech:",
        "Integration steps",
        lambda show: neuron_attribution(backbone, image, hook_point, view.neuron, patch, config, show),
    )
    if result is None:
        return
    side = GRAINS[st.session_state.get("attribution_grain", next(iter(GRAINS)))]
    shown = in_squares(result.map, side)
    rows, cols = shown.shape
    limit = symmetric_limit([shown], quantile=0.999)
    st.image(
        neuron_overlay(
            image,
            shown,
            PatchGrid(rows, cols, rows * side, cols * side),
            backbone.placement(image),
            limit,
            Style(opacity=0.7, smooth=False),
        ),
        caption="red raises the activation, blue lowers it",
        width="stretch",
        alt=f"Pixels that move neuron {view.neuron}",
    )
    legend(limit, "the activations")
    pick_one("Shown in", list(GRAINS), "attribution_grain")
    said = f"Activation {result.value:.3f}"
    if result.baseline is not None and result.baseline_value is not None:
        said += f", {result.baseline_value:.3f} on the {result.baseline} image it is compared with"
    if result.completeness_error is not None:
        said += f". Completeness error {result.completeness_error:.1%} over {result.steps} steps (0 is exact)"
    st.caption(said + ".")
