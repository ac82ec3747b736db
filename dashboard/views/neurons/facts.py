"""The head of a neuron's card: its place in the ranking, and whether it is raised or lowered in the image shown."""

from typing import NamedTuple

import numpy as np
import streamlit as st

from dashboard.components.tables import Cell, metrics
from dashboard.services.analysis import neuron_flags
from dashboard.text import escaped
from dashboard.views.neurons.maps import looked_at
from dashboard.views.neurons.view import NeuronView, flat
from dashboard.words import direction
from lake_core.criteria import criteria
from lake_core.detector.result import ImageResult
from lake_core.metrics.auroc_interval import auroc_interval
from lake_core.metrics.image_metrics import auroc
from lake_core.sentences import quantity

AUROC = "AUROC alone"
FLAGS = {
    "register_like": "register-like: its outlying maximum is on the same few patches of all normal images",
    "dead": "dead: it never varies over the normal images",
    "saturated": "saturated: many normal patches are at its greatest value",
}


class InScore(NamedTuple):
    """A neuron at the patches of the score, as distances see it, and what it adds to the score."""

    here: float
    normal: float
    contribution: float


def in_score(view: NeuronView, score: ImageResult) -> InScore | None:
    """What the neuron does to an image's score; None where it takes no part in it."""
    selection = view.selection
    if selection.layer not in view.found.lake.selection_ or view.neuron not in selection.neurons:
        return None
    table = score.top_neurons(None, selection.layer, len(selection.neurons)).set_index("neuron")
    return InScore(*table.loc[view.neuron, list(InScore._fields)])


def facts(view: NeuronView) -> None:
    """Which neuron it is, what it does in the image shown, and its numbers."""
    st.subheader(f"Neuron {view.neuron} of layer {view.selection.layer}", anchor=False)
    example = looked_at(view)
    score = view.found.score_of(example.image.sha256)
    name, own = escaped(example.image.name), np.nanmax(view.value_on(example))
    held = None if score is None else in_score(view, score)
    if score is not None and held is not None:
        mark, words = direction(held.here - held.normal)
        share = f" ({held.contribution / score.score:.0%})" if score.score > 0 else ""
        st.markdown(
            f"**{mark} {words[0].upper()}{words[1:]} in {name}**, where its score is from: {held.here:.3f} "
            f"here, {held.normal:.3f} in the nearest normal patch. That adds {held.contribution:.3f}{share} to the "
            f"score {score.score:.3f}.",
            help="The two activations as the score compares them: averaged over neighbouring patches and scaled, where "
            "the configuration says so. The maps below show activations as they are.",
        )
    elif score is not None:
        st.markdown(f"It takes no part in the score of {name}.")
    else:
        st.caption(f"{name} is a normal image; contributions are shown for test images only.")
    st.markdown(_beside_normal(view, example.image.sha256, float(own)))
    cells = _cells(view)
    metrics(cells)
    said = f"Sensitivity is what ranks the neurons of a layer: {criteria()[view.selection.criterion].statistic}."
    if AUROC in [name for name, *_ in cells]:
        said += (
            f" {AUROC}: how well its greatest activation on an image tells defective from good ones; 0.5 is chance, "
            "and below 0.5 it is less active on defective images."
        )
    st.caption(said)
    for flag in neuron_flags(view.found, view.selection.layer).of(view.neuron):
        st.warning(f"This neuron is {FLAGS[flag]}.", icon=":material/flag:")


def _beside_normal(view: NeuronView, sha256: str, own: float) -> str:
    """The greatest activation on an image beside those on the normal images, in a sentence."""
    normals = zip(view.found.workspace.normals, view.normals, strict=True)
    peaks = [float(np.nanmax(values)) for example, values in normals if example.image.sha256 != sha256]
    said = f"Its greatest activation on this image is {view.said(own)}"
    if not peaks:
        return f"{said}."
    low, high = min(peaks), max(peaks)
    others = f"{view.said(low)} to {view.said(high)} on {quantity(len(peaks), 'normal image')}"
    if own > high:
        return f"{said}: ↑ more than {others}."
    return f"{said}: ↓ less than {others}." if own < low else f"{said}, as on normal images: {others}."


def _cells(view: NeuronView) -> list[Cell]:
    selection, neuron = view.selection, view.neuron
    is_selected = "selected" if neuron in selection.neurons else "not selected"
    cells: list[Cell] = [
        ("Rank by sensitivity", f"{selection.rank_of(neuron)} of {selection.n_neurons}", is_selected),
        ("Mean, normal patches", f"{flat(view.normals).mean():.3f}", None),
    ]
    if view.tests:
        cells.append(("Mean, test patches", f"{flat(view.tests).mean():.3f}", None))
    known = [
        (label, float(np.nanmax(own)))
        for label, own in zip(view.found.known_labels, view.tests, strict=True)
        if label is not None
    ]
    if len({label for label, _ in known}) == 2:
        labels, peaks = zip(*known, strict=True)
        area, bounds = auroc(labels, peaks), auroc_interval(labels, peaks)
        between = None if bounds is None else f"{bounds.low:.2f} to {bounds.high:.2f} (95%)"
        cells.append((AUROC, f"{area:.3f}", between))
    return cells
