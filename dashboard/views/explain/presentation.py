"""The story of one image in full-screen steps with large type; arrow keys go on and back, Escape leaves."""

import numpy as np
import streamlit as st

from dashboard.components.layout import cards
from dashboard.plots import decomposition
from dashboard.services.analysis import Analysis
from dashboard.services.images import NeuronMap, neuron_image, plain_image, score_image
from dashboard.session import current
from dashboard.text import escaped
from dashboard.views.selection import overview
from dashboard.words import direction
from lake_core.detector.result import ImageResult
from lake_core.sentences import quantity
from lake_core.visualization.colours import activation_scale

LARGE, SMALL, SMALL_WIDTH = 900, 320, 210
N_NORMALS, N_NEURONS = 8, 4


def given(found: Analysis, score: ImageResult) -> None:
    """The normal images, the object's name, the network."""
    normals, config = found.workspace.normals, found.lake.config
    name = f", the object's name “{escaped(config.object_name)}”" if score.fusion_weight else ""
    st.markdown(
        f"**{quantity(len(normals), 'normal image')}**{name} and a network that stays as it is, "
        f"**{escaped(found.key.model.spec)}**. No defective image is given."
    )
    shown = normals[:N_NORMALS]
    for card, example in zip(cards(len(shown), SMALL_WIDTH, "map_row_given"), shown, strict=True):
        card.image(plain_image(example.image, SMALL), width="stretch", alt=example.image.name)


def its_score(found: Analysis, score: ImageResult) -> None:
    """The image beside its score and the threshold."""
    config = found.lake.config
    side = "▲ above" if score.is_anomalous else "▽ not above"
    if found.normal_threshold != found.lake.threshold_:
        origin = "set by hand."
    elif len(found.lake.normals_) == 1:
        origin = "the only normal image's own score, against its own distant patches."
    else:
        quantile = f"{config.threshold_quantile:g} quantile"
        origin = f"the {quantile} of the normal images' own scores, each scored by the others."
    shown, words = st.columns([3, 2], vertical_alignment="center")
    shown.image(plain_image(score.image, LARGE), width="stretch", alt=score.image.name)
    words.markdown(f"{escaped(score.image.name)}: score **{score.score:.2f}**")
    words.markdown(f"{side} the threshold **{score.threshold:.2f}**")
    words.markdown(f"The threshold: {origin}")
    words.markdown(
        f"On the visual and the text map 1 is the {score.reference.value_of_one} of the patches of normal images; the "
        "score mixes both."
    )


def where(found: Analysis, score: ImageResult) -> None:
    """The image with its map."""
    rows, cols = score.map.shape
    n_inside, n_above = int(score.patch_scores.inside.sum()), int((score.map > score.threshold).sum())
    row, col = divmod(score.patch, cols)
    shown, words = st.columns([3, 2], vertical_alignment="center")
    shown.image(score_image(found, score, LARGE), width="stretch", alt=f"{score.image.name} with its score map")
    words.markdown(f"The network sees the image as **{rows} × {cols} patches**. Each patch has a score of its own.")
    words.markdown(f"**{n_above}** of {n_inside} patches are above the threshold; a white line surrounds them.")
    words.markdown(f"The highest is in row **{row + 1}**, column **{col + 1}**: **{np.nanmax(score.map):.2f}**.")


def neurons(found: Analysis, score: ImageResult) -> None:
    """The neurons that add most at the max-scoring patch, with their maps."""
    lake = found.lake
    rows = [
        (layer, row)
        for layer in lake.selection_
        for row in score.top_neurons(None, layer, N_NEURONS).to_dict("records")
    ]
    rows = sorted(rows, key=lambda one: -one[1]["contribution"])[:N_NEURONS]
    n_selected = sum(len(selection.neurons) for selection in lake.selection_.values())
    st.markdown(
        f"**{n_selected}** selected neurons are compared with the nearest normal patch. These {len(rows)} add most at "
        "the highest patch; the maps show how active each is."
    )
    for card, (layer, row) in zip(cards(len(rows), SMALL_WIDTH + 60, "map_row_noticing"), rows, strict=True):
        neuron, hook_point = int(row["neuron"]), lake.backbone.hook_point(layer, lake.config.site)
        acts = lake.store.get(score.image, hook_point)[:, neuron].numpy()
        drawn = NeuronMap(found.key.model, hook_point, neuron, activation_scale([acts]), SMALL)
        mark, level = direction(row["here"] - row["normal"])
        with card:
            st.image(neuron_image(score.image, drawn), width="stretch", alt=f"Map of neuron {neuron} of layer {layer}")
            st.markdown(
                f"Neuron **{neuron}**, layer {layer}: {mark} {level} ({row['here']:.2f}, normal "
                f"{row['normal']:.2f}), adds **{row['contribution']:.2f}**"
            )


def parts(found: Analysis, score: ImageResult) -> None:
    """The score decomposition, part by part."""
    by_layer = score.contributions(level="layer")
    by_part = by_layer.groupby("part")["contribution"].sum()
    shares = (
        [f"**{by_part[part] / score.score:.0%}** {part}" for part in by_part.index[::-1]] if score.score > 0 else []
    )
    st.markdown(
        f"{' and '.join(shares) or 'The parts'}: they add up to the score, exactly. *Visual*: how far the neurons are "
        "from the nearest normal patch. *Text*: how much closer the patch is to words for a defect than normal "
        "patches are."
    )
    st.plotly_chart(
        decomposition.score_parts(by_layer, score.score, score.threshold),
        key="presented_parts",
        config={"displayModeBar": False},
        alt=f"Parts that add up to the score {score.score:.3f}, and the threshold {score.threshold:.3f}",
    )


def control(found: Analysis, score: ImageResult) -> None:
    """The selection against random neurons, over all test images."""
    overview.against_random(found)


STEPS = {
    "What is given": given,
    "One image and its score": its_score,
    "Where it differs from normal": where,
    "Which neurons notice it": neurons,
    "What the score is made of": parts,
    "The control: random neurons": control,
}


def begin() -> None:
    """Begins a presentation of the chosen image."""
    current().presented_step = 1


def present(found: Analysis, score: ImageResult, step: int) -> None:
    """One step of the story, counted from 1, and small buttons below it that the keys press."""
    step = min(step, len(STEPS))
    title, draw = list(STEPS.items())[step - 1]
    with st.container(key="presentation"):
        st.title(title, anchor=False)
        draw(found, score)
    with st.container(horizontal=True, horizontal_alignment="center", vertical_alignment="center", key="presenter"):
        _button("◀", "Back", "Left", step - 1, step == 1)
        st.markdown(f"{step} of {len(STEPS)}", width="content")
        _button("▶", "Next", "Right", step + 1, step == len(STEPS))
        _button("✕", "Leave the presentation", "Escape", None, False)


def _button(sign: str, name: str, shortcut: str, step: int | None, is_end: bool) -> None:
    def go() -> None:
        current().presented_step = step

    st.button(
        sign, key=f"present_{shortcut}", help=name, shortcut=shortcut, on_click=go, disabled=is_end, type="tertiary"
    )
