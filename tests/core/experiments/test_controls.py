"""Controls: numbers against brute force and hand-made cases, deterministic, and without running the network again."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.selection import jaccard, select
from lake_core.errors import LakeError, NotFittedError
from lake_core.experiments.controls import (
    log_scale,
    memory_bank_bytes,
    random_control,
    separation,
    separation_measure,
    sweep_k,
)
from lake_core.experiments.ranking import RANKINGS, compare_criteria
from lake_core.experiments.selection_overlap import selection_overlap
from tests.core.images import spotted
from tests.core.running import Cancelled
from tests.core.tiny import OpenTiny

LABELS = [False, False, False, True, True, True]


@pytest.fixture(scope="module")
def small_cnn(one_thread: None) -> Backbone:
    return open_backbone("lake-cnn", image_size=128)


@pytest.fixture(scope="module")
def tests() -> list[InputImage]:
    return [spotted(seed, defect) for seed, defect in zip(range(20, 26), LABELS, strict=True)]


@pytest.fixture(scope="module")
def lake(small_cnn: Backbone, tests: list[InputImage]) -> Lake:
    fitted = Lake(small_cnn, LakeConfig(top_k=30, layers=(12, 15))).fit([spotted(seed) for seed in range(4)])
    fitted.explain_all(tests)
    return fitted


def normal_acts(lake: Lake, layer: int) -> torch.Tensor:
    """(n_normals, n_patches, n_neurons) of hidden neurons."""
    return torch.stack(
        [lake.store.get(image, lake.backbone.hook_point(layer, "mlp_hidden")) for image in lake.normals_]
    )


def planted(backbone: Backbone, normals: list[InputImage], acts_ipn: torch.Tensor, **options: object) -> Lake:
    """A detector whose store holds these activations of layer 2 instead of the network's."""
    store = FeatureStore(backbone)
    lake = Lake(backbone, LakeConfig(**({"layers": (2,), "site": "mlp_hidden"} | options)), store)  # type: ignore[arg-type]
    store.ensure(normals, lake.hook_points)
    for image, acts_pu in zip(normals, acts_ipn, strict=True):
        held = store.held(image.sha256, lake.hook_points)
        assert held is not None
        held[backbone.hook_point(2, "mlp_hidden")].copy_(acts_pu)
    return lake.fit(normals)


# Separation ----------------------------------------------------------------------------------------------------------


def test_with_labels_separation_is_the_auroc_of_the_labelled_images(lake: Lake) -> None:
    assert separation(lake, [1.0, 2.0, 3.0, 4.0], [False, True, False, True]) == pytest.approx(0.75)
    assert separation(lake, [1.0, 9.0, 3.0, 2.0], [False, None, False, True]) == pytest.approx(0.5)


def test_without_both_classes_it_is_the_gap_to_the_normals_own_scores(lake: Lake) -> None:
    gap = 3.0 - float(lake.normal_scores_.mean())
    for labels in (None, [None, None], [False, False], [True, None]):
        assert separation(lake, [2.0, 4.0], labels) == pytest.approx(gap)
        assert separation_measure(labels) == "gap"
    assert separation(lake, lake.normal_scores_) == pytest.approx(0)


def test_no_test_image_is_refused(lake: Lake) -> None:
    with pytest.raises(LakeError, match="add at least one"):
        separation(lake, [], None)
    with pytest.raises(ValueError, match="3 labels for 2"):
        separation(lake, [1.0, 2.0], [True, False, True])


# The random control --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [LABELS, None])
def test_the_random_control_equals_detectors_made_by_hand(
    lake: Lake, tests: list[InputImage], labels: list[bool] | None
) -> None:
    control = random_control(lake, tests, labels, n_draws=3)
    expected = []
    for seed in (1, 2, 3):
        by_hand = Lake(lake.backbone, replace(lake.config, criterion="random", seed=seed), lake.store)
        by_hand.fit(lake.normals_)
        expected.append(separation(by_hand, [r.score for r in by_hand.explain_all(tests)], labels))
    np.testing.assert_allclose(control.draws, expected)
    own = separation(lake, [lake.explain(image).score for image in tests], labels)
    assert control.selected == pytest.approx(own)
    assert control.measure == ("auroc" if labels else "gap")
    if labels is None:
        assert len(set(expected)) == 3
    np.testing.assert_array_equal(random_control(lake, tests, labels, n_draws=3).draws, control.draws)


def test_all_neurons_are_no_better_than_as_many_random_ones(lake: Lake, tests: list[InputImage]) -> None:
    for config in (replace(lake.config, criterion="all"), replace(lake.config, top_k=5000)):
        everything = Lake(lake.backbone, config, lake.store).fit(lake.normals_)
        control = random_control(everything, tests, LABELS, n_draws=2)
        np.testing.assert_allclose(control.draws, control.selected)


def test_the_control_keeps_the_detectors_weights(lake: Lake, tests: list[InputImage]) -> None:
    text_alone = lake.with_weights(fusion_weight=1.0)
    assert len(set(random_control(text_alone, tests, None, 3).draws)) == 1
    assert len(set(random_control(lake, tests, None, 3).draws)) == 3


def test_a_draw_in_which_nothing_varies_is_at_chance(open_tiny: OpenTiny, noise_images: list[InputImage]) -> None:
    backbone = open_tiny("native-vit")
    grid, n_neurons = backbone.layer(2).grid, backbone.layer(2).n_neurons["mlp_hidden"]
    acts = torch.ones(3, grid.n_patches, n_neurons)
    acts[:, :, 5] = torch.randn(3, grid.n_patches, generator=torch.Generator().manual_seed(0))
    lake = planted(backbone, noise_images[:3], acts, top_k=1, normalise="none", smooth=1)
    assert list(lake.selection_[2].neurons) == [5]
    assert random_control(lake, noise_images[3:5], [True, False], 3).draws.tolist() == [0.5] * 3
    assert random_control(lake, noise_images[3:5], None, 3).draws.tolist() == [0.0] * 3


def test_nothing_runs_the_network_again(lake: Lake, tests: list[InputImage]) -> None:
    n_forwards = lake.store.n_forwards
    random_control(lake, tests, LABELS, n_draws=2)
    compare_criteria(lake)
    selection_overlap(lake)
    sweep_k(lake, tests, LABELS, ks=[2, 9], n_draws=1)
    assert lake.store.n_forwards == n_forwards


def test_long_work_can_be_cancelled(lake: Lake, tests: list[InputImage]) -> None:
    for work in (
        lambda stop: random_control(lake, tests, LABELS, n_draws=9, on_progress=stop),
        lambda stop: sweep_k(lake, tests, LABELS, ks=range(2, 11), n_draws=1, on_progress=stop),
        lambda stop: selection_overlap(lake, n_seeds=3, on_progress=stop),
    ):
        seen: list[tuple[int, int]] = []

        def stop(done: int, total: int, seen: list[tuple[int, int]] = seen) -> None:
            seen.append((done, total))
            if done == 2:
                raise Cancelled

        with pytest.raises(Cancelled):
            work(stop)
        assert [done for done, _ in seen] == [1, 2]
        assert seen[0][1] in (9, 18, 10)


def test_an_unfitted_detector_is_refused(small_cnn: Backbone) -> None:
    for work in (selection_overlap, compare_criteria, lambda lake: sweep_k(lake, [], None)):
        with pytest.raises(NotFittedError):
            work(Lake(small_cnn))


# The sweep -----------------------------------------------------------------------------------------------------------


def test_the_sweep_equals_detectors_made_by_hand(lake: Lake, tests: list[InputImage]) -> None:
    table = sweep_k(lake, tests, None, ks=[40, 5, 5000], n_draws=2)
    assert list(table.columns) == ["k", "selected", "random_mean", "random_std", "memory_bank_bytes"]
    assert list(table["k"]) == [5, 40, 5000]

    def by_hand(**changes: object) -> float:
        other = Lake(lake.backbone, replace(lake.config, **changes), lake.store).fit(lake.normals_)  # type: ignore[arg-type]
        return separation(other, [r.score for r in other.explain_all(tests)])

    for row in table.itertuples():
        assert row.selected == pytest.approx(by_hand(top_k=row.k))
        draws = [by_hand(criterion="random", top_k=row.k, seed=seed) for seed in (1, 2)]
        assert row.random_mean == pytest.approx(np.mean(draws))
        assert row.random_std == pytest.approx(np.std(draws), abs=1e-6)
    assert table["random_std"].iloc[-1] == 0
    fitted = sum(layer.bank.numel() * 4 for layer in lake.memory_bank_.layers)
    assert memory_bank_bytes(lake, lake.config.k_of(12)) == fitted
    pd.testing.assert_frame_equal(table, sweep_k(lake, tests, None, ks=[40, 5, 5000], n_draws=2))


def test_the_default_ks_go_from_one_to_all_on_a_log_scale() -> None:
    assert log_scale(720) == [1, 2, 5, 12, 27, 61, 139, 316, 720]
    assert log_scale(3) == [1, 2, 3]
    assert log_scale(1) == [1]


# Criteria and the curve ----------------------------------------------------------------------------------------------


def test_criteria_are_compared_over_the_normal_patches(lake: Lake) -> None:
    compared = compare_criteria(lake)
    for layer in (12, 15):
        table = compared.jaccard[layer]
        assert list(table.index) == list(table.columns) == list(RANKINGS)
        np.testing.assert_array_equal(table, table.T)
        np.testing.assert_array_equal(np.diag(table), 1)
        np.testing.assert_array_equal(compared.selections[layer]["variance"].neurons, lake.selection_[layer].neurons)
        robust = select(*lake.normal_patches(layer), layer, "mlp_hidden", "robust", 30).neurons
        expected = jaccard(robust, lake.selection_[layer].neurons)
        assert table.loc["variance", "robust"] == pytest.approx(expected)
        assert 0 < expected < 1


def test_controls_keep_as_many_neurons_in_each_layer_as_the_selection(lake: Lake, tests: list[InputImage]) -> None:
    uneven = Lake(lake.backbone, replace(lake.config, top_k=(5, 30)), lake.store).fit(lake.normals_)
    compared = compare_criteria(uneven)
    for layer, k in ((12, 5), (15, 30)):
        assert {len(found.neurons) for found in compared.selections[layer].values()} == {k}
    random = Lake(uneven.backbone, replace(uneven.config, criterion="random", seed=1), uneven.store).fit(
        uneven.normals_
    )
    expected = separation(random, [random.explain(image).score for image in tests], LABELS)
    assert random_control(uneven, tests, LABELS, n_draws=1).draws.tolist() == pytest.approx([expected])
    runs = selection_overlap(uneven).runs
    one = select(*uneven.normal_patches(12).of([1, 2, 3]), 12, "mlp_hidden", top_k=5).neurons
    found = runs[(runs["layer"] == 12) & (runs["left_out"] == 0)]["jaccard"].item()
    assert found == pytest.approx(jaccard(one, uneven.selection_[12].neurons))


def test_the_sweep_sets_one_k_for_all_layers(lake: Lake, tests: list[InputImage]) -> None:
    uneven = Lake(lake.backbone, replace(lake.config, top_k=(5, 30)), lake.store).fit(lake.normals_)
    pd.testing.assert_frame_equal(
        sweep_k(uneven, tests, LABELS, ks=[7], n_draws=1), sweep_k(lake, tests, LABELS, ks=[7], n_draws=1)
    )


# Overlap of selections -----------------------------------------------------------------------------------------------


def test_overlaps_are_those_of_selections_made_by_hand(lake: Lake) -> None:
    found = selection_overlap(lake, n_seeds=2)
    assert len(found.runs) == 2 * (4 + 2 * 2)
    overlaps = []
    for layer in (12, 15):
        patches = lake.normal_patches(layer)
        neurons = [
            select(*patches.of([i for i in range(4) if i != out]), layer, "mlp_hidden", top_k=30).neurons
            for out in range(4)
        ]
        runs = found.runs[(found.runs["layer"] == layer) & (found.runs["what"] == "leave one out")]
        assert list(runs["left_out"]) == [0, 1, 2, 3]
        assert set(runs["n_normals"]) == {3}
        overlaps += [jaccard(one, lake.selection_[layer].neurons) for one in neurons]
        np.testing.assert_allclose(runs["jaccard"], overlaps[-4:])
        table = found.neurons[found.neurons["layer"] == layer].set_index("neuron")
        times = np.bincount(np.concatenate(neurons), minlength=720)
        assert set(table.index) == set(np.flatnonzero(times)) | set(lake.selection_[layer].neurons)
        np.testing.assert_allclose(table["share"], times[table.index] / 4)
        assert set(table.index[table["always"]]) == set.intersection(*[set(one) for one in neurons])
        assert set(table.index[table["selected"]]) == set(lake.selection_[layer].neurons)
    assert found.mean_jaccard == pytest.approx(np.mean(overlaps))
    fewer = found.runs[found.runs["what"] == "fewer"]
    assert sorted(set(fewer["n_normals"])) == [1, 2]
    pd.testing.assert_frame_equal(found.runs, selection_overlap(lake, n_seeds=2).runs)


@pytest.mark.parametrize("n_odd", [0, 2, 8])
def test_counts_the_neurons_that_stay_whichever_image_is_left_out(
    open_tiny: OpenTiny, noise_images: list[InputImage], n_odd: int
) -> None:
    """Of 10 selected neurons, some per image owe their place to that image alone; others stand ready."""
    backbone, n_normals = open_tiny("native-vit"), 2
    grid, n_neurons = backbone.layer(2).grid, backbone.layer(2).n_neurons["mlp_hidden"]
    acts = torch.randn(n_normals, grid.n_patches, n_neurons, generator=torch.Generator().manual_seed(0)) * 0.1
    steady = 10 - n_odd
    acts[:, :, :steady] *= 100
    for image in range(n_normals):
        mine = slice(steady + image * (n_odd // 2), steady + (image + 1) * (n_odd // 2))
        acts[image, :, mine] *= 100
        acts[1 - image, :, 40 + image * 10 : 40 + image * 10 + n_odd] *= 50
    lake = planted(backbone, noise_images[:2], acts, top_k=10)
    found = selection_overlap(lake, n_seeds=1)
    assert set(lake.selection_[2].neurons) == set(range(10))
    assert found.mean_jaccard == pytest.approx((10 - n_odd // 2) / (10 + n_odd // 2))
    assert (found.finding.n_always, found.finding.n_selected, found.finding.n_normals) == (steady, 10, 2)
    assert found.finding.mean_jaccard == found.mean_jaccard
    assert int(found.neurons["always"].sum()) == steady


def test_one_normal_image_has_no_other_to_compare(open_tiny: OpenTiny, noise_images: list[InputImage]) -> None:
    lake = Lake(open_tiny("native-vit"), LakeConfig(layers=(2,), top_k=10)).fit(noise_images[:1])
    found = selection_overlap(lake)
    assert found.finding.mean_jaccard is found.mean_jaccard is None
    assert len(found.runs) == len(found.neurons) == 0


def test_a_random_selection_does_not_claim_to_depend_on_the_images(
    open_tiny: OpenTiny, noise_images: list[InputImage]
) -> None:
    config = LakeConfig(layers=(2,), top_k=10, criterion="random")
    found = selection_overlap(Lake(open_tiny("native-vit"), config).fit(noise_images[:3]))
    assert found.mean_jaccard == 1
    assert not found.finding.reads_images
