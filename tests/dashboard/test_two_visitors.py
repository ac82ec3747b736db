"""Two visitors and too little memory for both: who looks at a page keeps what it is drawn from."""

from contextlib import nullcontext

import pytest

from dashboard.services import cache
from dashboard.services.analysis import resolved
from dashboard.services.models import model
from dashboard.settings import ModelKey, Settings
from dashboard.workspace import Workspace
from lake_core.backbones.budget import MemoryBudget
from lake_core.backbones.feature_store import FeatureStore
from lake_core.data.datasets import Dataset
from lake_core.data.samples import load_sample
from lake_core.detector.lake import Lake
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


def test_twenty_images_over_seven_input_sizes_hold_half_a_gigabyte_at_most() -> None:
    n_bytes = 0
    for size in (224, 256, 320, 384, 448, 512, 640):
        store = model(ModelKey("lake-cnn", size))
        n_bytes += 20 * store.bytes_per_image(read_by_the_score(store))
    assert n_bytes < 512 * 1024**2


def read_by_the_score(store: FeatureStore) -> frozenset[HookPoint]:
    """The hook points that a detector with the backbone's recommendation reads; all others lie on the disk."""
    return Lake(store.backbone, resolved(Settings(store.backbone.spec)), store).hook_points


def test_eight_visitors_with_ten_images_each_fit_without_computing_anything_twice() -> None:
    """What the score reads of 80 images takes a part of the least memory that a server may have, a quarter of 2 GB."""
    store = model(KEY)
    assert 80 * store.bytes_per_image(read_by_the_score(store)) < cache.MEMORY_SHARE * 2 * 1024**3
