"""Lines around regions: as far from the border as distances over the whole image say."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lake_core.visualization.contours import FINENESS, outlines

WIDTH, HEIGHT = 40, 30
HALF_WIDTHS = (1.0, 2.0)


def blobs(seed: int) -> NDArray[np.bool_]:
    noise = np.random.default_rng(seed).normal(size=(HEIGHT * FINENESS, WIDTH * FINENESS))
    return np.asarray(ndimage.gaussian_filter(noise, 2 * seed) > 0)


REGIONS = {
    "blobs": blobs(3),
    "fine blobs": blobs(1),
    "noise": blobs(0),
    "everything": np.ones((HEIGHT * FINENESS, WIDTH * FINENESS), dtype=np.bool_),
    "one corner": np.pad(np.ones((1, 1), dtype=np.bool_), ((0, HEIGHT * FINENESS - 1), (WIDTH * FINENESS - 1, 0))),
}


@pytest.mark.parametrize("name", REGIONS)
def test_lines_lie_where_the_distance_from_the_border_says(name: str) -> None:
    padded = np.pad(REGIONS[name], 10)
    distance = ndimage.distance_transform_edt(padded) + ndimage.distance_transform_edt(~padded) - 0.5
    for half, line in zip(HALF_WIDTHS, outlines(REGIONS[name], HALF_WIDTHS), strict=True):
        drawn = (distance[10:-10, 10:-10] <= half * FINENESS).astype(np.uint8) * 255
        expected = np.asarray(Image.fromarray(drawn).resize((WIDTH, HEIGHT), Image.Resampling.BOX)) / 255
        assert expected.max() > 0
        np.testing.assert_allclose(line, expected, atol=1e-6)


def test_nothing_has_no_line() -> None:
    lines = outlines(np.zeros((HEIGHT * FINENESS, WIDTH * FINENESS), dtype=np.bool_), HALF_WIDTHS)
    assert [(line.shape, float(line.max())) for line in lines] == [((HEIGHT, WIDTH), 0.0)] * 2
