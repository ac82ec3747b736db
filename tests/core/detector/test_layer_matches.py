"""Accounts of regions, nearest normal patches and the units that carry a distance, against float64 by hand."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from lake_core.config import LakeConfig
from lake_core.data.images import Picture
from lake_core.detector.lake import Lake
from tests.core.method import kind_or_channel, layers_of, naive, naive_subspace, total
from tests.core.tiny import FAMILIES, OpenTiny

N_NORMALS = 3
KEYS = ["part", "layer", "unit"]


@pytest.fixture(params=list(product(FAMILIES, ("squash", "letterbox"))), ids=" ".join, scope="module")
def lake(request: pytest.FixtureRequest, open_tiny: OpenTiny, noise_pictures: list[Picture]) -> Lake:
    name, resize = request.param
    backbone = open_tiny(name, resize=resize)
    kind = kind_or_channel(backbone, "hidden")
    config = LakeConfig(kind=kind, layers=layers_of(backbone, kind, 8), top_k=9, text_weight=0.4)
    return Lake(backbone, config).fit(noise_pictures[:N_NORMALS])


def on_picture(result: object, n: int) -> list[int]:
    return [int(patch) for patch in np.flatnonzero(result.witnesses.inside)[:n]]  # type: ignore[attr-defined]


def test_the_account_of_a_region_is_the_mean_of_its_patches_and_adds_up(
    lake: Lake, noise_pictures: list[Picture]
) -> None:
    result, expected = lake.score(noise_pictures[4]), naive(lake, noise_pictures[:N_NORMALS], noise_pictures[4])
    region = on_picture(result, 3)
    ledger = result.ledger(region)
    assert total(ledger) == pytest.approx(float(np.mean(expected.fused[region])), rel=1e-3)
    each = pd.concat([result.ledger(patch) for patch in region]).groupby(KEYS, dropna=False)["contribution"].mean()
    pd.testing.assert_series_equal(ledger.set_index(KEYS)["contribution"].sort_index(), each.sort_index())
    for row in ledger[ledger["part"] == "visual"].itertuples():
        terms = [expected.terms[patch][int(row.layer), int(row.unit)] for patch in region]  # type: ignore[arg-type]
        assert row.contribution == pytest.approx((1 - result.text_weight) * np.mean(terms), rel=5e-3, abs=1e-6)
    assert total(result.ledger(region, "part")) == pytest.approx(total(ledger))


def test_a_region_of_one_patch_is_that_patch(lake: Lake, noise_pictures: list[Picture]) -> None:
    result = lake.score(noise_pictures[4])
    patch = on_picture(result, 1)[0]
    pd.testing.assert_frame_equal(result.ledger([patch]), result.ledger(patch))
    pd.testing.assert_frame_equal(result.ledger((np.int64(patch),)), result.ledger(patch))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not on the picture"):
        result.ledger([patch, 10_000])
    with pytest.raises(ValueError, match="at least one patch"):
        result.ledger([])
    with pytest.raises(ValueError, match="choose from unit, layer, part"):
        result.ledger(level="units")  # type: ignore[arg-type]


def test_the_nearest_normal_patches_are_those_of_a_search_by_hand(lake: Lake, noise_pictures: list[Picture]) -> None:
    result, config = lake.score(noise_pictures[4]), lake.config
    patch = on_picture(result, 2)[-1]
    for number, selection in lake.selection_.items():
        place, grid = lake.backbone.place(number, config.kind), lake.backbone.layer(number).grid
        pictures = [*lake.normals_, result.picture]
        acts = np.stack([lake.store.get(picture, place).double().numpy() for picture in pictures])
        vectors = naive_subspace(acts, selection.units, grid, config.smooth, config.normalise)
        found = [evidence for evidence in result.evidence(patch, n=5) if evidence.layer == number]
        inside = np.stack([grid.inside(lake.backbone.placement(picture)) for picture in lake.normals_])
        squared = np.where(inside, ((vectors[:-1] - vectors[-1, found[0].patch]) ** 2).sum(2), np.inf)
        np.testing.assert_allclose([e.distance for e in found], np.sort(squared, axis=None)[:5], rtol=1e-3, atol=1e-5)
        own = [squared[e.normal_picture, e.normal_patch] for e in found]
        np.testing.assert_allclose([e.distance for e in found], own, rtol=1e-3, atol=1e-5)
        assert len({(e.normal_picture, e.normal_patch) for e in found}) == 5


def test_one_neighbour_is_the_first_of_several_and_none_is_refused(lake: Lake, noise_pictures: list[Picture]) -> None:
    result = lake.score(noise_pictures[4])
    several = result.evidence(n=3)
    assert result.evidence() == [several[i] for i in range(0, len(several), 3)]
    n_gallery = sum(len(layer.gallery) for layer in lake.normality_.layers)
    assert len(result.evidence(n=10**6)) == n_gallery
    with pytest.raises(ValueError, match="at least 1"):
        result.evidence(n=0)


def test_carriers_show_the_two_values_behind_each_contribution(lake: Lake, noise_pictures: list[Picture]) -> None:
    result = lake.score(noise_pictures[4])
    patch = on_picture(result, 1)[0]
    ledger = result.ledger(patch)
    for evidence in result.evidence(patch):
        own = ledger[ledger["layer"] == evidence.layer]
        found = result.carriers(patch, evidence.layer, top=4)
        assert list(found.columns) == ["unit", "here", "normal", "contribution"]
        assert found["unit"].tolist() == own["unit"].tolist()[:4]
        np.testing.assert_allclose(found["contribution"], own["contribution"].iloc[:4])
        scale = (1 - result.text_weight) / len(lake.selection_) / evidence.tau
        everything = result.carriers(patch, evidence.layer, top=1000)
        by_hand = (everything["here"].astype(float) - everything["normal"].astype(float)) ** 2 * scale
        np.testing.assert_allclose(everything["contribution"], by_hand, rtol=1e-6)
        assert everything["contribution"].sum() == pytest.approx(evidence.distance * scale, rel=1e-4, abs=1e-9)
        np.testing.assert_allclose(np.linalg.norm(everything["here"]), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="takes no part"):
        result.carriers(patch, 99)


def test_the_maps_of_all_units_and_of_the_text_add_up_to_the_score_map(
    lake: Lake, noise_pictures: list[Picture]
) -> None:
    result = lake.score(noise_pictures[5])
    text = np.zeros(result.map.shape) if result.cross_modal_map is None else result.cross_modal_map.astype(float)
    total = result.text_weight * text
    for layer, selection in lake.selection_.items():
        for unit in selection.units:
            total = total + result.contribution_map(layer, int(unit))
    np.testing.assert_allclose(total, result.map, rtol=1e-4, atol=1e-6)
    for patch in on_picture(result, 3):
        for row in result.ledger(patch).dropna().head(5).to_dict("records"):
            value = result.contribution_map(row["layer"], row["unit"]).ravel()[patch]
            assert value == pytest.approx(row["contribution"], rel=1e-5, abs=1e-9)
    layer, selection = next(iter(lake.selection_.items()))
    with pytest.raises(ValueError, match=f"unit {selection.order[-1]} of layer {layer} is not selected"):
        result.contribution_map(layer, int(selection.order[-1]))
    with pytest.raises(ValueError, match="layer 99 takes no part"):
        result.contribution_map(99, 0)
