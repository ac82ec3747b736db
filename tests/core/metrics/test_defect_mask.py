"""Masks that are kept small say the same as before, whatever their regions."""

import numpy as np
import pytest
from scipy import ndimage

from lake_core.metrics.defect_mask import DefectMask


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_a_packed_mask_is_the_mask(share: float) -> None:
    mask = np.random.default_rng(0).random((61, 47)) < share
    packed = DefectMask.of(mask)
    assert np.array_equal(packed.regions > 0, mask)
    assert np.array_equal(packed.regions, ndimage.label(mask, np.ones((3, 3)))[0])
    assert (packed.shape, packed.n_pixels, packed.n_defect) == (mask.shape, mask.size, mask.sum())
    assert packed.regions.max() == packed.n_regions


def test_many_regions_keep_their_numbers() -> None:
    mask = np.zeros((80, 80), dtype=bool)
    mask[::2, ::2] = True
    packed = DefectMask.of(mask)
    assert packed.n_regions == 1600
    assert np.array_equal(np.bincount(packed.regions.ravel()), [80 * 80 - 1600, *[1] * 1600])


def test_a_good_image_costs_nothing_and_a_usual_defect_little() -> None:
    mask = np.zeros((256, 256), dtype=bool)
    assert DefectMask.of(mask).runs.size == 0
    mask[40:90, 100:180] = True
    assert DefectMask.of(mask).runs.nbytes < mask.size / 100


def test_runs_of_two_regions_that_meet_at_the_end_of_a_row_are_two() -> None:
    mask = np.zeros((3, 4), dtype=bool)
    mask[0, 3] = mask[1, 0] = mask[1, 1] = True
    packed = DefectMask.of(mask)
    assert packed.runs.tolist() == [[3, 4], [1, 2], [1, 2]]
