"""The file behind the memory: what is moved there reads back to the bit, and where it takes no more nothing is lost."""

import errno
from typing import Any

import pytest
import torch

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.budget import MemoryBudget
from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.spill import Spill
from lake_core.data.images import InputImage
from lake_core.types import HookPoint
from tests.core.tiny import OpenTiny

ONE, OTHER = HookPoint(1, "residual_channel"), HookPoint(2, "mlp_hidden")
SHAPES = {ONE: (4, 3), OTHER: (2, 5)}
SLOT_BYTES = 4 * (12 + 10)
PLENTY = 1 << 30


def rows(seed: int) -> dict[HookPoint, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {hook_point: torch.randn(shape, generator=generator) for hook_point, shape in SHAPES.items()}


def test_what_is_kept_reads_back_to_the_bit_and_what_is_not_is_none() -> None:
    spill = Spill(SHAPES, MemoryBudget(PLENTY))
    for seed in range(5):
        assert spill.keep(str(seed), rows(seed))
    assert spill.keep("part", {ONE: rows(9)[ONE]})
    for seed in range(5):
        for hook_point, expected in rows(seed).items():
            found = spill.read(str(seed), hook_point)
            assert found is not None
            assert torch.equal(found, expected)
    assert spill.read("part", OTHER) is None
    assert spill.written("part") == {ONE}
    assert spill.read("unknown", ONE) is None
    assert spill.n_bytes == 6 * SLOT_BYTES


def test_those_used_longest_ago_give_their_place_to_others() -> None:
    spill = Spill(SHAPES, MemoryBudget(2 * SLOT_BYTES))
    for seed in range(50):
        spill.keep(str(seed), rows(seed))
        found = spill.read(str(seed), OTHER)
        assert found is not None
        assert torch.equal(found, rows(seed)[OTHER])
    assert [bool(spill.written(str(seed))) for seed in range(50)] == [False] * 48 + [True] * 2
    spill._file.seek(0, 2)
    assert spill._file.tell() <= 4 * SLOT_BYTES


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lake_core.backbones.spill.tempfile.TemporaryFile", refuse)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_keeps_nothing_and_breaks_nothing() -> None:
    spill = Spill(SHAPES, MemoryBudget(PLENTY))
    assert not spill.keep("one", rows(0))
    assert spill.written("one") == frozenset()
    assert spill.read("one", ONE) is None


@pytest.fixture(params=["native-vit", "efficientnet"])
def backbone(request: pytest.FixtureRequest, open_tiny: OpenTiny) -> Backbone:
    return open_tiny(request.param)


def moved(store: FeatureStore) -> None:
    """Waits until nothing is on its way into the file."""
    assert store._file is not None
    store._file._writer.submit(lambda: None).result()


def test_memory_holds_what_is_needed_and_the_file_the_rest_unchanged(
    backbone: Backbone, noise_images: list[InputImage]
) -> None:
    plain = FeatureStore(backbone, batch_size=2)
    store = FeatureStore(backbone, batch_size=2, disk=MemoryBudget(PLENTY))
    needed, everything = {HookPoint(2, "residual_channel")}, backbone.hook_points
    store.ensure(noise_images, needed, besides=everything)
    plain.ensure(noise_images, everything)
    moved(store)
    assert store.n_bytes == len(noise_images) * store.bytes_per_image(needed)
    assert store.missing(noise_images, everything) == []
    n_forwards = store.n_forwards
    for image in noise_images:
        for hook_point in everything:
            assert torch.equal(store.get(image, hook_point), plain.get(image, hook_point))
    assert store.n_forwards == n_forwards


def test_what_memory_drops_is_read_from_the_file(backbone: Backbone, noise_images: list[InputImage]) -> None:
    store = FeatureStore(backbone, MemoryBudget(1), disk=MemoryBudget(PLENTY))
    needed = {HookPoint(2, "residual_channel")}
    store.ensure(noise_images, needed)
    moved(store)
    assert store.n_bytes <= store.bytes_per_image(needed)
    held = [store.held(image.sha256, needed) for image in noise_images]
    assert None not in held
    assert store.n_forwards == len(noise_images)


@pytest.mark.usefixtures("full_disk")
def test_without_a_file_everything_stays_in_memory(backbone: Backbone, noise_images: list[InputImage]) -> None:
    store = FeatureStore(backbone, disk=MemoryBudget(PLENTY))
    store.ensure(noise_images, (), besides=backbone.hook_points)
    moved(store)
    assert store.n_bytes == len(noise_images) * store.bytes_per_image(backbone.hook_points)
