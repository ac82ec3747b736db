"""Which selected neurons to ablate, and the detector without them (docs/method.md, section 6: score-level ablation).

Sections 2 to 4 of the method are recomputed from stored activations: vectors are scaled to unit length in the subspace
that remains, and memory bank, nearest neighbours and tau follow from it. Which neurons are selected, the text part and
the weights stay. The network never runs.
"""

from dataclasses import replace

import numpy as np
import torch

from lake_core.detector.lake import Lake
from lake_core.detector.memory_bank import LayerMemoryBank, fit_layer
from lake_core.detector.result import ImageResult
from lake_core.errors import ConfigError
from lake_core.experiments.random_draws import Neurons
from lake_core.findings import FitWarning, LayerAblated

# Which neurons
# ---------------------------------------------------------------------------------------------------------


def top_contributing_neurons(result: ImageResult, n: int, patch: int | None = None) -> dict[int, np.ndarray]:
    """The n neurons that contribute most to a image's score, over all layers.

    Args:
        result: The image's score.
        n: How many, at least 1; more than there are means all.
        patch: Take the account of this patch instead of the image score's.
    """
    contributions = result.contributions(patch)
    top = contributions[contributions["part"] == "visual"].nlargest(n, "contribution")
    layers, neurons = top["layer"].to_numpy(np.int64), top["neuron"].to_numpy(np.int64)
    return {int(layer): np.sort(neurons[layers == layer]) for layer in np.unique(layers)}


def whole_layer(lake: Lake, layer: int) -> dict[int, np.ndarray]:
    """All selected neurons of one layer."""
    return checked(lake, {layer: _neurons_of(lake, layer)})


def all_selected(lake: Lake) -> dict[int, np.ndarray]:
    """All selected neurons of all layers."""
    lake.fitted()
    return {layer: selection.neurons for layer, selection in lake.selection_.items()}


def selected_among(lake: Lake, neurons: Neurons) -> dict[int, np.ndarray]:
    """Those of any neurons, such as pinned ones, that are selected and so take part in the score."""
    lake.fitted()
    found = {
        layer: np.intersect1d(neurons[layer], lake.selection_[layer].neurons)
        for layer in neurons
        if layer in lake.selection_
    }
    return {layer: chosen for layer, chosen in found.items() if len(chosen)}


# Switching off -------------------------------------------------------------------------------------------------------


def ablated(lake: Lake, neurons: Neurons) -> Lake:
    """The detector without some of its selected neurons; its results are results like any others.

    A layer keeps its place in the mean over layers. Where no neuron of it is left, the distance over its empty subspace
    is 0 at every patch; with all neurons of all layers off the visual map is 0. A layer whose remaining neurons do not
    vary over the normal images has nothing to calibrate it by and counts as ablated, with a warning.

    Args:
        lake: Fitted.
        neurons: Layer number -> selected neurons; may be empty.
    Returns:
        A detector whose `threshold_` comes, as ever, from the normal images' leave-one-out scores, anew, unless one
        was set by hand.
    Raises:
        ConfigError: if a neuron is not selected.
    """
    off = checked(lake, neurons)
    memory_bank = lake.fitted()
    warnings = list(memory_bank.warnings)
    layers = [
        _without(lake, layer, off[layer.selection.layer], warnings) if layer.selection.layer in off else layer
        for layer in memory_bank.layers
    ]
    return lake.with_memory_bank(replace(memory_bank, layers=tuple(layers), warnings=tuple(warnings)))


def _neurons_of(lake: Lake, layer: int) -> np.ndarray:
    lake.fitted()
    if layer not in lake.selection_:
        having = ", ".join(map(str, lake.selection_))
        raise ConfigError(f"Layer {layer} takes no part in the score; layers that do: {having}.")
    return lake.selection_[layer].neurons


def checked(lake: Lake, neurons: Neurons) -> dict[int, np.ndarray]:
    """The neurons, each once and ascending, layer by layer; layers without any are left out."""
    off = {}
    for layer, chosen in sorted(neurons.items()):
        strangers = np.setdiff1d(np.asarray(chosen, dtype=np.int64), _neurons_of(lake, layer))
        if len(strangers):
            raise ConfigError(
                f"Neuron {strangers[0]} of layer {layer} is not selected and has no part in the score; choose among the"
                " selected neurons."
            )
        if len(chosen):
            off[layer] = np.unique(np.asarray(chosen, dtype=np.int64))
    return off


def _without(lake: Lake, layer: LayerMemoryBank, off: np.ndarray, warnings: list[FitWarning]) -> LayerMemoryBank:
    """The layer learned again in the subspace of its other neurons."""
    number = layer.selection.layer
    left = layer.selection.neurons[~np.isin(layer.selection.neurons, off)]
    if len(left):
        again = fit_layer(
            *lake.normal_patches(number),
            replace(layer.selection, neurons=left),
            layer.geometry,
            lake.config.calibration_quantile,
        )
        if again.tau > 0:
            return again
        warnings.append(LayerAblated(number))
    # Distances over an empty subspace are 0, whatever divides them.
    return replace(
        layer,
        selection=replace(layer.selection, neurons=left[:0]),
        bank=layer.bank[:, :0],
        tau=1.0,
        own_distance=torch.zeros_like(layer.own_distance),
    )
