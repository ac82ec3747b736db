"""Normal patches against those of the other normal images, in blocks: the same as pair by pair in double precision."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from lake_core.backbones.patch_grid import PatchGrid
from lake_core.detector import leave_one_out
from lake_core.detector.leave_one_out import distance_to_others
from lake_core.detector.search import FloatBank, Geometry

GEOMETRY = Geometry(PatchGrid(4, 5, 32, 40), 1, "unit")
LENGTHS = [31, 7, 50, 1, 44]


def vectors(n: int, seed: int) -> torch.Tensor:
    """(n, 12) float32 of length 1, in clusters."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(6, 12, generator=generator)[torch.randint(6, (n,), generator=generator)]
    return functional.normalize(centres + 0.3 * torch.randn(n, 12, generator=generator) + 5, dim=1)


def naive(patches: torch.Tensor, image: np.ndarray, bank: torch.Tensor, bank_image: np.ndarray) -> np.ndarray:
    pairs = ((patches.double().numpy()[:, None] - bank.double().numpy()[None]) ** 2).sum(2)
    return np.asarray(np.where(image[:, None] == bank_image[None], np.inf, pairs).min(1))


@pytest.mark.parametrize("side", [1, 8, 20, 1000])
def test_blocks_give_what_all_pairs_give(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leave_one_out, "_SIDE", side)
    image = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    rows, of_image = vectors(len(image), 0), torch.from_numpy(image)
    bank = FloatBank(rows, GEOMETRY)
    found = distance_to_others(bank.rows, of_image, bank, of_image)
    np.testing.assert_allclose(found, naive(rows, image, rows, image), atol=1e-6)


@pytest.mark.parametrize("side", [3, 1000])
def test_other_patches_are_compared_with_a_few_rows(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leave_one_out, "_SIDE", side)
    image, bank_image = np.repeat(np.arange(len(LENGTHS)), LENGTHS), np.array([0, 0, 2, 2, 2, 4])
    patches, bank = vectors(len(image), 0), FloatBank(vectors(len(bank_image), 1), GEOMETRY)
    found = distance_to_others(patches, torch.from_numpy(image), bank, torch.from_numpy(bank_image))
    np.testing.assert_allclose(found, naive(patches, image, bank.rows, bank_image), atol=1e-6)
    nothing = distance_to_others(patches[:0], torch.from_numpy(image[:0]), bank, torch.from_numpy(bank_image))
    assert nothing.shape == (0,)


def test_a_pair_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a table of all pairs is never held."""
    monkeypatch.setattr(leave_one_out, "_SIDE", 16)
    computed = []
    product = torch.mm

    def counted(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        computed.append(len(left) * right.shape[1])
        return product(left, right, out=out)

    monkeypatch.setattr(torch, "mm", counted)
    rows, image = vectors(400, 0), torch.arange(8).repeat_interleave(50)
    bank = FloatBank(rows, GEOMETRY)
    distance_to_others(bank.rows, image, bank, image)
    assert max(computed) == 16 * 16
    assert sum(computed) < 0.65 * 400**2
