"""The fast search finds what the exact one finds."""

import pytest
import torch
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid
from lake_core.config import Normalise
from lake_core.detector.search import FloatBank, Geometry, HalfPrecisionBank, SearchBank, prepared

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]
GRID = PatchGrid(4, 7, 64, 112)


def activations(n: int, k: int, device: str, seed: int = 0) -> Tensor:
    return torch.randn(n, GRID.n_patches, k, generator=torch.Generator().manual_seed(seed)).to(device)


def exact_distance(patches: Tensor, rows: Tensor) -> Tensor:
    bank = FloatBank(rows, Geometry(GRID, 1, "none"))
    return bank.nearest(bank.as_vectors(patches)).distance


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("normalise", ["unit", "none"])
@pytest.mark.parametrize("smooth", [1, 3, 5])
@pytest.mark.parametrize("device", DEVICES)
def test_16_bit_activations_lose_nothing_more(
    device: str, smooth: int, normalise: Normalise, dtype: torch.dtype
) -> None:
    acts = activations(3, 9, device).to(dtype)
    acts[0, :] = 0
    exact, fast = (
        kind(activations(1, 9, device)[0], Geometry(GRID, smooth, normalise)) for kind in (FloatBank, HalfPrecisionBank)
    )
    expected, found = exact.vectors(acts), fast.vectors(acts)
    assert bool((expected.factor == 1).all())
    assert found.numbers.dtype == torch.float32
    torch.testing.assert_close(found.factor * found.numbers, expected.numbers, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        expected.numbers.view(acts.shape), prepared(acts.float(), Geometry(GRID, smooth, normalise))
    )


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("offset", [0.0, 50.0])
@pytest.mark.parametrize("k", [1, 6, 300])
@pytest.mark.parametrize("device", DEVICES)
def test_what_is_found_is_nearly_the_nearest(device: str, k: int, offset: float, scale: float) -> None:
    rows, acts = (((activations(7, k, device, seed) + offset) * scale) for seed in (1, 2))
    rows = rows.flatten(0, 1)
    bank: SearchBank = HalfPrecisionBank(rows, Geometry(GRID, 1, "none"))
    patches = bank.vectors(acts.bfloat16())
    nearest = exact_distance(acts.bfloat16().float().flatten(0, 1), rows)
    table = bank.without_own_square(patches)
    assert table.shape == (len(nearest), len(rows))
    distance = bank.distance(patches, table.argmin(1))
    spread = float((rows - rows.mean(0)).square().sum(1).mean())
    assert bool((distance >= nearest - 1e-5 * spread).all())
    assert bool((distance <= nearest + 5e-3 * spread).all())
    far = nearest > 1e-2 * spread
    assert bool((distance <= 1.02 * nearest + 1e-5 * spread)[far].all())


@pytest.mark.parametrize("device", DEVICES)
def test_a_patch_far_beyond_what_16_bits_hold_still_has_its_distance(device: str) -> None:
    rows = 1e-3 * activations(1, 6, device)[0]
    bank = HalfPrecisionBank(rows, Geometry(GRID, 1, "none"))
    patches = bank.vectors(1e4 * activations(1, 6, device, 1).bfloat16())
    distance = bank.distance(patches, bank.without_own_square(patches).argmin(1))
    torch.testing.assert_close(distance, exact_distance(patches.numbers, rows), rtol=1e-4, atol=0)


@pytest.mark.parametrize("kind", [FloatBank, HalfPrecisionBank])
def test_the_table_is_that_of_distances_but_for_a_scale_and_a_number_for_each_patch(kind: type[SearchBank]) -> None:
    rows, acts = activations(1, 8, "cpu", 1)[0], activations(1, 8, "cpu", 2).half()
    bank = kind(rows, Geometry(GRID, 1, "none"))
    patches = bank.vectors(acts)
    found, exact = bank.without_own_square(patches), torch.cdist(acts[0].float(), rows).square()
    found, exact = found - found[:, :1], exact - exact[:, :1]
    factor = (found * exact).sum() / exact.square().sum()
    torch.testing.assert_close(found, factor * exact, rtol=0, atol=2e-3 * float(found.abs().max()))


def test_patches_come_a_few_at_a_time() -> None:
    bank = HalfPrecisionBank(activations(1, 5, "cpu")[0], Geometry(GRID, 3, "unit"))
    whole = bank.vectors(activations(2, 5, "cpu", 1).half())
    parts = list(whole.split(50))
    assert [len(part.numbers) for part in parts] == [50, 6]
    for several, values in zip(zip(*parts, strict=True), whole, strict=True):
        assert torch.equal(torch.cat(several), values)
