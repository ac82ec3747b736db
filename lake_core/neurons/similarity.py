"""Units that do alike: which units' maps agree with a unit's, in all layers, and whether the two kinds of unit do.

Maps are compared by their correlation over all patches of all given pictures. Two layers whose grids differ are brought
to the finer of both, as METHOD does for fused maps: each fine patch takes the coarse patch that contains its centre.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lake_core.backbones.feature_store import Progress
from lake_core.backbones.hooks import KINDS, Kind, Place
from lake_core.backbones.patch_grid import coarse_of_fine
from lake_core.data.images import Picture
from lake_core.detector.lake import Lake
from lake_core.detector.memory_bank import finest
from lake_core.errors import LakeError
from lake_core.experiments.stability import left_out_selections
from lake_core.neurons.statistics import selection_of

ALIKE = 0.7
"""Absolute correlation from which two maps are called alike: half of the variance of one is explained by the other."""


@dataclass(frozen=True, eq=False)
class KindsOverlap:
    """How far the selected units of one kind have a counterpart among those of the other, by what they do.

    Attributes:
        layer: The layer.
        matches: One row per selected hidden unit: unit, channel (the selected channel whose map agrees most, by
            absolute correlation), correlation (signed). Greatest absolute correlation first.
        share_alike: Share of the rows with an absolute correlation of at least ALIKE, in [0, 1].
        strength: Mean absolute correlation of the rows, in [0, 1].
        strength_by_chance: The same for as many random hidden units of the layer that are not selected; None where
            there are none.
    """

    layer: int
    matches: pd.DataFrame = field(repr=False)
    share_alike: float
    strength: float
    strength_by_chance: float | None


def neighbours(
    lake: Lake,
    layer: int,
    unit: int,
    pictures: Sequence[Picture],
    top: int = 12,
    kinds: Sequence[Kind] = KINDS,
    on_progress: Progress | None = None,
) -> pd.DataFrame:
    """The units of all layers whose maps agree most with a unit's.

    Args:
        lake: A fitted detector; the unit is of its kind.
        layer, unit: The unit.
        pictures: Over whose patches maps are compared; at least one.
        top: How many units, at most.
        kinds: Which kinds of unit to look among.
        on_progress: Called with places done and in all; may raise to cancel.
    Returns:
        Columns layer, kind, unit, correlation (signed, in [-1, 1]) and selected (bool: among the K most sensitive of
        its layer; False for the kind that the detector does not use). Greatest absolute correlation first, without
        the unit itself. Units that do not vary are left out.
    """
    backbone = lake.backbone
    own_place = backbone.place(layer, lake.config.kind)
    places = [backbone.place(number, kind) for kind in kinds for number in backbone.layers_with(kind)]
    lake.store.ensure(pictures, {own_place, *places})
    rows = []
    for n_done, place in enumerate(places, start=1):
        found = correlations(lake, pictures, own_place, [unit], place)[0]
        if place == own_place:
            found[unit] = np.nan
        living = np.flatnonzero(np.isfinite(found))
        best = living[np.argsort(-np.abs(found[living]), kind="stable")[:top]]
        rows += [(place.layer, place.kind, int(other), float(found[other])) for other in best]
        if on_progress is not None:
            on_progress(n_done, len(places))
    table = pd.DataFrame(rows, columns=["layer", "kind", "unit", "correlation"])
    table = table.sort_values("correlation", key=np.abs, ascending=False, kind="stable").head(top)
    chosen = {number: set(selection_of(lake, number).units) for number in set(table["layer"])}
    table["selected"] = [
        kind == lake.config.kind and other in chosen[number]
        for number, kind, other in zip(table["layer"], table["kind"], table["unit"], strict=True)
    ]
    return table.reset_index(drop=True)


def selected_together(lake: Lake, layer: int, unit: int, pictures: Sequence[Picture]) -> pd.DataFrame:
    """Units of the same layer that are selected when this one is, over choices that leave one normal picture out.

    Args:
        lake: A fitted detector.
        layer, unit: The unit.
        pictures: Over whose patches maps are compared.
    Returns:
        Columns unit, together (share in [0, 1] of the choices that select this unit, in which the other is selected
        as well) and correlation of the two maps. Highest share, then highest absolute correlation first. Empty if
        this unit is never selected. With a single normal picture there is one choice: all of it.
    """
    choices = left_out_selections(lake, layer)
    own = [set(units.tolist()) for units in choices if unit in units]
    if not own:
        return pd.DataFrame({"unit": [], "together": [], "correlation": []})
    others = sorted(set.union(*own) - {unit})
    place = lake.backbone.place(layer, lake.config.kind)
    lake.store.ensure(pictures, {place})
    found = correlations(lake, pictures, place, [unit], place)[0]
    table = pd.DataFrame(
        {
            "unit": others,
            "together": [float(np.mean([other in chosen for chosen in own])) for other in others],
            "correlation": found[others],
        }
    )
    by = table.assign(strength=table["correlation"].abs())
    order = by.sort_values(["together", "strength"], ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def kinds_overlap(lake: Lake, layer: int, pictures: Sequence[Picture], seed: int = 0) -> KindsOverlap:
    """Compares the K most sensitive hidden units of a layer with its K most sensitive channels.

    The numbers of hidden units and channels name different things, so no overlap of numbers makes sense; what can be
    compared is what they do: each hidden unit's map with the channel whose map agrees most.

    Args:
        lake: A fitted detector.
        layer: A layer that has both kinds of unit.
        pictures: Over whose patches maps are compared.
        seed: Of the random units.
    Raises:
        LakeError: if the layer has one kind of unit only.
    """
    backbone = lake.backbone
    if any(layer not in backbone.layers_with(kind) for kind in KINDS):
        raise LakeError(f"Layer {layer} has only one kind of unit, so there is nothing to compare.")
    places = {kind: backbone.place(layer, kind) for kind in KINDS}
    lake.store.ensure(pictures, set(places.values()))
    selections = {kind: selection_of(lake, layer, kind) for kind in KINDS}
    chosen, channels = selections["hidden"].units, selections["channel"].units
    rest = np.setdiff1d(np.arange(selections["hidden"].n_units), chosen)
    drawn = np.random.default_rng([seed, layer]).permutation(rest)[: len(chosen)]
    rows = np.concatenate([chosen, drawn])
    found = correlations(lake, pictures, places["hidden"], rows.tolist(), places["channel"])[:, channels]
    strength = np.abs(np.nan_to_num(found))
    best = strength.argmax(1)
    greatest = strength.max(1)
    n_chosen = len(chosen)
    matches = pd.DataFrame(
        {
            "unit": chosen,
            "channel": channels[best[:n_chosen]],
            "correlation": np.nan_to_num(found)[np.arange(n_chosen), best[:n_chosen]],
        }
    ).sort_values("correlation", key=np.abs, ascending=False, kind="stable")
    own, by_chance = greatest[:n_chosen], greatest[n_chosen:]
    return KindsOverlap(
        layer,
        matches.reset_index(drop=True),
        float((own >= ALIKE).mean()),
        float(own.mean()),
        float(by_chance.mean()) if len(by_chance) else None,
    )


def correlations(
    lake: Lake, pictures: Sequence[Picture], place: Place, units: Sequence[int], other: Place
) -> np.ndarray:
    """Pearson correlation of the maps of some units of one place with those of all units of another.

    Args:
        lake: Its store holds the activations of both places.
        pictures: Over all of whose patches.
        place, units: The ones.
        other: The others.
    Returns:
        (len(units), n_units of the other place) float64 in [-1, 1]; NaN where a unit does not vary.
    """
    backbone, store = lake.backbone, lake.store
    grids = backbone.grid(place), backbone.grid(other)
    grid = finest(grids)
    ours, theirs = (torch.from_numpy(coarse_of_fine(grid, own)) for own in grids)
    chosen = torch.as_tensor(units)
    sums = _Sums()
    for picture in pictures:
        inside = torch.from_numpy(grid.inside(backbone.placement(picture)))
        sums.add(
            store.get(picture, place)[:, chosen][ours[inside]].double(),
            store.get(picture, other)[theirs[inside]].double(),
        )
    return sums.correlation()


class _Sums:
    """Running sums from which correlations follow, so that no picture's activations need be held together."""

    def __init__(self) -> None:
        self._n = 0
        self._shift: tuple[Tensor, Tensor] | None = None
        self._first: list[Tensor] = []
        self._second: list[Tensor] = []
        self._cross: Tensor | None = None

    def add(self, ours_pu: Tensor, theirs_pv: Tensor) -> None:
        if self._shift is None:  # numbers near zero keep their digits in squares
            self._shift = ours_pu.mean(0), theirs_pv.mean(0)
        pair = [values - shift for values, shift in zip((ours_pu, theirs_pv), self._shift, strict=True)]
        first, second = [one.sum(0) for one in pair], [one.square().sum(0) for one in pair]
        cross = pair[0].T @ pair[1]
        if self._cross is None:
            self._first, self._second, self._cross = first, second, cross
        else:
            self._first = [a + b for a, b in zip(self._first, first, strict=True)]
            self._second = [a + b for a, b in zip(self._second, second, strict=True)]
            self._cross = self._cross + cross
        self._n += len(ours_pu)

    def correlation(self) -> np.ndarray:
        if self._cross is None:
            raise ValueError("no picture to compare maps over")
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
