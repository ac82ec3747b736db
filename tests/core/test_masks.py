"""Masks that are kept small say the same as before, whatever their regions."""

import numpy as np
import pytest

from lake_core.masks import DefectMask


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_a_packed_mask_is_the_mask(share: float) -> None:
    mask = np.random.default_rng(0).random((61, 47)) < share
    packed = DefectMask.of(mask)
    assert np.array_equal(packed.defect, mask)
    assert (packed.shape, packed.n_pixels, packed.n_defect) == (mask.shape, mask.size, mask.sum())
    assert packed.regions.max() == packed.n_regions


def test_many_regions_keep_their_numbers() -> None:
    mask = np.zeros((80, 80), dtype=bool)
    mask[::2, ::2] = True
    packed = DefectMask.of(mask)
    assert packed.n_regions == 1600
    assert np.array_equal(np.bincount(packed.regions.ravel()), [80 * 80 - 1600, *[1] * 1600])


def test_a_good_picture_costs_nothing_and_a_usual_defect_little() -> None:
    mask = np.zeros((256, 256), dtype=bool)
    assert DefectMask.of(mask).packed == b""
    mask[40:90, 100:180] = True
    assert len(DefectMask.of(mask).packed) < mask.size / 100
