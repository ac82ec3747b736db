"""Writing other values over neurons inside a running network: which neurons, at which patches, and the change
itself."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.backbone import Change
from lake_core.backbones.patch_grid import PatchGrid
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.errors import BackboneError, ConfigError
from lake_core.experiments.random_draws import Neurons
from lake_core.types import HookPoint, Site

Patches: TypeAlias = Mapping[int, Sequence[int] | np.ndarray]
"""Layer number -> patches of that layer's own grid."""

Pool = Literal["layer", "selected"]
"""Where random neurons are drawn from: all neurons of a layer, or its selected ones."""


def replaced(neurons: np.ndarray, values: Tensor, patches: np.ndarray, grid: PatchGrid) -> Change:
    """The change that writes the neurons' values, out of (n_neurons of the layer,), at some patches."""
    on_patch = np.zeros(grid.n_patches, dtype=bool)
    on_patch[patches] = True
    rows, index = torch.from_numpy(on_patch.reshape(grid.rows, grid.cols)), torch.from_numpy(neurons)

    def write(maps: Tensor) -> None:
        # The tower's own locations; in early convolutional blocks several of them make a patch.
        height, width = maps.shape[-2:]
        own_rows, own_cols = torch.arange(height) * grid.rows // height, torch.arange(width) * grid.cols // width
        here = rows[own_rows][:, own_cols].to(maps.device)
        put = values[index].to(maps.device, maps.dtype)[:, None, None]
        maps[:, index] = torch.where(here, put, maps[:, index])

    return write


def hook_points_of(lake: Lake, neurons: Neurons, site: Site | None) -> dict[int, HookPoint]:
    """The places of the layers that have neurons to replace."""
    lake.fitted()
    hook_points = {}
    for layer in sorted(neurons):
        hook_point = lake.backbone.hook_point(layer, site or lake.config.site)
        n_neurons = lake.backbone.layer(layer).n_neurons[site or lake.config.site]
        for neuron in neurons[layer]:
            if not 0 <= neuron < n_neurons:
                raise BackboneError(
                    f"Layer {layer} of {lake.backbone.spec} has no {hook_point.site} neuron {neuron}; choose 0 to"
                    f" {n_neurons - 1}."
                )
        if len(neurons[layer]):
            hook_points[layer] = hook_point
    if not hook_points:
        raise ConfigError("There is no neuron to replace; choose at least one.")
    return hook_points


def patches_at(
    lake: Lake, image: InputImage, hook_points: Mapping[int, HookPoint], patches: Patches | None
) -> dict[int, np.ndarray]:
    """The patches of each layer, ascending; all on the image where none are given."""
    at = {}
    for layer, hook_point in hook_points.items():
        if patches is None or layer not in patches:
            at[layer] = np.flatnonzero(lake.backbone.grid(hook_point).inside(lake.backbone.placement(image)))
        else:
            at[layer] = np.unique(np.asarray(patches[layer], dtype=np.int64))
            check_patches(lake, hook_point, at[layer])
    return at


def check_patches(lake: Lake, hook_point: HookPoint, patches: Sequence[int] | np.ndarray) -> None:
    """Refuses patches that the place's grid does not have, with a BackboneError."""
    grid = lake.backbone.grid(hook_point)
    for patch in patches:
        if not 0 <= patch < grid.n_patches:
            raise BackboneError(
                f"Layer {hook_point.layer} of {lake.backbone.spec} has no patch {patch}; choose 0 to"
                f" {grid.n_patches - 1} ({grid.rows} x {grid.cols})."
            )


def pools_of(lake: Lake, hook_points: Mapping[int, HookPoint], pool: Pool) -> dict[int, np.ndarray]:
    """For each layer the neurons that vary over the normal patches: replacing a still one would be no comparison.

    Args:
        lake: Fitted.
        places: Layer number -> place.
        pool: "selected" keeps the selected neurons only; a layer that is not in the score has none.
    """
    pools = {}
    for layer, hook_point in hook_points.items():
        pools[layer] = np.flatnonzero(
            np.ptp(lake.store.patches(lake.normals_, hook_point).on_image().numpy(), axis=0) > 0
        )
        if pool == "selected":
            is_scored = layer in lake.selection_ and hook_point.site == lake.config.site
            pools[layer] = np.intersect1d(pools[layer], lake.selection_[layer].neurons if is_scored else [])
    return pools
