"""Many neurons on all test images: who fires for which kind of defect."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.components.layout import chart
from dashboard.components.neurons import preview
from dashboard.components.pickers import first_clicked, pick_layer, pick_one, see_page
from dashboard.components.tables import download_table
from dashboard.plots.neurons import Row, by_image
from dashboard.services.analysis import Analysis
from dashboard.services.cache import results
from dashboard.session import current
from dashboard.text import escaped
from dashboard.views.neurons.maps import part_of
from dashboard.words import NEURON_CARD
from lake_core.data.datasets import Example
from lake_core.detector.result import ImageResult
from lake_core.neurons.activations import neuron_activations
from lake_core.neurons.by_kind import GOOD, UNKNOWN, AcrossImages, Contrast, across_images, contrasts, kind_of
from lake_core.sentences import quantity
from lake_core.tables import csv_of
from lake_core.visualization.colours import activation_scale

BY_KIND = "Neurons by kind of defect"
"""The section of the page."""
HERE, DIFFERENCE = "activation", "difference from normal"
MEANINGS = {HERE: "activation", DIFFERENCE: "activation less that of the nearest normal patch"}
N_NEURONS, N_NAMED, LEVEL = 24, 5, 0.05


@dataclass(frozen=True, eq=False)
class Matrix:
    """Test images by neurons, good images first, then kind by kind, in each the highest score first.

    Attributes:
        what: HERE or DIFFERENCE.
        neurons: Of the columns: those of each kind together, by the kind on which they are most active.
        values_in: (n_images, n_neurons).
        contrasts: Of each kind.
    """

    layer: int
    what: str
    rows: Sequence[tuple[Example, ImageResult]]
    neurons: np.ndarray
    values_in: np.ndarray
    contrasts: dict[str, Contrast]

    @property
    def kinds(self) -> list[str]:
        return [kind_of(example) for example, _ in self.rows]


def matrix_of(found: Analysis, layer: int, what: str) -> Matrix:
    """The matrix of a layer, from stored activations.

    Args:
        what: HERE, or in a layer of the score DIFFERENCE.
    """

    def place(item: tuple[Example, ImageResult]) -> tuple[int, str, float]:
        kind = kind_of(item[0])
        return {GOOD: 0, UNKNOWN: 2}.get(kind, 1), kind, -item[1].score

    rows = sorted(zip(found.workspace.tests, found.scores, strict=True), key=place)
    across: AcrossImages = results().made(
        ("across images", found.result_key, layer),
        lambda: across_images(found.lake, [result for _, result in rows], layer, N_NEURONS),
    )
    values_in = across.here_in
    if what == DIFFERENCE and across.normal_in is not None:
        values_in = across.here_in - across.normal_in
    differing = contrasts(values_in, [kind_of(example) for example, _ in rows])
    order = np.argsort(-values_in.mean(0), kind="stable")
    if differing:
        by_kind = np.stack([contrast.standardised for contrast in differing.values()])
        order = np.lexsort((-by_kind.max(0), by_kind.argmax(0)))
    in_order = {kind: Contrast(*(values[order] for values in contrast)) for kind, contrast in differing.items()}
    return Matrix(layer, what, rows, across.neurons[order], values_in[:, order], in_order)


def neurons_by_kind(found: Analysis) -> None:
    """The matrix, what differs between kinds, and the numbers as a table."""
    if not found.workspace.tests:
        st.info("Add test images to see which neurons fire on which.", icon=":material/image:")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        layer = pick_layer(found)
        is_scored = layer in found.lake.selection_
        what = pick_one("Shown", [HERE, DIFFERENCE] if is_scored else [HERE], f"matrix_of_{is_scored}")
    shown = matrix_of(found, layer, what)
    st.caption(
        f"Each row is a test image, good ones first; each column one of the {len(shown.neurons)} neurons of layer "
        f"{layer} that " + ("contribute most to these images' scores" if is_scored else "are most sensitive") + ". "
        f"Colour is the {MEANINGS[what]}, at the patch that makes the image's score; activations have no unit. Click a "
        "cell to see its neuron or its image."
    )
    _figure(shown)
    _in_words(shown)
    _table(found, shown)


def open_card(layer: int, neuron: int, image: str | None = None) -> None:
    """Shows a neuron's card, on an image if one is given; only in a callback."""
    current().set_focus(layer=layer, neuron=neuron, **({} if image is None else {"image": image}))
    current().normal_looked_at = None
    st.session_state.neuron_section = NEURON_CARD


def _figure(shown: Matrix) -> None:
    """The matrix, and the ways to the neuron and the image of a cell that was clicked."""
    start, end = part_of("test images by kind", len(shown.rows))
    names = [Row(kind_of(example), example.image.name) for example, _ in shown.rows[start:end]]
    event = chart(
        by_image(
            shown.values_in[start:end], names, shown.neurons.tolist(), activation_scale([shown.values_in]), shown.what
        ),
        f"matrix_{shown.layer}_{shown.what}_{start}",
        f"{shown.what} of {len(shown.neurons)} neurons on {quantity(end - start, 'test image')}, as in the table below",
        on_select="rerun",
        selection_mode="points",
    )
    point = first_clicked(event)
    if point is None:
        return
    image, neuron = shown.rows[start + int(point[0])][0].image, int(point[1])
    with st.container(horizontal=True):
        st.button(
            f"See neuron {neuron} of layer {shown.layer}",
            key="matrix_neuron",
            type="primary",
            on_click=open_card,
            args=(shown.layer, neuron, image.sha256),
            help=preview(shown.layer, neuron, image=image),
        )
        if st.button(f"Explain {escaped(image.name)}", key="matrix_image"):
            see_page("explain", image=image.sha256, layer=shown.layer, neuron=neuron)


def _in_words(shown: Matrix) -> None:
    """For each kind the neurons that differ most from all other test images, with their p-values."""
    if not shown.contrasts:
        st.caption("All test images are of one kind, so there is nothing to compare; label them on the page Images.")
        return
    st.markdown("##### Who fires for what")
    st.caption(
        "Mean over the images of a kind less the mean over all other test images. The p-value is the share of random "
        "assignments of the kinds to these images in which some neuron shown differs as much, for one kind at a time; "
        f"above {LEVEL} the difference may well be chance. ↑ is more active, ↓ less."
    )
    for kind, contrast in shown.contrasts.items():
        if kind == GOOD and len(shown.contrasts) == 2:  # the other kind, with its signs turned round
            continue
        best = np.argsort(-np.abs(contrast.standardised), kind="stable")[:N_NAMED]
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"**{escaped(kind)}** ({quantity(shown.kinds.count(kind), 'image')})", width="content")
            for column in best:
                neuron, difference = int(shown.neurons[column]), float(contrast.difference[column])
                p_value = float(contrast.p_value[column])
                st.button(
                    f"{neuron} {'↑' if difference > 0 else '↓'} {difference:+.2f} · p {p_value:.2g}",
                    key=f"kind_{kind}_{neuron}",
                    on_click=open_card,
                    args=(shown.layer, neuron),
                    type="secondary" if p_value <= LEVEL else "tertiary",
                    help=preview(shown.layer, neuron),
                )


def _table(found: Analysis, shown: Matrix) -> None:
    table = pd.DataFrame(
        {
            "path": [example.image.name for example, _ in shown.rows],
            "kind": shown.kinds,
            "score": [result.score for _, result in shown.rows],
        }
    ).join(pd.DataFrame(shown.values_in, columns=[f"neuron {neuron}" for neuron in shown.neurons]))
    with st.expander("The numbers as a table"):
        st.dataframe(table, hide_index=True, alt=f"{shown.what} of neurons by test image")
        download_table(table, f"layer{shown.layer}_by_kind.csv")
        st.caption(
            "All selected neurons of the layers in the score on all images, the normal ones, too: the greatest "
            "activation of each on the image."
        )
        st.download_button(
            "Download all activations (CSV)",
            partial(_activations, found),
            file_name="activations.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )


def _activations(found: Analysis) -> str:
    """Images by selected neurons; read from what is stored."""
    return csv_of(neuron_activations(found.lake, found.workspace.tests))
