"""Neurons that correlate, against correlations computed the long way."""

import numpy as np
import pytest

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.patch_grid import coarse_of_fine
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.data.samples import load_sample
from lake_core.detector.lake import Lake
from lake_core.neurons.similarity import CORRELATED, correlated_neurons, correlations, selected_together, sites_overlap
from lake_core.neurons.statistics import selection_of


@pytest.fixture(scope="module")
def metal_normals() -> list[InputImage]:
    return [example.image for example in load_sample("metal").normals[:3]]


@pytest.fixture(scope="module")
def lake(lake_cnn: Backbone, metal_normals: list[InputImage]) -> Lake:
    return Lake(lake_cnn, LakeConfig(top_k=20)).fit(metal_normals[:3])


def the_long_way(lake: Lake, images: list[InputImage], neuron: int, layer: int, other_layer: int) -> np.ndarray:
    backbone, site = lake.backbone, lake.config.site
    own, other = backbone.hook_point(layer, site), backbone.hook_point(other_layer, site)
    grids = backbone.grid(own), backbone.grid(other)
    fine = max(grids, key=lambda grid: grid.n_patches)
    ours, theirs = [], []
    for image in images:
        inside = fine.inside(backbone.placement(image))
        ours.append(lake.store.get(image, own).numpy()[coarse_of_fine(fine, grids[0])][inside, neuron])
        theirs.append(lake.store.get(image, other).numpy()[coarse_of_fine(fine, grids[1])][inside])
    y, x = np.concatenate(ours).astype(np.float64), np.concatenate(theirs).astype(np.float64)
    with np.errstate(invalid="ignore"):  # neurons that never vary have no correlation
        return np.array([np.corrcoef(y, x[:, column])[0, 1] for column in range(x.shape[1])])


@pytest.mark.parametrize("other_layer", [4, 15, 20])
def test_correlations_are_those_of_numpy_on_grids_of_any_size(
    lake: Lake, metal_normals: list[InputImage], other_layer: int
) -> None:
    images = metal_normals[:2]
    own, other = (lake.backbone.hook_point(layer, "mlp_hidden") for layer in (15, other_layer))
    lake.store.ensure(images, {own, other})
    found = correlations(lake, images, own, [7], other)[0]
    expected = the_long_way(lake, images, 7, 15, other_layer)
    assert np.isfinite(expected).any()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_neighbours_are_the_strongest_of_all_layers_without_the_neuron_itself(
    lake: Lake, metal_normals: list[InputImage]
) -> None:
    neuron = int(lake.selection_[15].neurons[0])
    seen: list[tuple[int, int]] = []
    table = correlated_neurons(lake, 15, neuron, metal_normals[:2], 10, ["mlp_hidden"], lambda *done: seen.append(done))
    layers = lake.backbone.layers_with("mlp_hidden")
    assert seen == [(n + 1, len(layers)) for n in range(len(layers))]
    everything = np.concatenate(
        [
            np.abs(np.delete(found, neuron) if layer == 15 else found)
            for layer in layers
            for found in [the_long_way(lake, metal_normals[:2], neuron, 15, layer)]
        ]
    )
    best = np.sort(everything[np.isfinite(everything)])[::-1][:10]
    np.testing.assert_allclose(table["correlation"].abs(), best, atol=1e-5)
    assert not ((table["layer"] == 15) & (table["neuron"] == neuron)).any()
    for layer, other, selected in table[["layer", "neuron", "selected"]].to_numpy().tolist():
        assert selected == (other in selection_of(lake, layer).neurons)


def test_neurons_selected_together_are_counted_over_choices_of_normals(
    lake: Lake, metal_normals: list[InputImage]
) -> None:
    neuron = int(lake.selection_[15].neurons[0])
    table = selected_together(lake, 15, neuron, metal_normals[:2])
    choices = [
        set(Lake(lake.backbone, lake.config, lake.store).fit(kept).selection_[15].neurons.tolist())
        for kept in ([metal_normals[i] for i in pair] for pair in ((1, 2), (0, 2), (0, 1)))
    ]
    with_neuron = [choice for choice in choices if neuron in choice]
    assert with_neuron
    expected = {
        other: np.mean([other in choice for choice in with_neuron]) for other in set.union(*with_neuron) - {neuron}
    }
    assert dict(zip(table["neuron"], table["together"], strict=True)) == pytest.approx(expected)
    assert table["together"].is_monotonic_decreasing


def test_a_neuron_that_is_never_selected_has_no_company(lake: Lake, metal_normals: list[InputImage]) -> None:
    assert selected_together(lake, 15, int(lake.selection_[15].order[-1]), metal_normals[:2]).empty


def test_the_kinds_of_neuron_are_matched_by_what_they_do(lake: Lake, metal_normals: list[InputImage]) -> None:
    images = metal_normals[:2]
    overlap = sites_overlap(lake, 15, images)
    channels = selection_of(lake, 15, "residual_channel").neurons
    hidden = lake.selection_[15].neurons
    hook_points = [lake.backbone.hook_point(15, site) for site in ("mlp_hidden", "residual_channel")]
    table = correlations(lake, images, hook_points[0], hidden.tolist(), hook_points[1])[:, channels]
    strongest = dict(zip(hidden, np.abs(table).max(1), strict=True))
    assert set(overlap.matches["neuron"]) == set(hidden)
    assert set(overlap.matches["residual_channel"]) <= set(channels)
    found = dict(zip(overlap.matches["neuron"], overlap.matches["correlation"].abs(), strict=True))
    assert found == pytest.approx(strongest)
    assert overlap.share_correlated == pytest.approx(np.mean([value >= CORRELATED for value in strongest.values()]))
    assert overlap.strength == pytest.approx(np.mean(list(strongest.values())))
    assert overlap.strength_by_chance is not None
    assert overlap.strength_by_chance < overlap.strength


def test_layers_without_the_detectors_site_take_part(lake: Lake, metal_normals: list[InputImage]) -> None:
    """lake-cnn's first block has a residual channel and no hidden neurons: nothing there can be selected."""
    table = correlated_neurons(lake, 15, 7, metal_normals[:1], 5000, ["residual_channel"])
    assert 1 in set(table["layer"])
    assert not table["selected"].any()
