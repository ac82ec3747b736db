"""Similarity of neurons: correlated neurons in all layers, neurons selected together, overlap of the activation sites.

Maps are compared by their correlation over all patches of all given images. Two layers whose grids differ are brought
to the finer of both, as for fused maps (docs/method.md): each fine patch takes the coarse patch that contains its
centre.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lake_core.backbones.patch_grid import coarse_of_fine
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.memory_bank import finest
from lake_core.detector.reselection import left_out_selections
from lake_core.errors import LakeError
from lake_core.neurons.statistics import selection_of
from lake_core.types import SITES, HookPoint, Progress, Site, counted

CORRELATED = 0.7
"""Absolute correlation from which two maps count as correlated: one explains half of the variance of the other."""


@dataclass(frozen=True, eq=False)
class SitesOverlap:
    """How far the selected neurons of one activation site have correlated ones among those of the other.

    Attributes:
        matches: One row per selected hidden neuron: neuron, residual_channel (the selected channel whose map has the
            greatest absolute correlation), correlation (signed). Greatest absolute correlation first.
        share_correlated: Share of the rows with an absolute correlation of at least CORRELATED, in [0, 1].
        strength: Mean absolute correlation of the rows, in [0, 1].
        strength_by_chance: The same for as many random hidden neurons of the layer that are not selected; None where
            there are none.
    """

    layer: int
    matches: pd.DataFrame = field(repr=False)
    share_correlated: float
    strength: float
    strength_by_chance: float | None


def correlated_neurons(
    lake: Lake,
    layer: int,
    neuron: int,
    images: Sequence[InputImage],
    top: int = 12,
    sites: Sequence[Site] = SITES,
    on_progress: Progress | None = None,
) -> pd.DataFrame:
    """The neurons of all layers whose maps correlate most with a neuron's.

    Args:
        lake: A fitted detector; the neuron is one of its activation site.
        layer, neuron: The neuron.
        images: Over whose patches maps are compared; at least one.
        top: How many neurons, at most.
        sites: Which activation sites to look among.
        on_progress: Called with hook points done and in all; may raise to cancel.
    Returns:
        Columns layer, site, neuron, correlation (signed, in [-1, 1]) and selected (bool: among the K most sensitive of
        its layer; False for the site that the detector does not use). Greatest absolute correlation first, without
        the neuron itself. Neurons that do not vary are left out.
    """
    backbone = lake.backbone
    own_hook_point = backbone.hook_point(layer, lake.config.site)
    hook_points = [backbone.hook_point(number, site) for site in sites for number in backbone.layers_with(site)]
    lake.store.ensure(images, {own_hook_point, *hook_points})
    rows = []
    for hook_point in counted(hook_points, on_progress):
        found = correlations(lake, images, own_hook_point, [neuron], hook_point)[0]
        if hook_point == own_hook_point:
            found[neuron] = np.nan
        varying = np.flatnonzero(np.isfinite(found))
        best = varying[np.argsort(-np.abs(found[varying]), kind="stable")[:top]]
        rows += [(hook_point.layer, hook_point.site, int(other), float(found[other])) for other in best]
    table = pd.DataFrame(rows, columns=["layer", "site", "neuron", "correlation"])
    table = table.sort_values("correlation", key=np.abs, ascending=False, kind="stable").head(top)
    of_site = set(table.loc[table["site"] == lake.config.site, "layer"])
    chosen = {number: set(selection_of(lake, number).neurons) for number in of_site}
    table["selected"] = [
        site == lake.config.site and other in chosen[number]
        for number, site, other in zip(table["layer"], table["site"], table["neuron"], strict=True)
    ]
    return table.reset_index(drop=True)


def selected_together(lake: Lake, layer: int, neuron: int, images: Sequence[InputImage]) -> pd.DataFrame:
    """Neurons of the same layer that are selected together with this one when one normal image is left out.

    Args:
        lake: A fitted detector.
        layer, neuron: The neuron.
        images: Over whose patches maps are compared.
    Returns:
        Columns neuron, together (share in [0, 1] of the choices that select this neuron, in which the other is selected
        as well) and correlation of the two maps. Highest share, then highest absolute correlation first. Empty if
        this neuron is never selected. With a single normal image there is one choice: all of it.
    """
    choices = left_out_selections(lake, layer)
    own = [set(neurons.tolist()) for neurons in choices if neuron in neurons]
    if not own:
        return pd.DataFrame({"neuron": [], "together": [], "correlation": []})
    others = sorted(set.union(*own) - {neuron})
    hook_point = lake.backbone.hook_point(layer, lake.config.site)
    lake.store.ensure(images, {hook_point})
    found = correlations(lake, images, hook_point, [neuron], hook_point)[0]
    table = pd.DataFrame(
        {
            "neuron": others,
            "together": [float(np.mean([other in chosen for chosen in own])) for other in others],
            "correlation": found[others],
        }
    )
    by = table.assign(strength=table["correlation"].abs())
    order = by.sort_values(["together", "strength"], ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def sites_overlap(lake: Lake, layer: int, images: Sequence[InputImage], seed: int = 0) -> SitesOverlap:
    """Compares the K most sensitive hidden neurons of a layer with its K most sensitive channels.

    Hidden neurons and channels are numbered separately, so their numbers cannot be compared; their maps can: each
    hidden neuron's with that of the channel that correlates most.

    Args:
        lake: A fitted detector.
        layer: A layer that has both activation sites.
        images: Over whose patches maps are compared.
        seed: Of the random neurons.
    Raises:
        LakeError: if the layer has one activation site only.
    """
    backbone = lake.backbone
    if any(layer not in backbone.layers_with(site) for site in SITES):
        raise LakeError(f"Layer {layer} has only one activation site, so there is nothing to compare.")
    hook_points = {site: backbone.hook_point(layer, site) for site in SITES}
    lake.store.ensure(images, set(hook_points.values()))
    selections = {site: selection_of(lake, layer, site) for site in SITES}
    chosen, channels = selections["mlp_hidden"].neurons, selections["residual_channel"].neurons
    rest = np.setdiff1d(np.arange(selections["mlp_hidden"].n_neurons), chosen)
    drawn = np.random.default_rng([seed, layer]).permutation(rest)[: len(chosen)]
    rows = np.concatenate([chosen, drawn])
    found = correlations(lake, images, hook_points["mlp_hidden"], rows.tolist(), hook_points["residual_channel"])[
        :, channels
    ]
    strength = np.abs(np.nan_to_num(found))
    best = strength.argmax(1)
    greatest = strength.max(1)
    n_chosen = len(chosen)
    matches = pd.DataFrame(
        {
            "neuron": chosen,
            "residual_channel": channels[best[:n_chosen]],
            "correlation": np.nan_to_num(found)[np.arange(n_chosen), best[:n_chosen]],
        }
    ).sort_values("correlation", key=np.abs, ascending=False, kind="stable")
    own, by_chance = greatest[:n_chosen], greatest[n_chosen:]
    return SitesOverlap(
        layer,
        matches.reset_index(drop=True),
        float((own >= CORRELATED).mean()),
        float(own.mean()),
        float(by_chance.mean()) if len(by_chance) else None,
    )


def correlations(
    lake: Lake, images: Sequence[InputImage], hook_point: HookPoint, neurons: Sequence[int], other: HookPoint
) -> np.ndarray:
    """Pearson correlation of the maps of some neurons at one hook point with those of all neurons at another.

    Args:
        lake: Its store holds the activations at both hook points.
        images: Over all of whose patches.
        hook_point, neurons: The ones.
        other: Where the others are.
    Returns:
        (len(neurons), n_neurons at the other hook point) float64 in [-1, 1]; NaN where a neuron does not vary.
    """
    backbone, store = lake.backbone, lake.store
    grids = backbone.grid(hook_point), backbone.grid(other)
    grid = finest(grids)
    ours, theirs = (torch.from_numpy(coarse_of_fine(grid, own)) for own in grids)
    chosen = torch.as_tensor(neurons)
    sums = _Sums()
    for image in images:
        inside = torch.from_numpy(grid.inside(backbone.placement(image)))
        sums.add(
            store.get(image, hook_point)[:, chosen][ours[inside]].double(),
            store.get(image, other)[theirs[inside]].double(),
        )
    return sums.correlation()


class _Sums:
    """Running sums from which correlations follow, so that only one image's activations are held at a time."""

    def __init__(self) -> None:
        self._n = 0
        self._shift: tuple[Tensor, Tensor] | None = None
        self._first: list[Tensor] = []
        self._second: list[Tensor] = []
        self._cross: Tensor | None = None

    def add(self, ours_pn: Tensor, theirs_pm: Tensor) -> None:
        if self._shift is None:  # numbers near zero keep their digits in squares
            self._shift = ours_pn.mean(0), theirs_pm.mean(0)
        pair = [values - shift for values, shift in zip((ours_pn, theirs_pm), self._shift, strict=True)]
        first, second = [one.sum(0) for one in pair], [one.square().sum(0) for one in pair]
        cross = pair[0].T @ pair[1]
        if self._cross is None:
            self._first, self._second, self._cross = first, second, cross
        else:
            self._first = [a + b for a, b in zip(self._first, first, strict=True)]
            self._second = [a + b for a, b in zip(self._second, second, strict=True)]
            self._cross = self._cross + cross
        self._n += len(ours_pn)

    def correlation(self) -> np.ndarray:
        if self._cross is None:
            raise ValueError("no image to compare maps over")
        covariance = self._cross - torch.outer(self._first[0], self._first[1]) / self._n
        spread = [
            (second - first.square() / self._n).clamp(min=0)
            for first, second in zip(self._first, self._second, strict=True)
        ]
        still = [own <= 1e-12 * (1 + second) for own, second in zip(spread, self._second, strict=True)]
        found = covariance / torch.outer(spread[0].sqrt(), spread[1].sqrt())
        found[still[0]] = torch.nan
        found[:, still[1]] = torch.nan
        return found.clamp(-1, 1).numpy()
