"""Comparisons: differences of contributions against float64 ones, shared neurons against chance, paired intervals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.data.samples import load_sample
from lake_core.detector.lake import Lake
from lake_core.errors import LakeError
from lake_core.experiments.comparison import auroc_difference, compare_contributions, overlaps
from lake_core.metrics.image_metrics import auroc
from lake_core.visualization.colours import ScoreScale
from lake_core.visualization.overlays import Style, overlay
from tests.core.method import layers_of, naive, site_of
from tests.core.tiny import OpenTiny, each_shape

N_NORMALS = 3


@pytest.fixture(params=each_shape((1, 3)), scope="module")
def lake(request: pytest.FixtureRequest, open_tiny: OpenTiny, noise_images: list[InputImage]) -> Lake:
    name, top_q = request.param
    backbone = open_tiny(name)
    site = site_of(backbone, "mlp_hidden")
    config = LakeConfig(site=site, layers=layers_of(backbone, site, 8), top_k=9, fusion_weight=0.4, top_q=top_q)
    return Lake(backbone, config).fit(noise_images[:N_NORMALS])


@pytest.mark.parametrize("level", ["neuron", "layer", "part"])
def test_differences_add_up_to_the_difference_of_the_scores(
    lake: Lake, noise_images: list[InputImage], level: str
) -> None:
    a, b = lake.explain(noise_images[4]), lake.explain(noise_images[5])
    table = compare_contributions(a, b, level)  # type: ignore[arg-type]
    assert table["difference"].sum() == pytest.approx(a.score - b.score, rel=1e-3, abs=1e-4)
    assert table["contribution_a"].sum() == pytest.approx(a.score, rel=1e-4)
    assert table["contribution_b"].sum() == pytest.approx(b.score, rel=1e-4)
    assert table["difference"].abs().is_monotonic_decreasing
    assert len(table) == len(a.contributions(level=level))  # type: ignore[arg-type]
    keys = {"neuron": ["part", "layer", "neuron"], "layer": ["part", "layer"], "part": ["part"]}[level]
    assert list(table.columns) == [*keys, "contribution_a", "contribution_b", "difference"]


def test_each_neuron_has_the_two_contributions_that_the_method_gives_it(
    lake: Lake, noise_images: list[InputImage]
) -> None:
    pair = noise_images[4], noise_images[5]
    a, b = map(lake.explain, pair)
    naive_a, naive_b = (naive(lake, noise_images[:N_NORMALS], image) for image in pair)
    table = compare_contributions(a, b)
    visual = table[table["part"] == "visual"]
    named = set(zip(visual["layer"], visual["neuron"], strict=True))
    assert named == {key for patch in a.patches for key in naive_a.shares[int(patch)]}
    for row in visual.itertuples():
        key = int(row.layer), int(row.neuron)  # type: ignore[arg-type]
        for found, expected, result in ((row.contribution_a, naive_a, a), (row.contribution_b, naive_b, b)):
            mean = sum(expected.shares[int(patch)][key] for patch in result.patches) / len(result.patches)
            assert found == pytest.approx((1 - result.fusion_weight) * mean, rel=5e-3, abs=1e-6)


def test_detectors_with_other_neurons_and_without_text_are_compared_all_the_same(
    open_tiny: OpenTiny, noise_images: list[InputImage]
) -> None:
    backbone, normals = open_tiny("siglip"), noise_images[:N_NORMALS]
    one = Lake(backbone, LakeConfig(layers=(1,), site="mlp_hidden", top_k=5)).fit(normals).explain(noise_images[5])
    two = Lake(backbone, LakeConfig(layers=(1, 2), site="mlp_hidden", top_k=9)).fit(normals).explain(noise_images[5])
    table = compare_contributions(one, two)
    assert table["difference"].sum() == pytest.approx(one.score - two.score, rel=1e-4)
    assert (table.loc[table["layer"] == 2, "contribution_a"] == 0).all()
    assert (table["part"] == "text").sum() == 1
    assert len(table) == 9 + 9 + 1


def test_regions_can_be_compared(lake: Lake, noise_images: list[InputImage]) -> None:
    a, b = lake.explain(noise_images[4]), lake.explain(noise_images[5])
    table = compare_contributions(a, b, "part", patch_a=[0, 1], patch_b=2)
    flat_a, flat_b = a.map.reshape(-1), b.map.reshape(-1)
    assert table["difference"].sum() == pytest.approx(float(flat_a[:2].mean() - flat_b[2]), rel=1e-3, abs=1e-4)


# Two detectors --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def metal_lake() -> Lake:
    torch.set_num_threads(1)
    store = FeatureStore(open_backbone("lake-cnn", image_size=128))
    return Lake(store.backbone, LakeConfig(top_k=20), store).fit([e.image for e in load_sample("metal").normals[:3]])


def other(lake: Lake, **changes: object) -> Lake:
    return Lake(lake.backbone, replace(lake.config, **changes), lake.store).fit(lake.normals_)  # type: ignore[arg-type]


def test_a_larger_selection_contains_the_smaller_one(metal_lake: Lake) -> None:
    (found,) = overlaps(metal_lake, other(metal_lake, top_k=50))
    assert (len(found.common), len(found.only_first), len(found.only_second)) == (20, 0, 30)
    assert found.jaccard == pytest.approx(0.4)
    assert found.common.tolist() == metal_lake.selection_[found.layer].neurons.tolist()


def test_chance_is_what_random_selections_share_on_average(metal_lake: Lake) -> None:
    draws = [other(metal_lake, criterion="random", top_k=300, seed=seed) for seed in range(12)]
    found = [overlaps(a, b)[0] for i, a in enumerate(draws) for b in draws[:i]]
    assert np.mean([one.jaccard for one in found]) == pytest.approx(found[0].by_chance, abs=0.01)


def test_other_sites_and_layers_have_no_neuron_in_common_and_are_refused(metal_lake: Lake) -> None:
    with pytest.raises(LakeError, match="different neurons"):
        overlaps(metal_lake, other(metal_lake, site="residual_channel"))
    with pytest.raises(LakeError, match="no layer in common"):
        overlaps(metal_lake, other(metal_lake, layers=(12,)))


def test_the_difference_of_aurocs_is_taken_over_the_same_draws() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([False, True], 20)
    first = labels + rng.normal(0, 1, 40)
    second = first + rng.normal(0, 0.05, 40)
    found = auroc_difference(labels, first, second)
    assert found is not None
    ours, theirs = auroc(labels, first), auroc(labels, second)
    assert ours is not None
    assert theirs is not None
    assert found.value == pytest.approx(ours - theirs)
    assert found.bounds.high - found.bounds.low < 0.1  # the two intervals alone are three times as wide
    same = auroc_difference(labels, first, first)
    assert same is not None
    assert (same.value, *same.bounds) == (0, 0, 0)
    assert auroc_difference(labels[:20], first[:20], second[:20]) is None


def test_maps_of_several_thresholds_have_the_same_colours(metal_lake: Lake) -> None:
    score = metal_lake.explain(load_sample("metal").tests[0].image)
    found = score.patch_scores

    def drawn(threshold: float) -> np.ndarray:
        scale = ScoreScale(3.0, threshold, fades_at=1.0)
        return np.asarray(overlay(found.image, score.map, found.grid, found.placement, scale, Style(contour=False)))

    assert (drawn(1.0) == drawn(1.7)).all()
