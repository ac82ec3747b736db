"""16-bit products find what products of all bits find."""

import pytest
import torch
from torch import Tensor

from lake_core.geometry import PatchGrid
from lake_core.halves import HalfGallery, neighbours, smoothed
from lake_core.normality import nearest_normal
from lake_core.normality import smoothed as smoothed_by_pooling

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


def vectors(n: int, k: int, device: str, seed: int = 0) -> Tensor:
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed)).to(device)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("device", DEVICES)
def test_smoothing_loses_nothing(device: str, side: int, dtype: torch.dtype) -> None:
    grid = PatchGrid(4, 7, 64, 112)
    acts = vectors(3 * grid.n_patches, 9, device).view(3, grid.n_patches, 9).to(dtype)
    found = smoothed(acts, neighbours(grid, side, acts))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, smoothed_by_pooling(acts.float(), grid, side), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("offset", [0.0, 50.0])
@pytest.mark.parametrize("k", [1, 6, 300])
@pytest.mark.parametrize("device", DEVICES)
def test_what_is_found_is_nearly_the_nearest(device: str, k: int, offset: float, scale: float) -> None:
    gallery, patches = ((vectors(200, k, device, seed) + offset) * scale for seed in (1, 2))
    found = HalfGallery(gallery, gallery.mean(0)).without_own_square(patches)
    assert found.shape == (200, 200)
    nearest = nearest_normal(patches, gallery).distance
    distance = (patches - gallery[found.argmin(1)]).square().sum(1)
    rounding = 2e-3 * gallery.std() ** 2 * k
    assert bool((distance <= nearest + rounding).all())
    assert float((distance > 1.001 * nearest + 1e-6 * scale**2).float().mean()) < (0.3 if k == 1 else 0.02)


def test_distances_are_on_one_scale() -> None:
    gallery, patches = vectors(20, 8, "cpu", 1), vectors(30, 8, "cpu", 2)
    found = HalfGallery(gallery, gallery.mean(0)).without_own_square(patches)
    exact = torch.cdist(patches, gallery).square()
    found, exact = found - found[:, :1], exact - exact[:, :1]
    factor = (found * exact).sum() / exact.square().sum()
    torch.testing.assert_close(found, factor * exact, rtol=0, atol=2e-3 * float(found.abs().max()))
