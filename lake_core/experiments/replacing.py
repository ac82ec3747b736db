"""Writing other values over neurons inside the running network: which neurons, at which patches, and the change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.backbone import Change
from lake_core.backbones.patch_grid import PatchGrid
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.errors import ConfigError
from lake_core.types import HookPoint, Neurons, Pool, Site

Patches: TypeAlias = Mapping[int, Sequence[int] | np.ndarray]
"""Layer number -> patches of that layer's own grid."""


@dataclass(frozen=True, eq=False)
class Targets:
    """Neurons that get other values.

    Attributes:
        neurons: Layer number -> any neurons of that layer, selected or not; layers need not be in the score.
        patches: Layer number -> patches at which to replace; None, or a layer left out, means all on the image.
        site: Activation site; None takes the detector's.
    """

    neurons: Neurons
    patches: Patches | None = None
    site: Site | None = None


def replaced(neurons: np.ndarray, values: Tensor, patches: np.ndarray, grid: PatchGrid) -> Change:
    """The change that writes the neurons' values, out of (n_neurons of the layer,), at some patches."""
    on_patch = np.zeros(grid.n_patches, dtype=bool)
    on_patch[patches] = True
    rows, index = torch.from_numpy(on_patch.reshape(grid.rows, grid.cols)), torch.from_numpy(neurons)

    def write(maps: Tensor) -> None:
        # Maps have the tower's own resolution; in early convolutional blocks several positions make a patch.
        height, width = maps.shape[-2:]
        own_rows, own_cols = torch.arange(height) * grid.rows // height, torch.arange(width) * grid.cols // width
        here = rows[own_rows][:, own_cols].to(maps.device)
        put = values[index].to(maps.device, maps.dtype)[:, None, None]
        maps[:, index] = torch.where(here, put, maps[:, index])

    return write


def hook_points_of(lake: Lake, targets: Targets) -> dict[int, HookPoint]:
    """The hook points of the layers that have neurons to replace.

    Raises:
        BackboneError: if there is no such layer, site or neuron.
        ConfigError: if there is no neuron.
    """
    lake.fitted()
    site, hook_points = targets.site or lake.config.site, {}
    for layer, neurons in sorted(targets.neurons.items()):
        hook_point = lake.backbone.hook_point(layer, site)
        lake.backbone.check_neurons(hook_point, neurons)
        if len(neurons):
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
            lake.backbone.check_patches(hook_point, at[layer])
    return at


def pools_of(lake: Lake, hook_points: Mapping[int, HookPoint], pool: Pool) -> dict[int, np.ndarray]:
    """For each layer the neurons that vary over the normal patches: replacing a constant one would change nothing.

    Args:
        lake: Fitted.
        hook_points: Layer number -> hook point.
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
