"""Two visitors and too little memory for both: who looks at a page keeps what it is drawn from."""

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dashboard.services import cache, models
from dashboard.services.analysis import analyse, hook_points_to_compute
from dashboard.services.models import model
from dashboard.settings import ModelKey, Settings
from dashboard.workspace import Workspace
from lake_core.backbones.backbone import Backbone
from lake_core.backbones.budget import MemoryBudget
from lake_core.backbones.feature_store import FeatureStore
from lake_core.data.datasets import Dataset, Example
from lake_core.data.images import read_image
from lake_core.data.samples import load_sample
from lake_core.types import HookPoint

KEY = ModelKey("lake-cnn", None)
READ = {HookPoint(15, "mlp_hidden")}


@pytest.mark.parametrize("is_drawn", [True, False])
def test_features_of_a_page_that_is_drawn_are_not_dropped_for_another_visitor(
    small: Dataset, monkeypatch: pytest.MonkeyPatch, is_drawn: bool
) -> None:
    backbone = model(KEY).backbone
    budget = MemoryBudget(4 * FeatureStore(backbone).bytes_per_image(READ))
    monkeypatch.setattr(cache, "budget", lambda: budget)
    monkeypatch.setattr(cache, "disk", MemoryBudget)
    store = FeatureStore(backbone, budget)
    own, others = small.normals, load_sample("gravel").normals[:4]
    store.ensure([example.image for example in own], READ)
    with cache.pinned(Workspace(own)) if is_drawn else nullcontext():
        store.ensure([example.image for example in others], READ)
        assert store.n_bytes <= budget.max_bytes
        n_forwards = store.n_forwards
        for example in own:
            store.get(example.image, *READ)
    assert store.n_forwards - n_forwards == (0 if is_drawn else len(own))


@pytest.fixture
def drawn(fresh: None, monkeypatch: pytest.MonkeyPatch) -> MemoryBudget:
    """A server with very much memory, no room on the disk, and activations that are drawn; what its results share."""
    budget, disk = MemoryBudget(2**40), MemoryBudget(1)
    for place in (cache, models):
        monkeypatch.setattr(place, "budget", lambda: budget)
        monkeypatch.setattr(place, "disk", lambda: disk)
    monkeypatch.setattr(Backbone, "forward", _drawn)
    return budget


def _drawn(backbone: Backbone, pixels: Tensor, hook_points: Iterable[HookPoint], **_: Any) -> dict[HookPoint, Tensor]:
    """Activations of the network's shapes, drawn in place of a pass through it."""
    shapes = {one: (len(pixels), backbone.grid(one).n_patches, backbone.n_neurons(one)) for one in hook_points}
    return {one: torch.rand(shape) for one, shape in shapes.items()}


def visitor(number: int, n_images: int = 10) -> Workspace:
    """Images that nobody else has, four of them normal."""
    noise = np.random.default_rng(number).integers(0, 256, (n_images, 32, 32, 3), dtype=np.uint8)
    examples = tuple(Example(read_image(image, f"{n}.png")) for n, image in enumerate(noise))
    return Workspace(examples[:4], examples[4:])


def scored(held: Workspace, settings: Settings) -> FeatureStore:
    """Runs the network on a visitor's images and scores them, as the page Results does."""
    store = model(settings.model)
    store.ensure(held.images, hook_points_to_compute(settings, held).all)
    assert len(analyse(settings, held).scores) == len(held.tests)
    return store


def test_twenty_images_over_seven_input_sizes_hold_half_a_gigabyte_at_most(drawn: MemoryBudget) -> None:
    """Activations and results together, of a server that would have room for more."""
    held = visitor(0, 20)
    for size in (224, 256, 320, 384, 448, 512, 640):
        scored(held, Settings("lake-cnn", size))
    assert 100 * 1024**2 < drawn.n_bytes < 512 * 1024**2


def test_eight_visitors_with_ten_images_each_have_every_image_computed_once(drawn: MemoryBudget) -> None:
    """With the least memory that a server may have, 2 GB; results take of the same memory."""
    drawn.max_bytes = int(cache.MEMORY_SHARE * 2 * 1024**3)
    visitors = [visitor(number) for number in range(8)]
    stores = [scored(held, Settings()) for _ in range(2) for held in visitors]
    assert stores[-1].n_forwards == 80
    assert drawn.n_bytes < drawn.max_bytes
