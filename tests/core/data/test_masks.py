"""Masks of any code mean the same, and fit the image that they were drawn on."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from lake_core.data.images import read_image
from lake_core.data.masks import read_mask
from lake_core.errors import ImageError
from tests.core.data.files import encoded


def test_masks_of_any_code_mean_the_same() -> None:
    truth = np.zeros((32, 48), bool)
    truth[8:16, 16:32] = True
    classes = np.where(truth, np.arange(48) % 3 + 1, 0).astype(np.uint8)
    transparent = np.zeros((32, 48, 4), np.uint8)
    transparent[..., 0] = 255
    transparent[..., 3] = truth * 255
    blue = Image.fromarray(truth.astype(np.uint8), "P")
    blue.putpalette([0, 0, 0, 0, 0, 9])
    sources: list[Any] = [truth, truth * np.uint8(1), truth * np.uint8(255), classes, encoded(Image.fromarray(truth))]
    sources += [encoded(Image.fromarray(transparent)), encoded(blue), Image.fromarray(truth.astype(np.uint16))]
    sources += [encoded(Image.fromarray(truth * np.uint8(255)), "JPEG", quality=60)]
    for source in sources:
        mask = read_mask(source)
        assert mask.dtype == bool
        assert np.array_equal(mask, truth)
    assert not read_mask(np.zeros((20, 20), np.uint8)).any()


def test_masks_are_brought_to_the_images_size() -> None:
    truth = np.zeros((40, 60), np.uint8)
    truth[10:20, 30:45] = 255
    assert np.array_equal(read_mask(truth, (120, 80)), truth.repeat(2, 0).repeat(2, 1) > 0)
    assert np.array_equal(read_mask(truth, (30, 20))[5:10, 15:22], np.ones((5, 7), bool))
    assert read_mask(truth, (12, 8)).sum() == 2 * 3
    with pytest.raises(ImageError, match=r"mask is 60 x 40 pixels, another aspect than its image of 40 x 60"):
        read_mask(truth, (40, 60))
    with pytest.raises(ImageError, match=r"crack_mask.png is empty"):
        read_mask(b"", name="crack_mask.png")


def test_a_mask_fits_the_working_copy_of_its_large_image() -> None:
    image = read_image(np.zeros((1001, 2999), np.uint8))
    assert read_mask(np.zeros((1001, 2999), np.uint8), image.size).shape == image.rgb.shape[:2]
