"""Writing other values over units inside a running network: which units, at which patches, and the change itself."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.backbone import Change
from lake_core.backbones.hooks import Kind, Place
from lake_core.backbones.patch_grid import PatchGrid
from lake_core.data.images import Picture
from lake_core.detector.lake import Lake
from lake_core.errors import BackboneError, ConfigError
from lake_core.experiments.random_draws import Units
from lake_core.neurons.effects import activations

Patches: TypeAlias = Mapping[int, Sequence[int] | np.ndarray]
"""Layer number -> patches of that layer's own grid."""

Pool = Literal["layer", "selected"]
"""Where random units are drawn from: all units of a layer, or its selected ones."""


def replaced(units: np.ndarray, values: Tensor, patches: np.ndarray, grid: PatchGrid) -> Change:
    """The change that writes the units' values, out of (n_units of the layer,), at some patches."""
    on_patch = np.zeros(grid.n_patches, dtype=bool)
    on_patch[patches] = True
    rows, index = torch.from_numpy(on_patch.reshape(grid.rows, grid.cols)), torch.from_numpy(units)

    def write(maps: Tensor) -> None:
        # The tower's own locations; in early convolutional blocks several of them make a patch.
        height, width = maps.shape[-2:]
        own_rows, own_cols = torch.arange(height) * grid.rows // height, torch.arange(width) * grid.cols // width
        here = rows[own_rows][:, own_cols].to(maps.device)
        put = values[index].to(maps.device, maps.dtype)[:, None, None]
        maps[:, index] = torch.where(here, put, maps[:, index])

    return write


def places_of(lake: Lake, units: Units, kind: Kind | None) -> dict[int, Place]:
    """The places of the layers that have units to replace."""
    lake._fitted()
    places = {}
    for layer in sorted(units):
        place = lake.backbone.place(layer, kind or lake.config.kind)
        n_units = lake.backbone.layer(layer).n_units[kind or lake.config.kind]
        for unit in units[layer]:
            if not 0 <= unit < n_units:
                raise BackboneError(
                    f"Layer {layer} of {lake.backbone.spec} has no {place.kind} unit {unit}; choose 0 to {n_units - 1}."
                )
        if len(units[layer]):
            places[layer] = place
    if not places:
        raise ConfigError("There is no neuron to replace; choose at least one.")
    return places


def patches_at(
    lake: Lake, picture: Picture, places: Mapping[int, Place], patches: Patches | None
) -> dict[int, np.ndarray]:
    """The patches of each layer, ascending; all on the picture where none are given."""
    at = {}
    for layer, place in places.items():
        if patches is None or layer not in patches:
            at[layer] = np.flatnonzero(lake.backbone.grid(place).inside(lake.backbone.placement(picture)))
        else:
            at[layer] = np.unique(np.asarray(patches[layer], dtype=np.int64))
            check_patches(lake, place, at[layer])
    return at


def check_patches(lake: Lake, place: Place, patches: Sequence[int] | np.ndarray) -> None:
    """Refuses patches that the place's grid does not have, with a BackboneError."""
    grid = lake.backbone.grid(place)
    for patch in patches:
        if not 0 <= patch < grid.n_patches:
            raise BackboneError(
                f"Layer {place.layer} of {lake.backbone.spec} has no patch {patch}; choose 0 to {grid.n_patches - 1} "
                f"({grid.rows} x {grid.cols})."
            )


def pools_of(lake: Lake, places: Mapping[int, Place], pool: Pool) -> dict[int, np.ndarray]:
    """For each layer the units that vary over the normal patches: replacing a still one would be no comparison.

    Args:
        lake: Fitted.
        places: Layer number -> place.
        pool: "selected" keeps the selected units only; a layer that is not in the score has none.
    """
    pools = {}
    for layer, place in places.items():
        acts_ipu, inside_ip = activations(lake, lake.normals_, place)
        pools[layer] = np.flatnonzero(np.ptp(acts_ipu.numpy()[inside_ip], axis=0) > 0)
        if pool == "selected":
            is_scored = layer in lake.selection_ and place.kind == lake.config.kind
            pools[layer] = np.intersect1d(pools[layer], lake.selection_[layer].units if is_scored else [])
    return pools
