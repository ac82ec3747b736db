"""The store runs the network once per picture, stays within its bound, and forgets without getting anything wrong."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.hooks import Place
from lake_core.config import LakeConfig
from lake_core.data.images import Picture, read_picture
from lake_core.detector.lake import Lake
from tests.core.running import Cancelled, in_threads
from tests.core.tiny import OpenTiny


@pytest.fixture
def backbone(open_tiny: OpenTiny) -> Backbone:
    return open_tiny("native-vit")


@pytest.fixture
def passes(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of pictures in each pass through the network, counted at the network itself."""
    batches: list[int] = []
    forward = backbone._tower.forward

    def counted(pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        batches.append(len(pixels))
        return forward(pixels)

    monkeypatch.setattr(backbone._tower, "forward", counted)
    return batches


def all_places(backbone: Backbone) -> list[Place]:
    return sorted(backbone.places)


def held_bytes(store: FeatureStore) -> int:
    return sum(tensor.numel() * 4 for places in store._held.values() for tensor in places.values())


def reference(backbone: Backbone, picture: Picture, places: Iterable[Place]) -> dict[Place, Tensor]:
    return {place: t[0] for place, t in backbone.forward(backbone.prepare(picture)[None], places).items()}


def test_features_are_those_of_the_backbone(backbone: Backbone, noise_pictures: list[Picture]) -> None:
    store = FeatureStore(backbone)
    store.ensure(noise_pictures, backbone.places)
    for picture in noise_pictures:
        for place, tensor in reference(backbone, picture, backbone.places).items():
            torch.testing.assert_close(store.get(picture, place), tensor, rtol=1e-4, atol=1e-4)


def test_stack_keeps_the_order_of_the_pictures(backbone: Backbone, noise_pictures: list[Picture]) -> None:
    store, place = FeatureStore(backbone), Place(2, "hidden")
    store.ensure(noise_pictures, {place})
    order = [3, 0, 3, 7]
    stacked = store.stack([noise_pictures[i] for i in order], place)
    assert stacked.shape == (4, 25, 128)
    for row, i in zip(stacked, order, strict=True):
        torch.testing.assert_close(row, store.get(noise_pictures[i], place))


def test_one_pass_per_picture_whatever_is_changed_afterwards(
    backbone: Backbone, noise_pictures: list[Picture], passes: list[int]
) -> None:
    store = FeatureStore(backbone, batch_size=3)
    store.ensure(noise_pictures, backbone.places)
    assert passes == [3, 3, 2]
    several: tuple[dict[str, Any], ...] = (
        {"layers": (1, 3), "top_k": 5},
        {"kind": "channel", "criterion": "random", "seed": 3},
        {"normalise": "none", "smooth": 1, "text_weight": 1.0, "object_name": "cable"},
        {"layers": (2,), "top_q": 5, "calibration_quantile": 0.5},
    )
    for changes in several:
        lake = Lake(backbone, LakeConfig(**changes), store).fit(noise_pictures[:4])
        lake.score_all(noise_pictures[4:])
        lake.reweighed(text_weight=0.0).score(noise_pictures[5])
    assert passes == [3, 3, 2]
    assert store.n_forwards == 8


def test_only_what_is_missing_is_computed(backbone: Backbone, noise_pictures: list[Picture], passes: list[int]) -> None:
    store = FeatureStore(backbone, batch_size=8)
    one, other = Place(1, "channel"), Place(2, "hidden")
    store.ensure(noise_pictures[:3], {one})
    store.ensure(noise_pictures[:5], {one})
    assert passes == [3, 2]
    store.ensure(noise_pictures[:5], {one, other})
    store.ensure(noise_pictures[:5], {other})
    assert passes == [3, 2, 5]
    assert store.missing(noise_pictures, {one, other}) == noise_pictures[5:]


def test_pictures_with_the_same_bytes_are_computed_once(backbone: Backbone, passes: list[int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    twins = [read_picture(rgb, "one"), read_picture(rgb.copy(), "two")]
    store = FeatureStore(backbone)
    store.ensure(twins, backbone.places)
    assert passes == [1]
    assert torch.equal(*store.stack(twins, Place(1, "channel")))


def test_bytes_held_are_what_was_announced(backbone: Backbone, noise_pictures: list[Picture]) -> None:
    store, places = FeatureStore(backbone), all_places(backbone)
    per_picture = 4 * (3 * 25 * 32 + 3 * 25 * 128 + 25 * 24 + 24)
    assert store.bytes_per_picture(places) == per_picture
    store.ensure(noise_pictures, places[:2])
    store.ensure(noise_pictures, places)
    assert store.n_bytes == held_bytes(store) == 8 * per_picture


def test_the_bound_is_kept_and_the_longest_unused_is_forgotten(
    backbone: Backbone, noise_pictures: list[Picture]
) -> None:
    places = all_places(backbone)
    per_picture = FeatureStore(backbone).bytes_per_picture(places)
    store = FeatureStore(backbone, max_bytes=3 * per_picture + 10, batch_size=2)
    store.ensure(noise_pictures[:3], places)
    store.get(noise_pictures[0], places[0])
    store.ensure(noise_pictures[3:4], places)
    assert store.missing(noise_pictures[:4], places) == [noise_pictures[1]]
    for _ in range(2):
        store.ensure(noise_pictures, places)
        assert store.n_bytes == held_bytes(store) <= store.max_bytes


def test_what_was_forgotten_comes_back_equal(backbone: Backbone, noise_pictures: list[Picture]) -> None:
    large, place = FeatureStore(backbone), Place(3, "hidden")
    small = FeatureStore(backbone, max_bytes=1)
    small.ensure(noise_pictures, {place})
    assert len(small.missing(noise_pictures, {place})) == 7
    torch.testing.assert_close(
        small.stack(noise_pictures, place), large.stack(noise_pictures, place), rtol=1e-4, atol=1e-4
    )
    assert small.n_forwards > 8
    config = LakeConfig(layers=(1, 3), top_k=9)
    one, other = (Lake(backbone, config, store).fit(noise_pictures[:4]) for store in (small, large))
    assert one.score(noise_pictures[5]).score == pytest.approx(other.score(noise_pictures[5]).score, rel=1e-4)


def test_everything_is_kept_only_where_it_fits(backbone: Backbone) -> None:
    needed = {Place(1, "channel")}
    per_picture = FeatureStore(backbone).bytes_per_picture(backbone.places)
    store = FeatureStore(backbone, max_bytes=10 * per_picture)
    assert store.places_that_fit(10, needed) == backbone.places
    assert store.places_that_fit(11, needed) == needed


def test_cancelling_keeps_what_is_done(backbone: Backbone, noise_pictures: list[Picture], passes: list[int]) -> None:
    store, seen = FeatureStore(backbone, batch_size=3), []

    def on_progress(done: int, total: int) -> None:
        seen.append((done, total))
        if done >= 6:
            raise Cancelled

    with pytest.raises(Cancelled):
        store.ensure(noise_pictures, backbone.places, on_progress)
    assert seen == [(3, 8), (6, 8)]
    assert store.missing(noise_pictures, backbone.places) == noise_pictures[6:]
    store.ensure(noise_pictures, backbone.places, lambda done, total: seen.append((done, total)))
    assert seen[2:] == [(2, 2)]
    assert sum(passes) == 8


@pytest.mark.parametrize("share", [0.4, 10.0])
def test_threads_share_a_store_and_each_gets_what_it_asked(
    backbone: Backbone, noise_pictures: list[Picture], share: float
) -> None:
    places = [Place(1, "channel"), Place(3, "hidden"), backbone.image_place]
    references = [reference(backbone, picture, places) for picture in noise_pictures]
    store = FeatureStore(backbone, batch_size=2)
    store.max_bytes = int(share * 8 * store.bytes_per_picture(places))

    def work(index: int) -> None:
        rng = np.random.default_rng(index)
        for _ in range(30):
            i, place = int(rng.integers(8)), places[int(rng.integers(3))]
            if rng.random() < 0.2:
                store.ensure(noise_pictures[i : i + 3], places)
            torch.testing.assert_close(store.get(noise_pictures[i], place), references[i][place], rtol=1e-4, atol=1e-4)

    in_threads(work)
    assert store.n_bytes == held_bytes(store) <= store.max_bytes


def test_memory_of_a_batch_is_not_kept_alive_by_one_picture(backbone: Backbone, noise_pictures: list[Picture]) -> None:
    store, place = FeatureStore(backbone), Place(1, "channel")
    store.ensure(noise_pictures, {place})
    tensor = store.get(noise_pictures[0], place)
    assert tensor.untyped_storage().nbytes() == tensor.numel() * 4
