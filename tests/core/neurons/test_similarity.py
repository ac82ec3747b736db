"""Units that do alike, against correlations computed the long way."""

import numpy as np
import pytest

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.patch_grid import coarse_of_fine
from lake_core.config import LakeConfig
from lake_core.data.datasets import load_sample
from lake_core.data.images import Picture
from lake_core.detector.lake import Lake
from lake_core.neurons.similarity import ALIKE, correlations, kinds_overlap, neighbours, selected_together
from lake_core.neurons.statistics import selection_of


@pytest.fixture(scope="module")
def metal_normals() -> list[Picture]:
    return [example.picture for example in load_sample("metal").normals[:3]]


@pytest.fixture(scope="module")
def lake(lake_cnn: Backbone, metal_normals: list[Picture]) -> Lake:
    return Lake(lake_cnn, LakeConfig(top_k=20)).fit(metal_normals[:3])


def the_long_way(lake: Lake, pictures: list[Picture], unit: int, layer: int, other_layer: int) -> np.ndarray:
    backbone, kind = lake.backbone, lake.config.kind
    own, other = backbone.place(layer, kind), backbone.place(other_layer, kind)
    grids = backbone.grid(own), backbone.grid(other)
    fine = max(grids, key=lambda grid: grid.n_patches)
    ours, theirs = [], []
    for picture in pictures:
        inside = fine.inside(backbone.placement(picture))
        ours.append(lake.store.get(picture, own).numpy()[coarse_of_fine(fine, grids[0])][inside, unit])
        theirs.append(lake.store.get(picture, other).numpy()[coarse_of_fine(fine, grids[1])][inside])
    y, x = np.concatenate(ours).astype(np.float64), np.concatenate(theirs).astype(np.float64)
    with np.errstate(invalid="ignore"):  # units that never vary have no correlation
        return np.array([np.corrcoef(y, x[:, column])[0, 1] for column in range(x.shape[1])])


@pytest.mark.parametrize("other_layer", [4, 15, 20])
def test_correlations_are_those_of_numpy_on_grids_of_any_size(
    lake: Lake, metal_normals: list[Picture], other_layer: int
) -> None:
    pictures = metal_normals[:2]
    own, other = (lake.backbone.place(layer, "hidden") for layer in (15, other_layer))
    lake.store.ensure(pictures, {own, other})
    found = correlations(lake, pictures, own, [7], other)[0]
    expected = the_long_way(lake, pictures, 7, 15, other_layer)
    assert np.isfinite(expected).any()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_neighbours_are_the_strongest_of_all_layers_without_the_unit_itself(
    lake: Lake, metal_normals: list[Picture]
) -> None:
    unit = int(lake.selection_[15].units[0])
    seen: list[tuple[int, int]] = []
    table = neighbours(lake, 15, unit, metal_normals[:2], 10, ["hidden"], lambda *done: seen.append(done))
    layers = lake.backbone.layers_with("hidden")
    assert seen == [(n + 1, len(layers)) for n in range(len(layers))]
    everything = np.concatenate(
        [
            np.abs(np.delete(found, unit) if layer == 15 else found)
            for layer in layers
            for found in [the_long_way(lake, metal_normals[:2], unit, 15, layer)]
        ]
    )
    best = np.sort(everything[np.isfinite(everything)])[::-1][:10]
    np.testing.assert_allclose(table["correlation"].abs(), best, atol=1e-5)
    assert not ((table["layer"] == 15) & (table["unit"] == unit)).any()
    for layer, other, selected in table[["layer", "unit", "selected"]].to_numpy().tolist():
        assert selected == (other in selection_of(lake, layer).units)


def test_units_selected_together_are_counted_over_choices_of_normals(lake: Lake, metal_normals: list[Picture]) -> None:
    unit = int(lake.selection_[15].units[0])
    table = selected_together(lake, 15, unit, metal_normals[:2])
    choices = [
        set(Lake(lake.backbone, lake.config, lake.store).fit(kept).selection_[15].units.tolist())
        for kept in ([metal_normals[i] for i in pair] for pair in ((1, 2), (0, 2), (0, 1)))
    ]
    with_unit = [choice for choice in choices if unit in choice]
    assert with_unit
    expected = {other: np.mean([other in choice for choice in with_unit]) for other in set.union(*with_unit) - {unit}}
    assert dict(zip(table["unit"], table["together"], strict=True)) == pytest.approx(expected)
    assert table["together"].is_monotonic_decreasing


def test_a_unit_that_is_never_selected_has_no_company(lake: Lake, metal_normals: list[Picture]) -> None:
    assert selected_together(lake, 15, int(lake.selection_[15].order[-1]), metal_normals[:2]).empty


def test_the_kinds_of_unit_are_matched_by_what_they_do(lake: Lake, metal_normals: list[Picture]) -> None:
    pictures = metal_normals[:2]
    overlap = kinds_overlap(lake, 15, pictures)
    channels = selection_of(lake, 15, "channel").units
    hidden = lake.selection_[15].units
    places = [lake.backbone.place(15, kind) for kind in ("hidden", "channel")]
    table = correlations(lake, pictures, places[0], hidden.tolist(), places[1])[:, channels]
    strongest = dict(zip(hidden, np.abs(table).max(1), strict=True))
    assert set(overlap.matches["unit"]) == set(hidden)
    assert set(overlap.matches["channel"]) <= set(channels)
    found = dict(zip(overlap.matches["unit"], overlap.matches["correlation"].abs(), strict=True))
    assert found == pytest.approx(strongest)
    assert overlap.share_alike == pytest.approx(np.mean([value >= ALIKE for value in strongest.values()]))
    assert overlap.strength == pytest.approx(np.mean(list(strongest.values())))
    assert overlap.strength_by_chance is not None
    assert overlap.strength_by_chance < overlap.strength
