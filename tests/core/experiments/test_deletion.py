"""Deletion, insertion and occlusion: where curves begin and end, what is exchanged, and what the areas mean."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from lake_core.backbones.opening import open_backbone
from lake_core.backbones.patch_grid import PatchGrid, placement_in
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage, read_image
from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from lake_core.errors import ConfigError
from lake_core.experiments.deletion import (
    Curve,
    CurveConfig,
    curve,
    faithfulness,
    patch_of_pixels,
    replacement_of,
    scored,
)
from lake_core.experiments.occlusion import occlusion, rank_correlation, regions
from lake_core.neurons.attribution import baseline_of
from tests.core.images import spotted
from tests.core.method import layers_of, site_of
from tests.core.running import Cancelled, in_threads
from tests.core.tiny import OpenTiny, Tiny


@pytest.fixture
def lake(shape: Tiny, noise_images: list[InputImage]) -> Lake:
    site = site_of(shape.backbone, "mlp_hidden")
    layers = layers_of(shape.backbone, site, 8)
    return Lake(shape.backbone, LakeConfig(site=site, layers=layers, top_k=8)).fit(noise_images[:3])


@pytest.fixture(scope="module")
def spots(one_thread: None) -> Lake:
    backbone = open_backbone("lake-cnn", image_size=128)
    return Lake(backbone, LakeConfig(layers=(12, 15), top_k=50)).fit([spotted(seed) for seed in range(4)])


def score_of(lake: Lake, image: InputImage, pixels: torch.Tensor) -> float:
    """The score of another input than the image's own, in one pass of its own."""
    found = lake.backbone.forward(pixels[None], lake.hook_points)
    return lake.aggregate(lake.compute_maps_from(image, {hook_point: t[0] for hook_point, t in found.items()})).score


def handmade(direction: str, by_map: list[float], at_random: list[float]) -> Curve:
    image = read_image(np.zeros((16, 16, 3), np.uint8))
    shares = np.linspace(0, 1, len(by_map))
    config = CurveConfig(direction, "blurred", n_orders=1)  # type: ignore[arg-type]
    return Curve(image, config, shares, np.array(by_map), np.array([at_random]))


# Curves --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replacement", ["blurred", "normal"])
def test_deletion_goes_from_the_image_to_its_replacement_and_insertion_back(
    lake: Lake, noise_images: list[InputImage], replacement: Any
) -> None:
    image, backbone = noise_images[5], lake.backbone
    own = backbone.prepare(image)
    if replacement == "blurred":
        other = baseline_of(own, backbone.placement(image), "blurred")
    else:
        normals = [backbone.prepare(normal) for normal in noise_images[:3]]
        other = min(normals, key=lambda normal: float((normal - own).square().sum()))
    deletion = curve(lake, image, CurveConfig("deletion", replacement, n_steps=4, n_orders=2))
    insertion = curve(lake, image, CurveConfig("insertion", replacement, n_steps=4, n_orders=2))
    for one, first, last in ((deletion, own, other), (insertion, other, own)):
        assert one.by_map[0] == pytest.approx(score_of(lake, image, first), rel=1e-4, abs=1e-6)
        assert one.by_map[-1] == pytest.approx(score_of(lake, image, last), rel=1e-4, abs=1e-6)
        assert (one.at_random[:, [0, -1]] == one.by_map[[0, -1]]).all()
        assert one.by_map.shape == (5,)
        assert one.at_random.shape == (2, 5)
        assert (one.shares[0], one.shares[-1]) == (0, 1)
    assert deletion.by_map[0] == pytest.approx(lake.explain(image).score, rel=1e-4)
    assert deletion.by_map[0] != pytest.approx(deletion.by_map[-1], rel=1e-2)


def test_each_step_exchanges_the_hottest_patches_first(open_tiny: OpenTiny, noise_images: list[InputImage]) -> None:
    """On a ViT of 8-pixel patches, exchanging a patch is exchanging its square of pixels."""
    backbone = open_tiny("native-vit")
    lake = Lake(backbone, LakeConfig(layers=(2, 3), site="mlp_hidden", top_k=8)).fit(noise_images[:3])
    image = noise_images[5]
    result, pixels = lake.explain(image), backbone.prepare(image)
    other = replacement_of(lake, image, "blurred")
    found = curve(lake, image, CurveConfig("deletion", "blurred", n_steps=5, n_orders=1))
    np.testing.assert_allclose(found.shares, [0, 0.2, 0.4, 0.6, 0.8, 1])
    for step, n in ((1, 5), (3, 15)):
        changed = pixels.clone()
        for patch in sorted(range(25), key=lambda patch: -result.map.reshape(-1)[patch])[:n]:
            rows, cols = slice(patch // 5 * 8, patch // 5 * 8 + 8), slice(patch % 5 * 8, patch % 5 * 8 + 8)
            changed[:, rows, cols] = other[:, rows, cols]
        assert found.by_map[step] == pytest.approx(score_of(lake, image, changed), rel=1e-4)


def test_areas_are_positive_where_the_map_does_better() -> None:
    sooner, later = [1.0, 0.2, 0.1, 0.0], [1.0, 0.8, 0.6, 0.0]
    assert handmade("deletion", sooner, later).area == pytest.approx((0.6 + 0.5) / 3)
    assert handmade("deletion", later, sooner).area == pytest.approx(-(0.6 + 0.5) / 3)
    assert handmade("insertion", sooner[::-1], later[::-1]).area < 0
    assert handmade("insertion", later[::-1], sooner[::-1]).area == pytest.approx((0.6 + 0.5) / 3)


def test_scores_beyond_the_ends_count_as_the_ends() -> None:
    assert handmade("deletion", [1.0, 1.0, 0.0], [1.0, 9.0, 0.0]).area == 0
    assert handmade("insertion", [0.0, 1.0, 1.0], [0.0, 9.0, 1.0]).area == 0


def test_a_replacement_that_scores_higher_is_marked() -> None:
    warned = handmade("deletion", [1.0, 3.0, 2.0], [1.0, 3.0, 2.0])
    assert (warned.finding.image_score, warned.finding.replacement_score) == (1, 2)
    assert warned.finding.is_replacement_anomalous
    assert handmade("insertion", [2.0, 3.0, 1.0], [2.0, 3.0, 1.0]).finding.is_replacement_anomalous
    assert not handmade("deletion", [2.0, 1.0, 1.0], [2.0, 3.0, 1.0]).finding.is_replacement_anomalous


def test_on_a_drawn_spot_the_map_beats_random_orders(spots: Lake) -> None:
    defective = [spotted(30, defect=True), spotted(31, defect=True)]
    done: list[tuple[int, int]] = []
    found = faithfulness(spots, defective, CurveConfig(n_steps=6, n_orders=3), lambda *step: done.append(step))
    each = 2 + 4 * 5
    assert done[-1] == (2 * each, 2 * each)
    assert [n for n, _ in done] == sorted(n for n, _ in done)
    assert [one.image.sha256 for one in found.curves] == [image.sha256 for image in defective]
    assert found.mean_area == pytest.approx(np.mean([one.area for one in found.curves]))
    for one in found.curves:
        assert not one.finding.is_replacement_anomalous
        assert one.area > 0.02 * (one.by_map[0] - one.by_map[-1])
    assert (found.finding.n_better, found.finding.n_images, found.finding.n_anomalous_replacements) == (2, 2, 0)


def test_curves_are_reproducible_and_leave_the_store_alone(spots: Lake) -> None:
    image = spotted(30, defect=True)
    spots.explain(image)
    n_before, n_bytes = spots.store.n_forwards, spots.store.n_bytes
    one, again, other = (curve(spots, image, CurveConfig(n_steps=3, n_orders=1, seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.at_random, again.at_random)
    np.testing.assert_array_equal(one.by_map, other.by_map)
    assert not np.array_equal(one.at_random, other.at_random)
    assert (spots.store.n_forwards, spots.store.n_bytes) == (n_before, n_bytes)


def test_cancelling_leaves_everything_usable(spots: Lake) -> None:
    image = spotted(30, defect=True)
    before = curve(spots, image, CurveConfig(n_steps=3, n_orders=1))

    def stop(_done: int, _in_all: int) -> None:
        raise Cancelled

    for work in (curve, occlusion):
        with pytest.raises(Cancelled):
            work(spots, image, on_progress=stop)
    np.testing.assert_array_equal(curve(spots, image, CurveConfig(n_steps=3, n_orders=1)).by_map, before.by_map)


def test_threads_get_their_own_curves(spots: Lake) -> None:
    images = [spotted(seed, defect=True) for seed in (30, 31, 32, 33)]
    expected = [curve(spots, image, CurveConfig(n_steps=3, n_orders=1)).by_map for image in images]

    def work(index: int) -> None:
        np.testing.assert_array_equal(
            curve(spots, images[index], CurveConfig(n_steps=3, n_orders=1)).by_map, expected[index]
        )

    in_threads(work)


def test_what_is_not_allowed_is_refused(spots: Lake) -> None:
    image = spotted(30)
    for options, said in (
        ({"direction": "sideways"}, "deletion, insertion"),
        ({"replacement": "black"}, "normal, blurred, mean"),
        ({"n_steps": 0}, "n_steps is 0"),
        ({"n_orders": 0}, "n_orders is 0"),
    ):
        with pytest.raises(ConfigError, match=said):
            CurveConfig(**options)
    with pytest.raises(ConfigError, match="give at least one"):
        faithfulness(spots, [])
    with pytest.raises(ConfigError, match="score, map"):
        occlusion(spots, image, "colour")  # type: ignore[arg-type]


# Pixels --------------------------------------------------------------------------------------------------------------


def test_pixels_belong_to_the_patch_they_lie_on_or_the_nearest_on_the_image() -> None:
    grid = PatchGrid(5, 5, 40, 40)
    own = patch_of_pixels(grid, placement_in(44, 44, 44, 44, "squash"))
    assert own.shape == (44, 44)
    assert (own[:8, :8] == 0).all()
    assert own[39, 39] == 24
    assert (own[40:, 40:] == 24).all()  # beyond the covered area
    letterboxed = patch_of_pixels(grid, placement_in(50, 30, 40, 40, "letterbox"))
    assert set(np.unique(letterboxed)) == set(range(5, 20))
    assert letterboxed[0, 0] == 5


def test_normal_content_fills_the_images_place_in_a_letterbox(
    open_tiny: OpenTiny, noise_images: list[InputImage]
) -> None:
    backbone = open_tiny("native-vit", resize="letterbox")
    upright = read_image(np.random.default_rng(0).integers(0, 256, (50, 30, 3), dtype=np.uint8))
    lake = Lake(backbone, LakeConfig(layers=(2,), site="mlp_hidden", top_k=8)).fit(noise_images[:2])
    filled = replacement_of(lake, upright, "normal")
    box = backbone.placement(upright)
    outside = torch.ones(40, 40, dtype=torch.bool)
    outside[box.top : box.top + box.height, box.left : box.left + box.width] = False
    assert not filled[:, outside].any()
    assert filled[:, ~outside].std() > 0.1
    found = curve(lake, upright, CurveConfig(n_steps=30, n_orders=1))
    assert len(found.shares) == 16  # 15 patches lie on the image


def test_scored_inputs_come_back_one_by_one(spots: Lake) -> None:
    images = [spotted(seed) for seed in range(5)]

    def inputs() -> Iterator[torch.Tensor]:
        yield from (spots.backbone.prepare(image) for image in images)

    found = [one.score for one in scored(spots, images[0], inputs(), 5)]
    np.testing.assert_allclose(found, [spots.explain(image).score for image in images], rtol=1e-4)


# Occlusion -----------------------------------------------------------------------------------------------------------


def test_occlusion_is_the_loss_when_a_region_is_covered(lake: Lake, noise_images: list[InputImage]) -> None:
    image, backbone = noise_images[5], lake.backbone
    for target in ("score", "map"):
        found = occlusion(lake, image, target, "blurred", n_regions=4)
        own, other = backbone.prepare(image), replacement_of(lake, image, "blurred")
        patch_of = patch_of_pixels(found.grid, backbone.placement(image))
        assert 1 < len(found.importance) == found.region.max() + 1 <= 4
        assert np.abs(found.importance).max() > 5e-3
        for number in range(len(found.importance)):
            covered = torch.where(torch.from_numpy(found.region[patch_of] == number), other, own)
            results = []
            for pixels in (own, covered):
                acts = backbone.forward(pixels[None], lake.hook_points)
                result = lake.aggregate(
                    lake.compute_maps_from(image, {hook_point: t[0] for hook_point, t in acts.items()})
                )
                results.append(result.score if target == "score" else float(np.nanmean(result.map)))
            assert found.importance[number] == pytest.approx(results[0] - results[1], abs=1e-4)
        assert found.region[lake.explain(image).patch] == found.max_scoring_region
        assert found.importance_map.shape == (found.grid.rows, found.grid.cols)


def test_covering_a_drawn_spot_matters_most(spots: Lake) -> None:
    rgb = spotted(30).rgb.copy()
    rgb[68:92, 68:92] = 20  # smaller than a region, wherever its borders are
    image, done = read_image(rgb), []
    found = occlusion(spots, image, n_regions=16, on_progress=lambda *step: done.append(step))
    n = len(found.importance)
    assert done[-1] == (n + 1, n + 1)
    assert found.rank_of_max_scoring_region == 1
    own = found.max_scoring_region
    assert found.importance[own] > 5 * np.delete(found.importance, own).max()
    finding = found.finding
    assert (finding.rank, finding.importance, finding.n_regions) == (1, found.importance[own], n)
    assert -1 <= found.correlation <= 1  # type: ignore[operator]


@pytest.mark.parametrize(("n_different", "is_ranked"), [(0, False), (1, False), (2, False), (3, True), (12, True)])
@pytest.mark.parametrize("swapped", [False, True])
def test_ranks_are_correlated_only_where_three_regions_differ(n_different: int, is_ranked: bool, swapped: bool) -> None:
    rng = np.random.default_rng(n_different)
    importance, by_map = rng.normal(size=12) * 1e-9, rng.normal(size=12)
    importance[:n_different] = rng.normal(size=n_different)
    found = rank_correlation(*((by_map, importance) if swapped else (importance, by_map)))
    if not is_ranked:
        assert found is None
        return
    importance[n_different:] = 0  # rounding is a tie
    assert found == pytest.approx(spearmanr(importance, by_map).statistic)


def test_an_image_with_one_region_that_matters_has_no_rank_correlation(
    spots: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_in_one(lake: Lake, result: ImageResult, region: np.ndarray, *_: Any) -> np.ndarray:
        importance: np.ndarray = np.eye(region.max() + 1)[0]
        return importance

    monkeypatch.setattr("lake_core.experiments.occlusion._importance", all_in_one)
    found = occlusion(spots, spotted(30), n_regions=16)
    assert found.correlation is found.finding.correlation is None


def test_the_finding_keeps_the_sign_of_an_importance(spots: Lake) -> None:
    found = occlusion(spots, spotted(30), n_regions=16)
    worse = replace(found, importance=-np.abs(found.importance) - 0.25)
    assert worse.finding.importance == worse.importance[worse.max_scoring_region] < 0


def test_regions_are_squares_of_patches_on_the_image() -> None:
    grid = PatchGrid(24, 24, 384, 384)
    found = regions(grid, np.ones(576, bool), 64, 25).reshape(24, 24)
    assert found.max() == 63
    np.testing.assert_array_equal(found[:3, :3], 0)
    assert (found[0, 3], found[3, 0]) == (1, 8)
    moved = regions(grid, np.ones(576, bool), 64, 24 * 6 + 12).reshape(24, 24)
    assert moved.max() < 64
    rows, cols = np.nonzero(moved == moved[6, 12])
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (4, 7, 10, 13)
    inside = np.zeros((24, 24), bool)
    inside[4:20] = True
    boxed = regions(grid, inside.reshape(-1), 1000, 100).reshape(24, 24)
    assert (boxed[~inside] == -1).all()
    assert boxed.max() == 16 * 24 - 1
    assert regions(grid, np.ones(576, bool), 1, 300).max() == 0
