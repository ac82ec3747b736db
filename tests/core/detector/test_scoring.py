"""Scores, maps and contributions, against sections 1 to 5 of the method written again from scratch in double
precision."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig, ResolvedConfig
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from lake_core.detector.scoring import fused_maps, pooled
from lake_core.findings.fits import TextLeftOut
from tests.core.method import CASES, N_NORMALS, agree, layers_of, naive, naive_subspace, site_of, total
from tests.core.tiny import OpenTiny, each_shape

# The method again ----------------------------------------------------------------------------------------------------


# Cases ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lakes(open_tiny: OpenTiny, noise_images: list[InputImage]) -> Any:
    """Fitted detectors by family, case and finest grid, each made once."""
    stores: dict[Backbone, FeatureStore] = {}

    def make(name: str, case: str, finest: int = 8, **changes: Any) -> Lake:
        resize, options = CASES[case]
        backbone = open_tiny(name, resize=resize)
        store = stores.setdefault(backbone, FeatureStore(backbone))
        site = site_of(backbone, options["site"])
        options = options | {"site": site, "layers": layers_of(backbone, site, finest)} | changes
        return Lake(backbone, LakeConfig(**options), store).fit(noise_images[:N_NORMALS])

    return make


@pytest.fixture(params=each_shape(CASES))
def fitted_each(request: pytest.FixtureRequest, lakes: Any) -> Lake:
    """A detector of every family in every case, over several layers, with different grids where the tower has them."""
    return lakes(*request.param)


@pytest.fixture(params=each_shape(list(CASES)[:2]))
def fitted(request: pytest.FixtureRequest, lakes: Any) -> Lake:
    """The same for the first two cases, which between them take both kinds, both scalings and both resizings."""
    return lakes(*request.param)


# Against the naive implementation ------------------------------------------------------------------------------------


def test_maps_and_score_agree_with_the_method_written_again(fitted_each: Lake, noise_images: list[InputImage]) -> None:
    for image in noise_images[N_NORMALS : N_NORMALS + 2]:
        result, expected = fitted_each.explain(image), naive(fitted_each, noise_images[:N_NORMALS], image)
        grid = result.patch_scores.grid
        hidden = np.where(expected.inside, 1, np.nan).reshape(grid.rows, grid.cols)
        agree(result.visual_map, expected.visual.reshape(hidden.shape) * hidden)
        agree(result.map, expected.fused.reshape(hidden.shape) * hidden)
        if expected.text_part is None:
            assert result.text_map is None
        else:
            assert result.text_map is not None
            agree(result.text_map, expected.text_part.reshape(hidden.shape) * hidden)
        assert result.score == pytest.approx(expected.score, rel=5e-4)
        agree(np.sort(expected.fused[result.patches]), np.sort(expected.fused[expected.winners]))


def test_contributions_names_the_neurons_that_the_method_names(
    fitted_each: Lake, noise_images: list[InputImage]
) -> None:
    image = noise_images[N_NORMALS]
    result, expected = fitted_each.explain(image), naive(fitted_each, noise_images[:N_NORMALS], image)
    for patch in (result.patch, int(np.flatnonzero(expected.inside)[0])):
        contributions = result.contributions(patch)
        visual = contributions[contributions["part"] == "visual"]
        found = {(row["layer"], row["neuron"]): row["contribution"] for row in visual.to_dict("records")}
        assert found.keys() == expected.shares[patch].keys()
        for key, term in expected.shares[patch].items():
            assert found[key] == pytest.approx((1 - result.fusion_weight) * term, rel=2e-3, abs=1e-6)


# The contributions
# ----------------------------------------------------------------------------------------------------------


def test_contributions_adds_up_at_every_patch_of_every_image(fitted: Lake, noise_images: list[InputImage]) -> None:
    results = fitted.with_weights(fusion_weight=0.3).explain_all(noise_images)
    assert [result.image for result in results] == noise_images
    for result in results:
        fused = result.map.reshape(-1)
        assert np.array_equal(result.patch_scores.inside, np.isfinite(fused))
        assert result.patch_scores.inside.any()
        for patch in np.flatnonzero(result.patch_scores.inside):
            assert total(result.contributions(int(patch))) == pytest.approx(float(fused[patch]), rel=1e-4)


def test_contributions_adds_up_to_the_score_whatever_the_weights(fitted: Lake, noise_images: list[InputImage]) -> None:
    patch_scores = [fitted.compute_maps(image) for image in (noise_images[0], noise_images[4])]
    for weight, top_q, own in product([0.0, 0.3, 1.0], [1, 5], patch_scores):
        result = fitted.with_weights(fusion_weight=weight, top_q=top_q).aggregate(own)
        w = result.fusion_weight
        assert w == (weight if fitted.memory_bank_.text is not None else 0.0)
        contributions = result.contributions()
        assert contributions["contribution"].dtype == np.float64
        assert total(contributions) == pytest.approx(result.score, rel=1e-4)
        assert result.score == pytest.approx((1 - w) * result.visual + w * result.text, rel=1e-6)
        parts = contributions.groupby("part")["contribution"].sum()
        assert parts["visual"] == pytest.approx((1 - w) * result.visual, rel=1e-4, abs=1e-9)
        assert ("text" in parts) == (fitted.memory_bank_.text is not None)
        if "text" in parts:
            assert parts["text"] == pytest.approx(w * result.text, rel=1e-6, abs=1e-9)


def test_levels_of_the_contributions_are_sums_of_each_other(fitted: Lake, noise_images: list[InputImage]) -> None:
    result = fitted.with_weights(fusion_weight=0.3).explain(noise_images[4])
    neuron, layer, part = (
        result.contributions(),
        result.contributions(level="layer"),
        result.contributions(level="part"),
    )
    assert (
        total(neuron)
        == pytest.approx(total(layer))
        == pytest.approx(total(part))
        == pytest.approx(result.score, rel=1e-4)
    )
    pd.testing.assert_series_equal(
        layer.groupby("part")["contribution"].sum(), part.groupby("part")["contribution"].sum()
    )
    numbers = list(fitted.selection_)
    assert layer["layer"].dropna().tolist() == numbers
    assert neuron["layer"].dropna().unique().tolist() == numbers
    for number in numbers:
        rows = neuron[neuron["layer"] == number]
        assert sorted(rows["neuron"]) == sorted(fitted.selection_[number].neurons)
        assert rows["contribution"].is_monotonic_decreasing
        assert (rows["contribution"] >= 0).all()
        expected = layer.loc[layer["layer"] == number, "contribution"].item()
        assert rows["contribution"].sum() == pytest.approx(expected)
    if fitted.memory_bank_.text is not None:
        last = neuron.iloc[-1]
        assert last["part"] == "text"
        assert last[["layer", "neuron"]].isna().all()


def test_contributions_of_the_mean_of_the_top_q_is_the_mean_of_theirs(
    lakes: Any, noise_images: list[InputImage]
) -> None:
    result = lakes("convnext", "channel, neuron, letterbox", top_q=5).explain(noise_images[5])
    assert len(result.patches) == 5
    each = [result.contributions(int(patch)).set_index(["layer", "neuron"])["contribution"] for patch in result.patches]
    mean = pd.concat(each).groupby(level=[0, 1], dropna=False).mean()
    whole = result.contributions().set_index(["layer", "neuron"])["contribution"]
    pd.testing.assert_series_equal(whole.sort_index(), mean.sort_index(), check_names=False)


def test_contributions_adds_up_on_a_fine_grid_over_coarse_layers(lakes: Any, noise_images: list[InputImage]) -> None:
    result = lakes("efficientnet", "hidden, text off", finest=16, fusion_weight=0.3).explain(noise_images[6])
    assert result.map.shape == (16, 16)
    grids = {w.memory_bank.grid.rows for w in result.patch_scores.layers}
    assert grids == {16, 8, 4, 2}
    for patch in range(256):
        assert total(result.contributions(patch)) == pytest.approx(float(result.map.reshape(-1)[patch]), rel=1e-4)


def test_coarse_layers_give_each_fine_patch_a_value_that_was_computed(
    lakes: Any, noise_images: list[InputImage]
) -> None:
    lake = lakes("efficientnet", "hidden, text off", finest=16)
    patch_scores = lake.explain(noise_images[6]).patch_scores
    expected = np.zeros((16, 16))
    for layer in patch_scores.layers:
        side = layer.memory_bank.grid.rows
        share = (layer.distance / layer.memory_bank.tau).numpy().reshape(side, side)
        expected += np.kron(share, np.ones((16 // side, 16 // side))) / len(patch_scores.layers)
    np.testing.assert_allclose(patch_scores.visual.reshape(16, 16), expected, rtol=1e-5)


# Evidence and weighing -----------------------------------------------------------------------------------------------


def test_evidence_points_to_the_normal_patch_at_that_distance(fitted: Lake, noise_images: list[InputImage]) -> None:
    result = fitted.with_weights(fusion_weight=0.3).explain(noise_images[4])
    config = fitted.config
    assert [found.layer for found in result.evidence()] == list(fitted.selection_)
    for found in result.evidence():
        hook_point = fitted.backbone.hook_point(found.layer, config.site)
        grid, neurons = fitted.backbone.layer(found.layer).grid, fitted.selection_[found.layer].neurons

        def vector(
            image: InputImage, patch: int, hook_point: Any = hook_point, grid: Any = grid, neurons: Any = neurons
        ) -> np.ndarray:
            acts = fitted.store.get(image, hook_point).numpy()[None]
            return naive_subspace(acts, neurons, grid, config.smooth, config.normalise)[0, patch]

        normal = fitted.normals_[found.normal_image]
        distance = ((vector(result.image, found.patch) - vector(normal, found.normal_patch)) ** 2).sum()
        assert distance == pytest.approx(found.distance, rel=1e-3, abs=1e-5)
        row = result.contributions(result.patch, "layer").set_index("layer")["contribution"][found.layer]
        share = (1 - result.fusion_weight) * found.distance / found.tau / len(result.evidence())
        assert row == pytest.approx(share, rel=1e-4, abs=1e-9)


def test_other_weights_equals_fitting_again(fitted: Lake, noise_images: list[InputImage]) -> None:
    changes = {"fusion_weight": 0.8, "top_q": 3, "threshold_quantile": 0.5}
    own = {name: getattr(fitted.config, name) for name in ("fusion_weight", "top_q", "threshold_quantile")}
    config = LakeConfig(**{name: getattr(fitted.config, name) for name in LakeConfig.__dataclass_fields__} | changes)
    again = Lake(fitted.backbone, config, fitted.store).fit(noise_images[:N_NORMALS])
    with_weights = fitted.with_weights(**changes)
    assert with_weights.config == again.config
    assert isinstance(with_weights.config, ResolvedConfig)
    np.testing.assert_allclose(with_weights.normal_scores_, again.normal_scores_)
    assert with_weights.threshold_ == pytest.approx(again.threshold_)
    one, other = with_weights.explain(noise_images[5]), again.explain(noise_images[5])
    assert one.score == pytest.approx(other.score)
    np.testing.assert_allclose(one.map, other.map)
    assert one.threshold == again.threshold_
    assert own == {name: getattr(fitted.config, name) for name in own}


def test_the_same_patch_scores_can_be_fused_with_any_weight(lakes: Any, noise_images: list[InputImage]) -> None:
    lake = lakes("siglip", "channel, neuron, letterbox")
    patch_scores = lake.compute_maps(noise_images[5])
    for weight in (0.0, 0.4, 1.0):
        other = lake.with_weights(fusion_weight=weight)
        assert other.aggregate(patch_scores).score == pytest.approx(other.explain(noise_images[5]).score)


# Borders -------------------------------------------------------------------------------------------------------------


def test_patches_off_a_letterboxed_image_are_nan_and_never_decide(lakes: Any, noise_images: list[InputImage]) -> None:
    result = lakes("native-vit", "channel, neuron, letterbox", top_q=20).explain(noise_images[5])
    # 50 x 30 pixels in 40 x 40: 24 rows from 8 on, so the rows of patches 1 to 3 of 0 to 4.
    expected = np.zeros((5, 5), bool)
    expected[1:4] = True
    np.testing.assert_array_equal(np.isfinite(result.map), expected)
    np.testing.assert_array_equal(np.isfinite(result.visual_map), expected)
    np.testing.assert_array_equal(np.isfinite(result.text_map), expected)
    assert sorted(result.patches) == list(range(5, 20))
    assert result.score == pytest.approx(np.nanmean(result.map), rel=1e-6)
    for patch in (0, 24, 25, -1):
        with pytest.raises(ValueError, match="not on the image"):
            result.contributions(patch)


def test_the_memory_bank_of_letterboxed_images_has_only_patches_on_them(lakes: Any) -> None:
    layers = lakes("native-vit", "channel, neuron, letterbox").memory_bank_.layers
    assert len(layers) == 3
    for layer in layers:
        assert sorted(set(layer.bank_patch.tolist())) == list(range(5, 20))


def test_without_patch_directions_the_text_part_is_left_out(lakes: Any, noise_images: list[InputImage]) -> None:
    lake = lakes("native-vit-attention-pool", "channel, neuron, letterbox")
    assert lake.memory_bank_.warnings == (TextLeftOut("no patch directions", lake.backbone.spec),)
    result = lake.explain(noise_images[5])
    assert (result.fusion_weight, result.text) == (0.0, 0.0)
    assert result.score == pytest.approx(result.visual)
    assert result.patch_scores.image_probability is None
    assert result.contributions(level="part")["part"].tolist() == ["visual"]


def test_the_image_probability_is_the_softmax_of_the_whole_image(lakes: Any, noise_images: list[InputImage]) -> None:
    lake = lakes("eva02", "channel, neuron, letterbox")
    backbone, image = lake.backbone, noise_images[5]
    vector = backbone.forward(backbone.prepare(image)[None], {backbone.image_hook_point})[backbone.image_hook_point][
        0, 0
    ]
    directions = lake.memory_bank_.text.directions
    logits = np.exp(3.0) * torch.stack([vector @ directions.normal, vector @ directions.anomalous]).double().numpy()
    expected = np.exp(logits[1]) / np.exp(logits).sum()
    assert lake.explain(image).patch_scores.image_probability == pytest.approx(expected, rel=1e-4)
    assert 0.02 < expected < 0.98


def test_the_score_is_anomalous_above_the_threshold_only(lakes: Any, noise_images: list[InputImage]) -> None:
    patch_scores = lakes("siglip", "channel, neuron, letterbox").compute_maps(noise_images[5])
    score = ImageResult(patch_scores, 0.3, 1, 0.0).score
    assert ImageResult(patch_scores, 0.3, 1, score - 1e-6).is_anomalous
    assert not ImageResult(patch_scores, 0.3, 1, score).is_anomalous


def test_pooling_breaks_ties_by_the_lower_index_and_stays_on_the_image() -> None:
    fused = torch.tensor([9.0, 1.0, 3.0, 3.0, 2.0], dtype=torch.float64)
    inside = torch.tensor([False, True, True, True, True])
    assert pooled(fused, inside, 1).patches.tolist() == [2]
    assert pooled(fused, inside, 3).patches.tolist() == [2, 3, 4]
    assert pooled(fused, inside, 99).patches.tolist()[:4] == [2, 3, 4, 1]


@pytest.mark.parametrize("top_q", [1, 2, 3, 9])
def test_images_pooled_together_score_as_each_alone(top_q: int) -> None:
    fused = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inside = torch.ones(4, 6, dtype=torch.bool)
    inside[1, 2:] = False
    expected = [sorted(row[on].tolist())[::-1][:top_q] for row, on in zip(fused, inside, strict=True)]
    np.testing.assert_allclose(pooled(fused, inside, top_q).score, [np.mean(values) for values in expected])


def test_fusion_is_linear_in_the_weight() -> None:
    v, t = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 0.0])
    np.testing.assert_allclose(fused_maps(v, t, 0.25), [1.75, 1.5])
    np.testing.assert_allclose(fused_maps(v, None, 0.25), v)
