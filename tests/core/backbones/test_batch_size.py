"""The batch size climbs to the fastest, counts the faster of two passes, and settles."""

import pytest

from lake_core.backbones.batch_size import BatchSize
from lake_core.backbones.feature_store import FeatureStore
from lake_core.data.images import InputImage
from tests.core.tiny import OpenTiny


def settled(seconds_per_image: dict[int, float]) -> tuple[int, list[int]]:
    """The size that is chosen when passes take these times, and all sizes that were tried on the way."""
    size, tried = BatchSize(2, 1, 8), []
    for _ in range(30):
        tried.append(size.next())
        size.took(tried[-1], tried[-1] * seconds_per_image[tried[-1]])
    assert len(set(tried[15:])) == 1
    return size.next(), tried


@pytest.mark.parametrize(
    ("seconds", "best", "tried"),
    [
        ({1: 5.0, 2: 4.0, 4: 3.0, 8: 2.0}, 8, {2, 4, 8}),
        ({1: 5.0, 2: 4.0, 4: 3.0, 8: 3.5}, 4, {2, 4, 8}),
        ({1: 5.0, 2: 4.0, 4: 6.0, 8: 1.0}, 2, {1, 2, 4}),
        ({1: 3.0, 2: 4.0, 4: 6.0, 8: 9.0}, 1, {1, 2, 4}),
        ({1: 4.0, 2: 4.0, 4: 3.95, 8: 1.0}, 2, {1, 2, 4}),  # too little for twice the memory
    ],
)
def test_the_fastest_is_found(seconds: dict[int, float], best: int, tried: set[int]) -> None:
    chosen, on_the_way = settled(seconds)
    assert chosen == best
    assert set(on_the_way) == tried


def test_the_slow_first_pass_of_a_size_does_not_count() -> None:
    size = BatchSize(2, 2, 4)
    for seconds in (90.0, 4.0):  # of two images
        size.took(2, seconds)
    for seconds in (90.0, 4.0):  # of four
        size.took(4, seconds)
    assert size.next() == 4


def test_a_store_learns_it_from_the_images_it_runs(open_tiny: OpenTiny, noise_images: list[InputImage]) -> None:
    backbone = open_tiny("native-vit")
    backbone.batch_size = BatchSize(2, 2, 2)
    sizes: list[int] = []
    store = FeatureStore(backbone)
    store.ensure(noise_images[:5], backbone.hook_points, lambda done, _: sizes.append(done))
    assert sizes == [2, 4, 5]
    assert len(backbone.batch_size._seconds[2]) == 2
    assert FeatureStore(backbone, batch_size=3).batch_size == 3
