"""The store runs the network once per image, stays within its bound, and forgets without getting anything wrong."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.budget import MemoryBudget
from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage, read_image
from lake_core.detector.lake import Lake
from lake_core.types import HookPoint
from tests.core.running import Cancelled, in_threads
from tests.core.tiny import OpenTiny


@pytest.fixture
def backbone(open_tiny: OpenTiny) -> Backbone:
    return open_tiny("native-vit")


@pytest.fixture
def passes(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of images in each pass through the network, counted at the network itself."""
    batches: list[int] = []
    forward = backbone.adapter.forward

    def counted(pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        batches.append(len(pixels))
        return forward(pixels)

    monkeypatch.setattr(backbone.adapter, "forward", counted)
    return batches


def all_hook_points(backbone: Backbone) -> list[HookPoint]:
    return sorted(backbone.hook_points)


def held_bytes(store: FeatureStore, images: Iterable[InputImage]) -> int:
    rows = [
        store.held(image.sha256, {hook_point}) or {} for image in images for hook_point in store.backbone.hook_points
    ]
    return sum(tensor.numel() * 4 for row in rows for tensor in row.values())


def reference(backbone: Backbone, image: InputImage, hook_points: Iterable[HookPoint]) -> dict[HookPoint, Tensor]:
    return {hook_point: t[0] for hook_point, t in backbone.forward(backbone.prepare(image)[None], hook_points).items()}


def test_features_are_those_of_the_backbone(backbone: Backbone, noise_images: list[InputImage]) -> None:
    store = FeatureStore(backbone)
    store.ensure(noise_images, backbone.hook_points)
    for image in noise_images:
        expected = reference(backbone, image, backbone.hook_points)
        assert len(expected) == 2 * len(backbone.layers) + 2
        for hook_point, tensor in expected.items():
            torch.testing.assert_close(store.get(image, hook_point), tensor, rtol=1e-4, atol=1e-4)


def test_stack_keeps_the_order_of_the_images(backbone: Backbone, noise_images: list[InputImage]) -> None:
    store, hook_point = FeatureStore(backbone), HookPoint(2, "mlp_hidden")
    store.ensure(noise_images, {hook_point})
    order = [3, 0, 3, 7]
    stacked = store.stack([noise_images[i] for i in order], hook_point)
    assert stacked.shape == (4, 25, 128)
    for row, i in zip(stacked, order, strict=True):
        torch.testing.assert_close(row, store.get(noise_images[i], hook_point))


def test_one_pass_per_image_whatever_is_changed_afterwards(
    backbone: Backbone, noise_images: list[InputImage], passes: list[int]
) -> None:
    store = FeatureStore(backbone, batch_size=3)
    store.ensure(noise_images, backbone.hook_points)
    assert passes == [3, 3, 2]
    several: tuple[dict[str, Any], ...] = (
        {"layers": (1, 3), "top_k": 5},
        {"site": "residual_channel", "criterion": "random", "seed": 3},
        {"normalise": "none", "smooth": 1, "fusion_weight": 1.0, "object_name": "cable"},
        {"layers": (2,), "top_q": 5, "calibration_quantile": 0.5},
    )
    for changes in several:
        lake = Lake(backbone, LakeConfig(**changes), store).fit(noise_images[:4])
        lake.explain_all(noise_images[4:])
        lake.with_weights(fusion_weight=0.0).explain(noise_images[5])
    assert passes == [3, 3, 2]
    assert store.n_forwards == 8


def test_only_what_is_missing_is_computed(
    backbone: Backbone, noise_images: list[InputImage], passes: list[int]
) -> None:
    store = FeatureStore(backbone, batch_size=8)
    one, other = HookPoint(1, "residual_channel"), HookPoint(2, "mlp_hidden")
    store.ensure(noise_images[:3], {one})
    store.ensure(noise_images[:5], {one})
    assert passes == [3, 2]
    store.ensure(noise_images[:5], {one, other})
    store.ensure(noise_images[:5], {other})
    assert passes == [3, 2, 5]
    assert store.missing(noise_images, {one, other}) == noise_images[5:]


def test_images_with_the_same_bytes_are_computed_once(backbone: Backbone, passes: list[int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    twins = [read_image(rgb, "one"), read_image(rgb.copy(), "two")]
    store = FeatureStore(backbone)
    store.ensure(twins, backbone.hook_points)
    assert passes == [1]
    assert torch.equal(*store.stack(twins, HookPoint(1, "residual_channel")))


def test_bytes_held_are_what_was_announced(backbone: Backbone, noise_images: list[InputImage]) -> None:
    store, hook_points = FeatureStore(backbone), all_hook_points(backbone)
    per_image = 4 * (3 * 25 * 32 + 3 * 25 * 128 + 25 * 24 + 24)
    assert store.bytes_per_image(hook_points) == per_image
    store.ensure(noise_images, hook_points[:2])
    store.ensure(noise_images, hook_points)
    assert store.n_bytes == held_bytes(store, noise_images) == 8 * per_image


def test_the_bound_is_kept_and_the_longest_unused_is_forgotten(
    backbone: Backbone, noise_images: list[InputImage]
) -> None:
    hook_points = all_hook_points(backbone)
    per_image = FeatureStore(backbone).bytes_per_image(hook_points)
    store = FeatureStore(backbone, budget=MemoryBudget(3 * per_image + 10), batch_size=2)
    store.ensure(noise_images[:3], hook_points)
    store.get(noise_images[0], hook_points[0])
    store.ensure(noise_images[3:4], hook_points)
    assert store.missing(noise_images[:4], hook_points) == [noise_images[1]]
    for _ in range(2):
        store.ensure(noise_images, hook_points)
        assert store.n_bytes == held_bytes(store, noise_images) <= store.budget.max_bytes


def test_what_was_forgotten_comes_back_equal(backbone: Backbone, noise_images: list[InputImage]) -> None:
    large, hook_point = FeatureStore(backbone), HookPoint(3, "mlp_hidden")
    small = FeatureStore(backbone, budget=MemoryBudget(1))
    small.ensure(noise_images, {hook_point})
    assert len(small.missing(noise_images, {hook_point})) == 7
    torch.testing.assert_close(
        small.stack(noise_images, hook_point), large.stack(noise_images, hook_point), rtol=1e-4, atol=1e-4
    )
    assert small.n_forwards > 8
    config = LakeConfig(layers=(1, 3), top_k=9)
    one, other = (Lake(backbone, config, store).fit(noise_images[:4]) for store in (small, large))
    assert one.explain(noise_images[5]).score == pytest.approx(other.explain(noise_images[5]).score, rel=1e-4)


def test_everything_is_kept_only_where_it_fits(backbone: Backbone) -> None:
    needed = {HookPoint(1, "residual_channel")}
    per_image = FeatureStore(backbone).bytes_per_image(backbone.hook_points)
    store = FeatureStore(backbone, budget=MemoryBudget(10 * per_image))
    assert store.hook_points_that_fit(10, needed) == backbone.hook_points
    assert store.hook_points_that_fit(11, needed) == needed


def test_cancelling_keeps_what_is_done(backbone: Backbone, noise_images: list[InputImage], passes: list[int]) -> None:
    store, seen = FeatureStore(backbone, batch_size=3), []

    def on_progress(done: int, total: int) -> None:
        seen.append((done, total))
        if done >= 6:
            raise Cancelled

    with pytest.raises(Cancelled):
        store.ensure(noise_images, backbone.hook_points, on_progress)
    assert seen == [(3, 8), (6, 8)]
    assert store.missing(noise_images, backbone.hook_points) == noise_images[6:]
    store.ensure(noise_images, backbone.hook_points, lambda done, total: seen.append((done, total)))
    assert seen[2:] == [(2, 2)]
    assert sum(passes) == 8


@pytest.mark.parametrize("share", [0.4, 10.0])
def test_threads_share_a_store_and_each_gets_what_it_asked(
    backbone: Backbone, noise_images: list[InputImage], share: float
) -> None:
    hook_points = [HookPoint(1, "residual_channel"), HookPoint(3, "mlp_hidden"), backbone.image_hook_point]
    references = [reference(backbone, image, hook_points) for image in noise_images]
    store = FeatureStore(backbone, batch_size=2)
    store.budget.max_bytes = int(share * 8 * store.bytes_per_image(hook_points))

    def work(index: int) -> None:
        rng = np.random.default_rng(index)
        for _ in range(30):
            i, hook_point = int(rng.integers(8)), hook_points[int(rng.integers(3))]
            if rng.random() < 0.2:
                store.ensure(noise_images[i : i + 3], hook_points)
            torch.testing.assert_close(
                store.get(noise_images[i], hook_point), references[i][hook_point], rtol=1e-4, atol=1e-4
            )

    in_threads(work)
    assert store.n_bytes == held_bytes(store, noise_images) <= store.budget.max_bytes


def test_threads_that_ask_for_the_same_images_compute_each_once(
    backbone: Backbone, noise_images: list[InputImage], passes: list[int]
) -> None:
    store = FeatureStore(backbone, batch_size=2)
    reported: dict[int, list[tuple[int, int]]] = defaultdict(list)

    def ask(thread: int) -> None:
        store.ensure(noise_images, backbone.hook_points, lambda done, total: reported[thread].append((done, total)))

    in_threads(ask)
    assert passes == [2, 2, 2, 2]
    assert [(2, 8), (4, 8), (6, 8), (8, 8)] in reported.values()
    for steps in reported.values():  # one that begins later counts what is still missing then
        assert steps == [(done, len(steps) * 2) for done in range(2, len(steps) * 2 + 1, 2)]


def test_memory_of_a_batch_is_not_kept_alive_by_one_image(backbone: Backbone, noise_images: list[InputImage]) -> None:
    store, hook_point = FeatureStore(backbone), HookPoint(1, "residual_channel")
    store.ensure(noise_images, {hook_point})
    tensor = store.get(noise_images[0], hook_point)
    assert tensor.untyped_storage().nbytes() == tensor.numel() * 4
