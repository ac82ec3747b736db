"""Accounts of regions, nearest normal patches and the neurons that carry a distance, against float64 by hand."""

import numpy as np
import pandas as pd
import pytest

from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from tests.core.method import layers_of, naive, naive_subspace, site_of, total
from tests.core.tiny import OpenTiny, each_shape

N_NORMALS = 3
KEYS = ["part", "layer", "neuron"]


@pytest.fixture(params=each_shape(("squash", "letterbox")), scope="module")
def lake(request: pytest.FixtureRequest, open_tiny: OpenTiny, noise_images: list[InputImage]) -> Lake:
    name, resize = request.param
    backbone = open_tiny(name, resize=resize)
    site = site_of(backbone, "mlp_hidden")
    config = LakeConfig(site=site, layers=layers_of(backbone, site, 8), top_k=9, fusion_weight=0.4)
    return Lake(backbone, config).fit(noise_images[:N_NORMALS])


def on_image(result: object, n: int) -> list[int]:
    return [int(patch) for patch in np.flatnonzero(result.patch_scores.inside)[:n]]  # type: ignore[attr-defined]


def test_the_account_of_a_region_is_the_mean_of_its_patches_and_adds_up(
    lake: Lake, noise_images: list[InputImage]
) -> None:
    result, expected = lake.explain(noise_images[4]), naive(lake, noise_images[:N_NORMALS], noise_images[4])
    region = on_image(result, 3)
    contributions = result.contributions(region)
    assert total(contributions) == pytest.approx(float(np.mean(expected.fused[region])), rel=1e-3)
    each = (
        pd.concat([result.contributions(patch) for patch in region]).groupby(KEYS, dropna=False)["contribution"].mean()
    )
    pd.testing.assert_series_equal(contributions.set_index(KEYS)["contribution"].sort_index(), each.sort_index())
    for row in contributions[contributions["part"] == "visual"].itertuples():
        shares = [expected.shares[patch][int(row.layer), int(row.neuron)] for patch in region]  # type: ignore[arg-type]
        assert row.contribution == pytest.approx((1 - result.fusion_weight) * np.mean(shares), rel=5e-3, abs=1e-6)
    assert total(result.contributions(region, "part")) == pytest.approx(total(contributions))


def test_a_region_of_one_patch_is_that_patch(lake: Lake, noise_images: list[InputImage]) -> None:
    result = lake.explain(noise_images[4])
    patch = on_image(result, 1)[0]
    pd.testing.assert_frame_equal(result.contributions([patch]), result.contributions(patch))
    pd.testing.assert_frame_equal(result.contributions((np.int64(patch),)), result.contributions(patch))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not on the image"):
        result.contributions([patch, 10_000])
    with pytest.raises(ValueError, match="at least one patch"):
        result.contributions([])
    with pytest.raises(ValueError, match="choose from neuron, layer, part"):
        result.contributions(level="neurons")  # type: ignore[arg-type]


def test_the_nearest_normal_patches_are_those_of_a_search_by_hand(lake: Lake, noise_images: list[InputImage]) -> None:
    result, config = lake.explain(noise_images[4]), lake.config
    patch = on_image(result, 2)[-1]
    for number, selection in lake.selection_.items():
        hook_point, grid = lake.backbone.hook_point(number, config.site), lake.backbone.layer(number).grid
        images = [*lake.normals_, result.image]
        acts = np.stack([lake.store.get(image, hook_point).double().numpy() for image in images])
        vectors = naive_subspace(acts, selection.neurons, grid, config.smooth, config.normalise)
        found = [evidence for evidence in result.evidence(patch, n=5) if evidence.layer == number]
        inside = np.stack([grid.inside(lake.backbone.placement(image)) for image in lake.normals_])
        squared = np.where(inside, ((vectors[:-1] - vectors[-1, found[0].patch]) ** 2).sum(2), np.inf)
        np.testing.assert_allclose([e.distance for e in found], np.sort(squared, axis=None)[:5], rtol=1e-3, atol=1e-5)
        own = [squared[e.normal_image, e.normal_patch] for e in found]
        np.testing.assert_allclose([e.distance for e in found], own, rtol=1e-3, atol=1e-5)
        assert len({(e.normal_image, e.normal_patch) for e in found}) == 5


def test_one_neighbour_is_the_first_of_several_and_none_is_refused(lake: Lake, noise_images: list[InputImage]) -> None:
    result = lake.explain(noise_images[4])
    several = result.evidence(n=3)
    assert result.evidence() == [several[i] for i in range(0, len(several), 3)]
    n_bank = sum(len(layer.bank) for layer in lake.memory_bank_.layers)
    assert len(result.evidence(n=10**6)) == n_bank
    with pytest.raises(ValueError, match="at least 1"):
        result.evidence(n=0)


def test_carriers_show_the_two_values_behind_each_contribution(lake: Lake, noise_images: list[InputImage]) -> None:
    result = lake.explain(noise_images[4])
    patch = on_image(result, 1)[0]
    contributions = result.contributions(patch)
    assert [evidence.layer for evidence in result.evidence(patch)] == list(lake.selection_)
    for evidence in result.evidence(patch):
        own = contributions[contributions["layer"] == evidence.layer]
        found = result.top_neurons(patch, evidence.layer, top=4)
        assert list(found.columns) == ["neuron", "here", "normal", "contribution"]
        assert found["neuron"].tolist() == own["neuron"].tolist()[:4]
        np.testing.assert_allclose(found["contribution"], own["contribution"].iloc[:4])
        scale = (1 - result.fusion_weight) / len(lake.selection_) / evidence.tau
        everything = result.top_neurons(patch, evidence.layer, top=1000)
        by_hand = (everything["here"].astype(float) - everything["normal"].astype(float)) ** 2 * scale
        np.testing.assert_allclose(everything["contribution"], by_hand, rtol=1e-6)
        assert everything["contribution"].sum() == pytest.approx(evidence.distance * scale, rel=1e-4, abs=1e-9)
        np.testing.assert_allclose(np.linalg.norm(everything["here"]), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="takes no part"):
        result.top_neurons(patch, 99)


def test_top_neurons_of_the_image_score_add_what_they_add_to_the_mean_of_its_patches(
    lake: Lake, noise_images: list[InputImage]
) -> None:
    result = lake.with_weights(top_q=3).explain(noise_images[4])
    assert len(result.patches) == 3
    contributions = result.contributions()
    for layer in lake.selection_:
        found = result.top_neurons(None, layer, top=1000).set_index("neuron")
        own = contributions[contributions["layer"] == layer]
        np.testing.assert_allclose(found.loc[own["neuron"], "contribution"], own["contribution"])
        single = [result.top_neurons(int(patch), layer, top=1000).set_index("neuron") for patch in result.patches]
        for column in ("here", "normal"):
            mean = sum(one.loc[found.index, column] for one in single) / 3
            np.testing.assert_allclose(found[column], mean, rtol=1e-5, atol=1e-7)


def test_the_maps_of_all_neurons_and_of_the_text_add_up_to_the_score_map(
    lake: Lake, noise_images: list[InputImage]
) -> None:
    result = lake.explain(noise_images[5])
    text = np.zeros(result.map.shape) if result.text_map is None else result.text_map.astype(float)
    total = result.fusion_weight * text
    for layer, selection in lake.selection_.items():
        for neuron in selection.neurons:
            total = total + result.contribution_map(layer, int(neuron))
    np.testing.assert_allclose(total, result.map, rtol=1e-4, atol=1e-6)
    for patch in on_image(result, 3):
        for row in result.contributions(patch).dropna().head(5).to_dict("records"):
            value = result.contribution_map(row["layer"], row["neuron"]).ravel()[patch]
            assert value == pytest.approx(row["contribution"], rel=1e-5, abs=1e-9)
    layer, selection = next(iter(lake.selection_.items()))
    with pytest.raises(ValueError, match=f"neuron {selection.order[-1]} of layer {layer} is not selected"):
        result.contribution_map(layer, int(selection.order[-1]))
    with pytest.raises(ValueError, match="layer 99 takes no part"):
        result.contribution_map(99, 0)
