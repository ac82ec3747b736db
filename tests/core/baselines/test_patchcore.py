"""PatchCore against the paper's formulas in double precision."""

from typing import Any

import numpy as np
import pytest
import torch

from lake_core.baselines.patchcore import PatchCore
from lake_core.data.images import InputImage
from tests.core.baselines.cases import CASES, case, same_on_images
from tests.core.tiny import OpenTiny

SHARE, N_NEIGHBOURS = 0.3, 4


def naive_coreset(points: np.ndarray, n: int, first: int) -> list[int]:
    chosen = [first]
    while len(chosen) < n:
        to_chosen = np.linalg.norm(points[:, None] - points[chosen][None], axis=2)
        chosen.append(int(to_chosen.min(1).argmax()))
    return chosen


@pytest.mark.parametrize(("name", "options"), CASES)
def test_maps_and_scores_are_the_papers(
    name: str, options: dict[str, Any], open_tiny: OpenTiny, noise_images: list[InputImage]
) -> None:
    given = case(name, options, open_tiny, noise_images)
    baseline = PatchCore(given.backbone, given.config, SHARE, N_NEIGHBOURS).fit(given.store, given.normals)
    normal = given.normal_patches(smooth=3)
    first = int(np.random.default_rng(5).integers(len(normal)))
    bank = normal[naive_coreset(normal, int(SHARE * len(normal)), first)]
    np.testing.assert_allclose(baseline.bank_.rows.numpy(), bank, rtol=1e-4, atol=1e-5)

    found = baseline.score_images(given.store, given.tests)
    tests, inside = given.features(given.tests, smooth=3), given.inside(given.tests)
    distances = np.linalg.norm(tests[:, :, None] - bank, axis=3)
    same_on_images(found.maps.numpy(), distances.min(2), inside)
    for image, score in enumerate(found.scores.tolist()):
        patch = np.where(inside[image], distances[image].min(1), -1).argmax()
        nearest = distances[image, patch].argmin()
        around = np.linalg.norm(bank - bank[nearest], axis=1).argsort()[:N_NEIGHBOURS]
        softmax = np.exp(distances[image, patch, nearest]) / np.exp(distances[image, patch, around]).sum()
        assert score == pytest.approx((1 - softmax) * distances[image, patch, nearest], rel=1e-3)


def test_a_bank_of_one_patch_leaves_the_score_unweighed(open_tiny: OpenTiny, noise_images: list[InputImage]) -> None:
    given = case("native-vit", {}, open_tiny, noise_images)
    baseline = PatchCore(given.backbone, given.config, share=1e-6).fit(given.store, given.normals)
    assert len(baseline.bank_.rows) == 1
    found = baseline.score_images(given.store, given.tests)
    np.testing.assert_allclose(found.scores.numpy(), found.maps.amax(1).numpy(), rtol=1e-6)


def test_the_seed_picks_the_first_patch(open_tiny: OpenTiny, noise_images: list[InputImage]) -> None:
    given = case("native-vit", {}, open_tiny, noise_images)
    banks = [
        PatchCore(given.backbone, given.config.__class__(seed=seed)).fit(given.store, given.normals).bank_.rows
        for seed in (0, 0, 1)
    ]
    assert torch.equal(banks[0], banks[1])
    assert not torch.equal(banks[0], banks[2])
