"""The story that a teacher tells with the metal sample: a scratch is hot, its evidence is clean, its neurons show
it."""

import numpy as np
import pytest

from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.patch_grid import mask_to_patches
from lake_core.config import LakeConfig
from lake_core.data.datasets import Example
from lake_core.data.samples import load_sample
from lake_core.detector.lake import Lake


@pytest.fixture(scope="module")
def lake(cnn_store: FeatureStore) -> Lake:
    normals = [example.image for example in load_sample("metal").normals]
    return Lake(cnn_store.backbone, LakeConfig(object_name="metal flange"), cnn_store).fit(normals)


@pytest.fixture(scope="module")
def scratched() -> Example:
    return next(e for e in load_sample("metal").tests if e.image.name.endswith("scratch/000.jpg"))


def test_the_hot_patch_lies_on_the_scratch_and_the_score_is_above_the_threshold(lake: Lake, scratched: Example) -> None:
    result = lake.explain(scratched.image)
    assert scratched.mask is not None
    share = mask_to_patches(scratched.mask, result.patch_scores.grid, result.patch_scores.placement)
    assert share[result.patch] > 0
    assert 0 < (share > 0).mean() < 0.1  # which few patches do by chance
    assert result.is_anomalous


def test_the_evidence_is_a_normal_patch_farther_away_than_normal_patches_are(lake: Lake, scratched: Example) -> None:
    result = lake.explain(scratched.image)
    (item,) = result.evidence()
    assert 0 <= item.normal_image < len(lake.normals_)
    assert item.distance > item.tau


def test_what_the_top_neurons_add_to_the_score_lies_on_the_scratch(lake: Lake, scratched: Example) -> None:
    result = lake.explain(scratched.image)
    assert scratched.mask is not None
    on = mask_to_patches(scratched.mask, result.patch_scores.grid, result.patch_scores.placement) > 0
    off = result.patch_scores.inside & ~on
    contributions = result.contributions()
    for neuron in contributions[contributions["part"] == "visual"].nlargest(6, "contribution")["neuron"].astype(int):
        added = result.contribution_map(15, neuron).ravel()
        assert added[on].mean() > 3 * added[off].mean()
    strongest = result.contribution_map(15, int(contributions["neuron"].iloc[0])).ravel()
    assert on[strongest.argmax()]
    assert strongest[on].mean() > 15 * strongest[off].mean()


def test_the_top_neurons_are_more_active_on_the_scratch_than_off_it(lake: Lake, scratched: Example) -> None:
    result = lake.explain(scratched.image)
    assert scratched.mask is not None
    share = mask_to_patches(scratched.mask, result.patch_scores.grid, result.patch_scores.placement)
    inside, on = result.patch_scores.inside, share > 0
    contributions = result.contributions()
    neurons = (
        contributions[contributions["part"] == "visual"].nlargest(3, "contribution")["neuron"].astype(int).tolist()
    )
    acts = lake.store.get(scratched.image, lake.backbone.hook_point(15, "mlp_hidden")).numpy()
    contrast = [(acts[on, u].mean() - acts[inside & ~on, u].mean()) / acts[inside, u].std() for u in neurons]
    assert np.min(contrast) > 1
