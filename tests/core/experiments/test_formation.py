"""How a selection forms, against the same sums in double precision, without running the network again."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.errors import LakeError
from lake_core.experiments.formation import MOST_STEPS, Formation, formation
from lake_core.sentences import sentence
from tests.core.images import spotted
from tests.core.running import Cancelled

LAYER, K = 12, 30


@pytest.fixture(scope="module")
def small_cnn(one_thread: None) -> Backbone:
    return open_backbone("lake-cnn", image_size=128)


@pytest.fixture(scope="module")
def normals() -> list[InputImage]:
    return [spotted(seed) for seed in range(5)]


@pytest.fixture(scope="module")
def lake(small_cnn: Backbone, normals: list[InputImage]) -> Lake:
    store = FeatureStore(small_cnn)
    store.ensure(normals, small_cnn.hook_points)
    return Lake(small_cnn, LakeConfig(top_k=K, layers=(LAYER,)), store)


@pytest.fixture(scope="module")
def formed(lake: Lake, normals: list[InputImage]) -> Formation:
    return formation(lake, LAYER, normals)


def variances(lake: Lake, images: list[InputImage]) -> np.ndarray:
    """Sample variance of each neuron over all patches, summed up one image at a time in double precision."""
    hook_point = lake.backbone.hook_point(LAYER, lake.config.site)
    acts = [lake.store.get(image, hook_point).numpy().astype(np.float64) for image in images]
    n = sum(map(len, acts))
    mean = sum(one.sum(axis=0) for one in acts) / n
    return sum(((one - mean) ** 2).sum(axis=0) for one in acts) / (n - 1)


def test_every_step_is_the_selection_from_the_first_images(
    lake: Lake, normals: list[InputImage], formed: Formation
) -> None:
    steps = formed.arriving(K)
    assert [step.n_normals for step in steps] == [1, 2, 3, 4, 5]
    naive = [list(np.argsort(-variances(lake, normals[:n]))[:K]) for n in range(1, 6)]
    n_changes = 0
    for n, step in enumerate(steps):
        now, before = naive[n], naive[max(n - 1, 0)]
        assert step.selection.neurons.tolist() == now
        assert set(step.entered) == set(now) - set(before)
        assert set(step.left) == set(before) - set(now)
        assert step.share_final == pytest.approx(len(set(now) & set(naive[-1])) / K)
        assert step.by_chance == pytest.approx(K / step.selection.n_neurons)
        assert step.share_kept == (None if n == 0 else pytest.approx(len(set(now) & set(before)) / K))
        n_changes += len(step.entered)
    assert n_changes > 5


def test_the_last_step_is_what_a_fitted_detector_selects(
    lake: Lake, normals: list[InputImage], formed: Formation
) -> None:
    fitted = Lake(lake.backbone, lake.config, lake.store).fit(normals)
    last = formed.arriving(K)[-1]
    np.testing.assert_array_equal(last.selection.neurons, fitted.selection_[LAYER].neurons)


def test_those_that_enter_and_leave_are_listed_by_sensitivity(formed: Formation) -> None:
    for step in formed.arriving(K):
        for neurons in (step.entered, step.left):
            values = step.selection.sensitivity[neurons]
            assert (np.diff(values) <= 0).all()


def test_what_is_kept_by_chance_is_what_random_selections_keep(formed: Formation) -> None:
    step = formed.arriving(K)[1]
    rng, n_neurons = np.random.default_rng(0), step.selection.n_neurons
    draws = [rng.permutation(n_neurons)[:K] for _ in range(4001)]
    shared = [len(np.intersect1d(a, b)) for a, b in pairwise(draws)]
    assert np.mean(shared) / K == pytest.approx(step.by_chance, abs=0.005)
    assert np.mean(shared) == pytest.approx(formed.finding(K).n_by_chance, abs=0.2)


def test_a_growing_k_only_adds(formed: Formation) -> None:
    steps = formed.growing([50, 3, 10, 10])
    order = formed.rankings[-1].order
    assert [len(step.selection.neurons) for step in steps] == [3, 10, 50]
    assert [step.entered.tolist() for step in steps[1:]] == [order[3:10].tolist(), order[10:50].tolist()]
    assert [len(step.left) for step in steps] == [0, 0, 0]
    assert [step.share_kept for step in steps] == [None, 1.0, 1.0]
    assert {step.n_normals for step in steps} == {5}
    (everything,) = formed.growing([len(order), len(order) + 5])
    assert everything.k == len(order)


def test_many_images_arrive_several_at_a_time_and_the_same_one_once(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(
        "lake_core.experiments.formation.would_select", lambda lake, layer, images: seen.append(len(images))
    )
    image = spotted(0)
    many = [replace(image, sha256=f"{n:064x}") for n in range(60)]
    assert formation(lake, LAYER, [*many, many[3]]).n_normals == tuple(seen)
    assert (seen[0], seen[-1]) == (1, 60)
    assert len(seen) <= MOST_STEPS
    assert seen == sorted(set(seen))


def test_no_network_runs_and_the_work_can_be_cancelled(lake: Lake, normals: list[InputImage]) -> None:
    n_forwards, seen = lake.store.n_forwards, []

    def cancel(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        formation(lake, LAYER, normals, cancel)
    assert seen == [(1, 5), (2, 5)]
    assert lake.store.n_forwards == n_forwards


def test_controls_do_not_look_at_the_images(lake: Lake, normals: list[InputImage]) -> None:
    random = Lake(lake.backbone, replace(lake.config, criterion="random"), lake.store)
    formed = formation(random, LAYER, normals)
    assert [step.share_kept for step in formed.arriving(K)] == [None, 1.0, 1.0, 1.0, 1.0]
    assert "does not look at the images" in sentence(formed.finding(K))


def test_one_image_has_nothing_to_compare_with(lake: Lake, normals: list[InputImage]) -> None:
    formed = formation(lake, LAYER, normals[:1])
    (step,) = formed.arriving(K)
    assert (step.share_kept, step.share_final, len(step.entered), len(step.left)) == (None, 1.0, 0, 0)
    assert "add a second to compare" in sentence(formed.finding(K))
    with pytest.raises(LakeError, match="no normal image"):
        formation(lake, LAYER, [])
