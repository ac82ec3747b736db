"""SubspaceAD against NumPy's singular values in double precision."""

from typing import Any

import numpy as np
import pytest
import torch

from lake_core.baselines.subspacead import SubspaceAd, principal_components
from lake_core.data.images import InputImage
from tests.core.baselines.cases import CASES, case, same_on_images
from tests.core.tiny import OpenTiny


def naive_components(centred: np.ndarray, share: float) -> np.ndarray:
    """(k, n): the fewest right singular vectors that hold a share of the sum of squares."""
    _, values, vectors = np.linalg.svd(centred, full_matrices=False)
    shares = np.cumsum(values**2) / np.sum(values**2)
    return vectors[: int(np.argmax(shares >= share)) + 1].T


@pytest.mark.parametrize("variance", [0.6, 0.99])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_maps_are_squared_residuals(
    name: str, options: dict[str, Any], variance: float, open_tiny: OpenTiny, noise_images: list[InputImage]
) -> None:
    given = case(name, options, open_tiny, noise_images)
    baseline = SubspaceAd(given.backbone, given.config, variance).fit(given.store, given.normals)
    normal = given.normal_patches(smooth=1)
    components = naive_components(normal - normal.mean(0), variance)
    assert baseline.components_.shape == components.shape
    found = baseline.score_images(given.store, given.tests)
    differences = given.features(given.tests, smooth=1) - normal.mean(0)
    expected = ((differences - differences @ components @ components.T) ** 2).sum(2)
    inside = given.inside(given.tests)
    same_on_images(found.maps.numpy(), expected, inside)
    np.testing.assert_allclose(found.scores.numpy(), np.where(inside, expected, -1).max(1), rtol=1e-3)


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)])
def test_more_features_than_patches_give_the_same_subspace(shape: tuple[int, int]) -> None:
    points = np.random.default_rng(3).normal(size=shape) * np.linspace(1, 4, shape[1])
    centred = points - points.mean(0)
    found = principal_components(torch.from_numpy(centred), 0.9).numpy()
    expected = naive_components(centred, 0.9)
    np.testing.assert_allclose(found.T @ found, np.eye(found.shape[1]), atol=1e-9)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-9)


def test_patches_that_do_not_vary_have_no_components() -> None:
    assert principal_components(torch.zeros(5, 3, dtype=torch.float64), 0.99).shape == (3, 0)
