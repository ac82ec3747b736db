"""Which selected units to switch off, and the detector without them (METHOD, section 6: score-level ablation).

Sections 2 to 4 of the method are recomputed from stored activations: vectors are scaled to unit length in the subspace
that remains, and gallery, nearest neighbours and tau follow from it. Which units are selected, the text part and the
weights stay. The network never runs.
"""

from dataclasses import replace

import numpy as np
import torch

from lake_core.detector.lake import Lake
from lake_core.detector.memory_bank import LayerNormality, fit_layer
from lake_core.detector.scoring import ImageScore
from lake_core.errors import ConfigError
from lake_core.experiments.random_draws import Units
from lake_core.neurons.effects import activations

# Which units ---------------------------------------------------------------------------------------------------------


def top_of_ledger(result: ImageScore, n: int, patch: int | None = None) -> dict[int, np.ndarray]:
    """The n units that contribute most to a picture's score, over all layers.

    Args:
        result: The picture's score.
        n: How many, at least 1; more than there are means all.
        patch: Take the account of this patch instead of the image score's.
    """
    ledger = result.ledger(patch)
    top = ledger[ledger["part"] == "visual"].nlargest(n, "contribution")
    layers, units = top["layer"].to_numpy(np.int64), top["unit"].to_numpy(np.int64)
    return {int(layer): np.sort(units[layers == layer]) for layer in np.unique(layers)}


def whole_layer(lake: Lake, layer: int) -> dict[int, np.ndarray]:
    """All selected units of one layer."""
    return checked(lake, {layer: _units_of(lake, layer)})


def all_selected(lake: Lake) -> dict[int, np.ndarray]:
    """All selected units of all layers."""
    lake._fitted()
    return {layer: selection.units for layer, selection in lake.selection_.items()}


def selected_among(lake: Lake, units: Units) -> dict[int, np.ndarray]:
    """Those of any units, such as pinned ones, that are selected and so take part in the score."""
    lake._fitted()
    found = {
        layer: np.intersect1d(units[layer], lake.selection_[layer].units) for layer in units if layer in lake.selection_
    }
    return {layer: chosen for layer, chosen in found.items() if len(chosen)}


# Switching off -------------------------------------------------------------------------------------------------------


def switched_off(lake: Lake, units: Units) -> Lake:
    """The detector without some of its selected units; its results are results like any others.

    A layer keeps its place in the mean over layers. Where no unit of it is left, the distance over its empty subspace
    is 0 at every patch; with all units of all layers off the visual map is 0. A layer whose remaining units do not vary
    over the normal pictures has nothing to calibrate it by and counts as switched off, with a warning.

    Args:
        lake: Fitted.
        units: Layer number -> selected units; may be empty.
    Returns:
        A detector whose `threshold_` comes, as ever, from the normal pictures' leave-one-out scores, anew, unless one
        was set by hand.
    Raises:
        ConfigError: if a unit is not selected.
    """
    off = checked(lake, units)
    normality = lake._fitted()
    warnings = list(normality.warnings)
    layers = [
        _without(lake, layer, off[layer.selection.layer], warnings) if layer.selection.layer in off else layer
        for layer in normality.layers
    ]
    return lake.with_normality(replace(normality, layers=tuple(layers), warnings=tuple(warnings)))


def _units_of(lake: Lake, layer: int) -> np.ndarray:
    lake._fitted()
    if layer not in lake.selection_:
        having = ", ".join(map(str, lake.selection_))
        raise ConfigError(f"Layer {layer} takes no part in the score; layers that do: {having}.")
    return lake.selection_[layer].units


def checked(lake: Lake, units: Units) -> dict[int, np.ndarray]:
    """The units, each once and ascending, layer by layer; layers without any are left out."""
    off = {}
    for layer, chosen in sorted(units.items()):
        strangers = np.setdiff1d(np.asarray(chosen, dtype=np.int64), _units_of(lake, layer))
        if len(strangers):
            raise ConfigError(
                f"Unit {strangers[0]} of layer {layer} is not selected and has no part in the score; choose among the "
                "selected neurons."
            )
        if len(chosen):
            off[layer] = np.unique(np.asarray(chosen, dtype=np.int64))
    return off


def _without(lake: Lake, layer: LayerNormality, off: np.ndarray, warnings: list[str]) -> LayerNormality:
    """The layer learned again in the subspace of its other units."""
    config, number = lake.config, layer.selection.layer
    left = layer.selection.units[~np.isin(layer.selection.units, off)]
    if len(left):
        acts_ipu, inside_ip = activations(lake, lake.normals_, lake.backbone.place(number, config.kind))
        again = fit_layer(
            acts_ipu,
            torch.from_numpy(inside_ip),
            replace(layer.selection, units=left),
            layer.grid,
            config.normalise,
            config.smooth,
            config.calibration_quantile,
        )
        if again.tau > 0:
            return again
        warnings.append(
            f"The neurons of layer {number} that are left do not vary over the normal pictures; it counts as "
            "switched off."
        )
    # Distances over an empty subspace are 0, whatever divides them.
    return replace(
        layer,
        selection=replace(layer.selection, units=left[:0]),
        gallery=layer.gallery[:, :0],
        tau=1.0,
        own_distance=torch.zeros_like(layer.own_distance),
    )
