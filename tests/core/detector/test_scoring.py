"""Scores, maps and ledgers, against sections 1 to 5 of the method written again from scratch in double precision."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig, ResolvedConfig
from lake_core.data.images import Picture
from lake_core.detector.lake import Lake
from lake_core.detector.scoring import ImageScore, fused_map, top_patches
from tests.core.method import CASES, N_NORMALS, agree, kind_or_channel, layers_of, naive, naive_subspace, total
from tests.core.tiny import FAMILIES, OpenTiny

# The method again ----------------------------------------------------------------------------------------------------


# Cases ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lakes(open_tiny: OpenTiny, noise_pictures: list[Picture]) -> Any:
    """Fitted detectors by family, case and finest grid, each made once."""
    stores: dict[Backbone, FeatureStore] = {}

    def make(name: str, case: str, finest: int = 8, **changes: Any) -> Lake:
        resize, options = CASES[case]
        backbone = open_tiny(name, resize=resize)
        store = stores.setdefault(backbone, FeatureStore(backbone))
        kind = kind_or_channel(backbone, options["kind"])
        options = options | {"kind": kind, "layers": layers_of(backbone, kind, finest)} | changes
        return Lake(backbone, LakeConfig(**options), store).fit(noise_pictures[:N_NORMALS])

    return make


@pytest.fixture(params=list(product(FAMILIES, CASES)), ids=lambda param: " ".join(param))
def fitted_each(request: pytest.FixtureRequest, lakes: Any) -> Lake:
    """A detector of every family in every case, over several layers, with different grids where the tower has them."""
    return lakes(*request.param)


@pytest.fixture(params=list(product(FAMILIES, list(CASES)[:2])), ids=lambda param: " ".join(param))
def fitted(request: pytest.FixtureRequest, lakes: Any) -> Lake:
    """The same for the first two cases, which between them take both kinds, both scalings and both resizings."""
    return lakes(*request.param)


# Against the naive implementation ------------------------------------------------------------------------------------


def test_maps_and_score_agree_with_the_method_written_again(fitted_each: Lake, noise_pictures: list[Picture]) -> None:
    for picture in noise_pictures[N_NORMALS : N_NORMALS + 2]:
        result, expected = fitted_each.score(picture), naive(fitted_each, noise_pictures[:N_NORMALS], picture)
        grid = result.witnesses.grid
        hidden = np.where(expected.inside, 1, np.nan).reshape(grid.rows, grid.cols)
        agree(result.visual_map, expected.visual.reshape(hidden.shape) * hidden)
        agree(result.map, expected.fused.reshape(hidden.shape) * hidden)
        if expected.cross is None:
            assert result.cross_modal_map is None
        else:
            assert result.cross_modal_map is not None
            agree(result.cross_modal_map, expected.cross.reshape(hidden.shape) * hidden)
        assert result.score == pytest.approx(expected.score, rel=5e-4)
        agree(np.sort(expected.fused[result.patches]), np.sort(expected.fused[expected.winners]))


def test_ledger_names_the_units_that_the_method_names(fitted_each: Lake, noise_pictures: list[Picture]) -> None:
    picture = noise_pictures[N_NORMALS]
    result, expected = fitted_each.score(picture), naive(fitted_each, noise_pictures[:N_NORMALS], picture)
    for patch in (result.patch, int(np.flatnonzero(expected.inside)[0])):
        ledger = result.ledger(patch)
        visual = ledger[ledger["part"] == "visual"]
        found = {(row["layer"], row["unit"]): row["contribution"] for row in visual.to_dict("records")}
        assert found.keys() == expected.terms[patch].keys()
        for key, term in expected.terms[patch].items():
            assert found[key] == pytest.approx((1 - result.text_weight) * term, rel=2e-3, abs=1e-6)


# The ledger ----------------------------------------------------------------------------------------------------------


def test_ledger_adds_up_at_every_patch_of_every_picture(fitted: Lake, noise_pictures: list[Picture]) -> None:
    for result in fitted.reweighed(text_weight=0.3).score_all(noise_pictures):
        fused = result.map.reshape(-1)
        for patch in np.flatnonzero(result.witnesses.inside):
            assert total(result.ledger(int(patch))) == pytest.approx(float(fused[patch]), rel=1e-4)


def test_ledger_adds_up_to_the_score_whatever_the_weights(fitted: Lake, noise_pictures: list[Picture]) -> None:
    witnesses = [fitted.measure(picture) for picture in (noise_pictures[0], noise_pictures[4])]
    for weight, top_q, own in product([0.0, 0.3, 1.0], [1, 5], witnesses):
        result = fitted.reweighed(text_weight=weight, top_q=top_q).fuse(own)
        w = result.text_weight
        assert w == (weight if fitted.normality_.text is not None else 0.0)
        ledger = result.ledger()
        assert ledger["contribution"].dtype == np.float64
        assert total(ledger) == pytest.approx(result.score, rel=1e-4)
        assert result.score == pytest.approx((1 - w) * result.visual + w * result.cross_modal, rel=1e-6)
        parts = ledger.groupby("part")["contribution"].sum()
        assert parts["visual"] == pytest.approx((1 - w) * result.visual, rel=1e-4, abs=1e-9)
        assert ("cross_modal" in parts) == (fitted.normality_.text is not None)
        if "cross_modal" in parts:
            assert parts["cross_modal"] == pytest.approx(w * result.cross_modal, rel=1e-6, abs=1e-9)


def test_levels_of_the_ledger_are_sums_of_each_other(fitted: Lake, noise_pictures: list[Picture]) -> None:
    result = fitted.reweighed(text_weight=0.3).score(noise_pictures[4])
    unit, layer, part = result.ledger(), result.ledger(level="layer"), result.ledger(level="part")
    assert (
        total(unit)
        == pytest.approx(total(layer))
        == pytest.approx(total(part))
        == pytest.approx(result.score, rel=1e-4)
    )
    pd.testing.assert_series_equal(
        layer.groupby("part")["contribution"].sum(), part.groupby("part")["contribution"].sum()
    )
    numbers = list(fitted.selection_)
    assert layer["layer"].dropna().tolist() == numbers
    assert unit["layer"].dropna().unique().tolist() == numbers
    for number in numbers:
        rows = unit[unit["layer"] == number]
        assert sorted(rows["unit"]) == sorted(fitted.selection_[number].units)
        assert rows["contribution"].is_monotonic_decreasing
        assert (rows["contribution"] >= 0).all()
        expected = layer.loc[layer["layer"] == number, "contribution"].item()
        assert rows["contribution"].sum() == pytest.approx(expected)
    if fitted.normality_.text is not None:
        last = unit.iloc[-1]
        assert last["part"] == "cross_modal"
        assert last[["layer", "unit"]].isna().all()


def test_ledger_of_the_mean_of_the_top_q_is_the_mean_of_theirs(lakes: Any, noise_pictures: list[Picture]) -> None:
    result = lakes("convnext", "channel, unit, letterbox", top_q=5).score(noise_pictures[5])
    assert len(result.patches) == 5
    each = [result.ledger(int(patch)).set_index(["layer", "unit"])["contribution"] for patch in result.patches]
    mean = pd.concat(each).groupby(level=[0, 1], dropna=False).mean()
    whole = result.ledger().set_index(["layer", "unit"])["contribution"]
    pd.testing.assert_series_equal(whole.sort_index(), mean.sort_index(), check_names=False)


def test_ledger_adds_up_on_a_fine_grid_over_coarse_layers(lakes: Any, noise_pictures: list[Picture]) -> None:
    result = lakes("efficientnet", "hidden, text off", finest=16, text_weight=0.3).score(noise_pictures[6])
    assert result.map.shape == (16, 16)
    grids = {w.normality.grid.rows for w in result.witnesses.layers}
    assert grids == {16, 8, 4, 2}
    for patch in range(256):
        assert total(result.ledger(patch)) == pytest.approx(float(result.map.reshape(-1)[patch]), rel=1e-4)


def test_coarse_layers_give_each_fine_patch_a_value_that_was_computed(
    lakes: Any, noise_pictures: list[Picture]
) -> None:
    lake = lakes("efficientnet", "hidden, text off", finest=16)
    witnesses = lake.score(noise_pictures[6]).witnesses
    expected = np.zeros((16, 16))
    for layer in witnesses.layers:
        side = layer.normality.grid.rows
        share = (layer.distance / layer.normality.tau).numpy().reshape(side, side)
        expected += np.kron(share, np.ones((16 // side, 16 // side))) / len(witnesses.layers)
    np.testing.assert_allclose(witnesses.visual.reshape(16, 16), expected, rtol=1e-5)


# Evidence and weighing -----------------------------------------------------------------------------------------------


def test_evidence_points_to_the_normal_patch_at_that_distance(fitted: Lake, noise_pictures: list[Picture]) -> None:
    result = fitted.reweighed(text_weight=0.3).score(noise_pictures[4])
    config = fitted.config
    for found in result.evidence():
        place = fitted.backbone.place(found.layer, config.kind)
        grid, units = fitted.backbone.layer(found.layer).grid, fitted.selection_[found.layer].units

        def vector(
            picture: Picture, patch: int, place: Any = place, grid: Any = grid, units: Any = units
        ) -> np.ndarray:
            acts = fitted.store.get(picture, place).numpy()[None]
            return naive_subspace(acts, units, grid, config.smooth, config.normalise)[0, patch]

        normal = fitted.normals_[found.normal_picture]
        distance = ((vector(result.picture, found.patch) - vector(normal, found.normal_patch)) ** 2).sum()
        assert distance == pytest.approx(found.distance, rel=1e-3, abs=1e-5)
        row = result.ledger(result.patch, "layer").set_index("layer")["contribution"][found.layer]
        share = (1 - result.text_weight) * found.distance / found.tau / len(result.evidence())
        assert row == pytest.approx(share, rel=1e-4, abs=1e-9)


def test_reweighing_equals_fitting_again(fitted: Lake, noise_pictures: list[Picture]) -> None:
    changes = {"text_weight": 0.8, "top_q": 3, "threshold_quantile": 0.5}
    own = {name: getattr(fitted.config, name) for name in ("text_weight", "top_q", "threshold_quantile")}
    config = LakeConfig(**{name: getattr(fitted.config, name) for name in LakeConfig.__dataclass_fields__} | changes)
    again = Lake(fitted.backbone, config, fitted.store).fit(noise_pictures[:N_NORMALS])
    reweighed = fitted.reweighed(**changes)
    assert reweighed.config == again.config
    assert isinstance(reweighed.config, ResolvedConfig)
    np.testing.assert_allclose(reweighed.normal_scores_, again.normal_scores_)
    assert reweighed.threshold_ == pytest.approx(again.threshold_)
    one, other = reweighed.score(noise_pictures[5]), again.score(noise_pictures[5])
    assert one.score == pytest.approx(other.score)
    np.testing.assert_allclose(one.map, other.map)
    assert one.threshold == again.threshold_
    assert own == {name: getattr(fitted.config, name) for name in own}


def test_the_same_witnesses_can_be_fused_with_any_weight(lakes: Any, noise_pictures: list[Picture]) -> None:
    lake = lakes("siglip", "channel, unit, letterbox")
    witnesses = lake.measure(noise_pictures[5])
    for weight in (0.0, 0.4, 1.0):
        other = lake.reweighed(text_weight=weight)
        assert other.fuse(witnesses).score == pytest.approx(other.score(noise_pictures[5]).score)


# Borders -------------------------------------------------------------------------------------------------------------


def test_patches_off_a_letterboxed_picture_are_nan_and_never_decide(lakes: Any, noise_pictures: list[Picture]) -> None:
    result = lakes("native-vit", "channel, unit, letterbox", top_q=20).score(noise_pictures[5])
    # 50 x 30 pixels in 40 x 40: 24 rows from 8 on, so the rows of patches 1 to 3 of 0 to 4.
    expected = np.zeros((5, 5), bool)
    expected[1:4] = True
    np.testing.assert_array_equal(np.isfinite(result.map), expected)
    np.testing.assert_array_equal(np.isfinite(result.visual_map), expected)
    np.testing.assert_array_equal(np.isfinite(result.cross_modal_map), expected)
    assert sorted(result.patches) == list(range(5, 20))
    assert result.score == pytest.approx(np.nanmean(result.map), rel=1e-6)
    for patch in (0, 24, 25, -1):
        with pytest.raises(ValueError, match="not on the picture"):
            result.ledger(patch)


def test_the_gallery_of_letterboxed_pictures_has_only_patches_on_them(lakes: Any) -> None:
    for layer in lakes("native-vit", "channel, unit, letterbox").normality_.layers:
        assert sorted(set(layer.gallery_patch.tolist())) == list(range(5, 20))


def test_without_patch_directions_the_cross_modal_part_is_left_out(lakes: Any, noise_pictures: list[Picture]) -> None:
    lake = lakes("native-vit-attention-pool", "channel, unit, letterbox")
    assert [w for w in lake.normality_.warnings if "cross-modal part is left out" in w]
    result = lake.score(noise_pictures[5])
    assert (result.text_weight, result.cross_modal) == (0.0, 0.0)
    assert result.score == pytest.approx(result.visual)
    assert result.witnesses.image_probability is None
    assert result.ledger(level="part")["part"].tolist() == ["visual"]


def test_the_image_probability_is_the_softmax_of_the_whole_image(lakes: Any, noise_pictures: list[Picture]) -> None:
    lake = lakes("eva02", "channel, unit, letterbox")
    backbone, picture = lake.backbone, noise_pictures[5]
    image = backbone.forward(backbone.prepare(picture)[None], {backbone.image_place})[backbone.image_place][0, 0]
    directions = lake.normality_.text.directions
    logits = np.exp(3.0) * torch.stack([image @ directions.normal, image @ directions.anomalous]).double().numpy()
    expected = np.exp(logits[1]) / np.exp(logits).sum()
    assert lake.score(picture).witnesses.image_probability == pytest.approx(expected, rel=1e-4)
    assert 0.02 < expected < 0.98


def test_the_score_is_anomalous_above_the_threshold_only(lakes: Any, noise_pictures: list[Picture]) -> None:
    witnesses = lakes("siglip", "channel, unit, letterbox").measure(noise_pictures[5])
    score = ImageScore(witnesses, 0.3, 1, 0.0).score
    assert ImageScore(witnesses, 0.3, 1, score - 1e-6).is_anomalous
    assert not ImageScore(witnesses, 0.3, 1, score).is_anomalous


def test_top_patches_break_ties_by_the_lower_index_and_stay_on_the_picture() -> None:
    fused = np.array([9.0, 1.0, 3.0, 3.0, 2.0])
    inside = np.array([False, True, True, True, True])
    assert top_patches(fused, inside, 1).tolist() == [2]
    assert top_patches(fused, inside, 3).tolist() == [2, 3, 4]
    assert top_patches(fused, inside, 99).tolist() == [2, 3, 4, 1]


def test_fusion_is_linear_in_the_weight() -> None:
    v, c = np.array([1.0, 2.0], np.float32), np.array([4.0, 0.0], np.float32)
    np.testing.assert_allclose(fused_map(v, c, 0.25), [1.75, 1.5])
    np.testing.assert_allclose(fused_map(v, None, 0.25), v)
