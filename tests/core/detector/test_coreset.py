"""A coreset in the place of all normal patches: how it is chosen, what it is compared with, and where it counts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.patch_grid import PatchGrid
from lake_core.config import FitConfig, LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.coreset import coreset, k_center
from lake_core.detector.image_scores import image_scores
from lake_core.detector.lake import Lake
from lake_core.detector.memory_bank import fit_layer, learn_layer
from lake_core.detector.search import Geometry
from lake_core.detector.selection import select
from lake_core.errors import ConfigError
from tests.core.method import brute
from tests.core.tiny import OpenTiny


def test_a_coreset_takes_far_points_first_and_none_twice() -> None:
    points = torch.tensor([[0.0, 0.0], [0.1, 0.0], [9.0, 0.0], [0.0, 5.0], [9.1, 0.0]])
    assert k_center(points, 3, first=0).tolist() == [0, 4, 3]
    everything = k_center(torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), 40, first=7)
    assert sorted(everything.tolist()) == list(range(40))


def test_a_coreset_is_chosen_by_its_seed_and_has_patches_of_two_images() -> None:
    rows = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    image = torch.arange(3).repeat_interleave(20)
    assert torch.equal(coreset(rows, image, 7, seed=1), coreset(rows, image, 7, seed=1))
    assert not torch.equal(coreset(rows, image, 7, seed=1), coreset(rows, image, 7, seed=2))
    assert coreset(rows, image, 100, seed=1).tolist() == list(range(60))
    rows[:20] *= 100  # k-center alone would take of this image only
    seed = next(seed for seed in range(100) if np.random.default_rng(seed).integers(60) < 20)
    kept = coreset(rows, image, 5, seed)
    assert len(kept) == 5
    assert len(image[kept].unique()) == 2
    assert coreset(torch.ones(6, 2), torch.tensor([0, 0, 0, 1, 1, 1]), 3, seed=0).numel() >= 1


@pytest.mark.parametrize("learn", [fit_layer, learn_layer])
def test_normal_patches_are_calibrated_by_the_coreset_without_their_own_image(learn: object) -> None:
    grid, n_images = PatchGrid(4, 5, 32, 40), 4
    acts = torch.randn(n_images, 20, 10, generator=torch.Generator().manual_seed(0))
    inside = torch.ones(n_images, 20, dtype=torch.bool)
    inside[1, 12:] = False
    selection = select(acts, inside, 3, "mlp_hidden", "variance", 6)
    config = FitConfig(memory_bank_size=9, calibration_quantile=0.9)
    layer = learn(acts, inside, selection, Geometry(grid, 1, "none"), config)  # type: ignore[operator]
    vectors = acts[:, :, torch.from_numpy(selection.neurons)].numpy()
    assert len(layer.bank) == 9
    np.testing.assert_allclose(layer.bank, vectors[layer.bank_image, layer.bank_patch])
    for i in range(n_images):
        others = layer.bank[layer.bank_image != i].numpy()
        np.testing.assert_allclose(layer.own_distance[i], brute(vectors[i], others), rtol=1e-4)
    assert layer.tau == pytest.approx(np.quantile(layer.own_distance[inside].numpy(), 0.9), rel=1e-5)


def test_a_bank_of_all_patches_changes_no_score(open_tiny: OpenTiny, noise_images: list[InputImage]) -> None:
    backbone = open_tiny("native-vit")
    store = FeatureStore(backbone)
    config = LakeConfig(top_k=5, memory_bank_size=10**6)
    one, other = (Lake(backbone, each, store).fit(noise_images[:4]) for each in (config, LakeConfig(top_k=5)))
    assert one.threshold_ == other.threshold_
    assert one.score_samples(noise_images[4:]).tolist() == other.score_samples(noise_images[4:]).tolist()
    few = Lake(backbone, replace(config, memory_bank_size=6), store).fit(noise_images[:4])
    assert few.threshold_ != other.threshold_
    scores = few.score_samples(noise_images[4:])
    np.testing.assert_allclose(image_scores(few, noise_images[4:]), scores, rtol=1e-5)


def test_one_normal_image_can_have_a_coreset_of_two_patches(
    open_tiny: OpenTiny, noise_images: list[InputImage]
) -> None:
    lake = Lake(open_tiny("native-vit"), LakeConfig(top_k=5, memory_bank_size=2)).fit(noise_images[:1])
    (layer,) = lake.memory_bank_.layers
    assert len(layer.bank) == 2
    assert layer.tau > 0
    assert np.isfinite(lake.score_samples(noise_images[1:3])).all()


@pytest.mark.parametrize("size", [0, 1, 2.5])
def test_a_memory_bank_needs_two_patches(size: float) -> None:
    with pytest.raises(ConfigError, match=r"memory_bank_size is .* at least 2"):
        LakeConfig(memory_bank_size=size)  # type: ignore[arg-type]
