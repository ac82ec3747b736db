"""Two detectors side by side: shared neurons, what chance would share, and paired intervals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.samples import load_sample
from lake_core.detector.lake import Lake
from lake_core.errors import LakeError
from lake_core.experiments.side_by_side import auroc_difference, overlaps
from lake_core.metrics.image_metrics import auroc
from lake_core.visualization.colours import ScoreScale
from lake_core.visualization.overlays import Style, overlay


@pytest.fixture(scope="module")
def lake() -> Lake:
    torch.set_num_threads(1)
    store = FeatureStore(open_backbone("lake-cnn", image_size=128))
    return Lake(store.backbone, LakeConfig(top_k=20), store).fit([e.image for e in load_sample("metal").normals[:3]])


def other(lake: Lake, **changes: object) -> Lake:
    return Lake(lake.backbone, replace(lake.config, **changes), lake.store).fit(lake.normals_)  # type: ignore[arg-type]


def test_a_larger_selection_contains_the_smaller_one(lake: Lake) -> None:
    (found,) = overlaps(lake, other(lake, top_k=50))
    assert (len(found.common), len(found.only_first), len(found.only_second)) == (20, 0, 30)
    assert found.jaccard == pytest.approx(0.4)
    assert found.common.tolist() == lake.selection_[found.layer].neurons.tolist()


def test_chance_is_what_random_selections_share_on_average(lake: Lake) -> None:
    draws = [other(lake, criterion="random", top_k=300, seed=seed) for seed in range(12)]
    found = [overlaps(a, b)[0] for i, a in enumerate(draws) for b in draws[:i]]
    assert np.mean([one.jaccard for one in found]) == pytest.approx(found[0].by_chance, abs=0.01)


def test_different_kinds_and_layers_have_nothing_in_common_and_it_is_said(lake: Lake) -> None:
    with pytest.raises(LakeError, match="different neurons"):
        overlaps(lake, other(lake, site="residual_channel"))
    with pytest.raises(LakeError, match="no layer in common"):
        overlaps(lake, other(lake, layers=(12,)))


def test_the_difference_of_aurocs_is_judged_on_the_same_draws() -> None:
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


def test_maps_of_several_thresholds_have_the_same_colours(lake: Lake) -> None:
    score = lake.explain(load_sample("metal").tests[0].image)
    found = score.patch_scores

    def drawn(threshold: float) -> np.ndarray:
        scale = ScoreScale(3.0, threshold, fades_at=1.0)
        return np.asarray(overlay(found.image, score.map, found.grid, found.placement, scale, Style(contour=False)))

    assert (drawn(1.0) == drawn(1.7)).all()
