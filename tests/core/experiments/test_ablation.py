"""Ablating neurons from the score, against the method written again in double precision."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import lake_core
from lake_core.backbones.feature_store import FeatureStore
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.errors import ConfigError
from lake_core.experiments.ablation import ablate, ablate_tests, ablated, ablation_control, compare_ablated
from lake_core.experiments.contamination import contaminate
from lake_core.experiments.neuron_sets import RandomDraws, all_selected, selected_among, whole_layer
from lake_core.experiments.prompt_sensitivity import prompt_sensitivity
from lake_core.experiments.robustness import score_stability
from lake_core.findings.fits import LayerAblated
from lake_core.metrics.image_metrics import auroc
from tests.core.experiments.interventions import LABELS, three_of_each
from tests.core.method import N_NORMALS, agree, naive, naive_normal_scores, total
from tests.core.running import Cancelled, assert_unchanged, held_activations, in_threads

# Against the naive implementation ------------------------------------------------------------------------------------


def test_switching_off_agrees_with_the_method_written_again(fitted: Lake, noise_images: list[InputImage]) -> None:
    normals, image, off = noise_images[:N_NORMALS], noise_images[5], three_of_each(fitted)
    n_before = fitted.store.n_forwards
    found = ablate(fitted, off, image)
    assert fitted.store.n_forwards == n_before
    expected = naive(fitted, normals, image, off)
    grid = found.after.patch_scores.grid
    on_image = np.where(expected.inside, 1, np.nan).reshape(grid.rows, grid.cols)
    agree(found.after.visual_map, expected.visual.reshape(on_image.shape) * on_image)
    agree(found.after.map, expected.fused.reshape(on_image.shape) * on_image)
    assert found.after.score == pytest.approx(expected.score, rel=5e-4)
    assert found.before.score == pytest.approx(naive(fitted, normals, image).score, rel=5e-4)
    assert found.change == pytest.approx(expected.score - naive(fitted, normals, image).score, rel=1e-2, abs=1e-4)
    assert abs(found.change) > 1e-3
    scores = naive_normal_scores(fitted, normals, off)
    np.testing.assert_allclose(ablated(fitted, off).normal_scores_, scores, rtol=1e-3)
    assert found.after.threshold == pytest.approx(np.quantile(scores, fitted.config.threshold_quantile), rel=1e-3)
    assert found.after.threshold != found.before.threshold


def test_the_contributions_still_adds_up_and_lacks_the_neurons(fitted: Lake, noise_images: list[InputImage]) -> None:
    off = three_of_each(fitted)
    for image in noise_images[3:5]:
        result = ablate(fitted, off, image).after
        expected = naive(fitted, noise_images[:N_NORMALS], image, off)
        assert total(result.contributions()) == pytest.approx(result.score, rel=1e-4)
        for patch in np.flatnonzero(result.patch_scores.inside):
            contributions = result.contributions(int(patch))
            assert total(contributions) == pytest.approx(float(result.map.reshape(-1)[patch]), rel=1e-4)
            visual = contributions[contributions["part"] == "visual"]
            named = set(zip(visual["layer"], visual["neuron"], strict=True))
            assert named == expected.shares[int(patch)].keys()
            assert not named & {(layer, neuron) for layer, neurons in off.items() for neuron in neurons}


def test_all_neurons_of_all_layers_off_leaves_no_visual_part(fitted: Lake, noise_images: list[InputImage]) -> None:
    after = ablate(fitted, all_selected(fitted), noise_images[5]).after
    assert after.visual == 0
    scores = naive_normal_scores(fitted, noise_images[:N_NORMALS], all_selected(fitted))  # type: ignore[arg-type]
    assert after.threshold == pytest.approx(np.quantile(scores, fitted.config.threshold_quantile), rel=1e-3)
    assert (after.visual_map[np.isfinite(after.visual_map)] == 0).all()
    expected = naive(fitted, noise_images[:N_NORMALS], noise_images[5], all_selected(fitted))  # type: ignore[arg-type]
    assert after.score == pytest.approx(expected.score, rel=5e-4)
    assert after.score == pytest.approx(after.fusion_weight * after.text)
    assert total(after.contributions()) == pytest.approx(after.score)
    assert after.evidence() == []
    for level in ("neuron", "layer", "part"):
        assert total(after.contributions(level=level)) == pytest.approx(after.score)


def test_a_layer_that_is_off_counts_nothing_and_keeps_its_place_in_the_mean(
    lakes: Any, noise_images: list[InputImage]
) -> None:
    lake = lakes("native-vit", fusion_weight=0.0)
    first, *others = lake.selection_
    found = ablate(lake, whole_layer(lake, first), noise_images[5])
    alone = lakes("native-vit", fusion_weight=0.0, layers=tuple(others)).explain(noise_images[5])
    np.testing.assert_allclose(found.after.map, alone.map * len(others) / (len(others) + 1), rtol=1e-5)
    assert {e.layer for e in found.after.evidence()} == set(others) == {e.layer for e in found.evidence_before}
    assert first not in set(found.after.contributions()["layer"].dropna())


def test_neurons_that_do_not_vary_cannot_carry_a_layer_alone(lakes: Any, noise_images: list[InputImage]) -> None:
    lake = lakes("native-vit", normalise="none", smooth=1)
    hook_point = lake.backbone.hook_point(2, "residual_channel")
    store = FeatureStore(lake.backbone)
    store.ensure(noise_images, lake.hook_points)
    still = [int(neuron) for neuron in lake.selection_[2].order[:2]]
    for image in noise_images:
        store.get(image, hook_point)[:, still] = 1.0
    config = replace(lake.config, layers=(2,), criterion="all")
    dead = Lake(lake.backbone, config, store).fit(noise_images[:N_NORMALS])
    off = [int(neuron) for neuron in dead.selection_[2].neurons if neuron not in still]
    found = ablate(dead, {2: off}, noise_images[5])
    assert found.warnings == (LayerAblated(2),)
    assert found.after.visual == 0


def test_nothing_off_changes_nothing(lakes: Any, noise_images: list[InputImage]) -> None:
    lake = lakes("siglip")
    several: tuple[dict[int, list[int]], ...] = ({}, {2: []})
    for nothing in several:
        found = ablate(lake, nothing, noise_images[5])
        assert found.change == 0
        np.testing.assert_array_equal(found.after.map, found.before.map)
        assert found.after.patch == found.before.patch
        assert found.n_neurons == 0
        assert found.after.threshold == lake.threshold_


def test_the_detector_and_its_store_stay_as_they_were(lakes: Any, noise_images: list[InputImage]) -> None:
    lake = lakes("siglip")
    before = lake.explain(noise_images[5])
    held = held_activations(lake, noise_images)
    neurons = {layer: s.neurons.copy() for layer, s in lake.selection_.items()}
    ablation_control(lake, three_of_each(lake), before, lake.explain_all(noise_images[4:]), LABELS, RandomDraws(3))
    after = lake.explain(noise_images[5])
    assert (after.score, after.threshold) == (before.score, before.threshold)
    assert all(np.array_equal(neurons[layer], s.neurons) for layer, s in lake.selection_.items())
    assert_unchanged(lake, noise_images, held)


# Choosing and words --------------------------------------------------------------------------------------------------


def test_only_selected_neurons_can_be_switched_off(lakes: Any, noise_images: list[InputImage]) -> None:
    lake = lakes("native-vit")
    stranger = int(lake.selection_[2].order[-1])
    with pytest.raises(ConfigError, match=f"Neuron {stranger} of layer 2 is not selected"):
        ablate(lake, {2: [stranger]}, noise_images[5])
    with pytest.raises(ConfigError, match="Layer 9 takes no part in the score; layers that do: 1, 2, 3"):
        ablated(lake, {9: [0]})
    own = int(lake.selection_[2].neurons[1])
    pinned = selected_among(lake, {1: [stranger] * 0, 2: [stranger, own], 9: [0]})
    assert {layer: neurons.tolist() for layer, neurons in pinned.items()} == {2: [own]}


def test_the_finding_has_scores_decisions_and_thresholds(lakes: Any, noise_images: list[InputImage]) -> None:
    lake = lakes("native-vit")
    found = ablate(lake, all_selected(lake), noise_images[5])
    finding = found.finding
    assert (finding.score_before, finding.score_after) == (found.before.score, found.after.score)
    assert (finding.threshold_before, finding.threshold_after) == (lake.threshold_, found.after.threshold)
    assert finding.was_anomalous == (found.before.score > lake.threshold_)
    assert finding.is_anomalous == (found.after.score > found.after.threshold)
    assert finding.n_neurons == 27


def test_a_threshold_that_was_set_is_kept_by_all_that_is_made_of_the_detector(
    lakes: Any, noise_images: list[InputImage]
) -> None:
    lake = lakes("siglip", top_k=12)
    mine, off = lake.with_threshold(7.5), all_selected(lake)
    few = {layer: neurons[:2] for layer, neurons in off.items()}
    assert lake.own_threshold is None
    assert lake.threshold_ != 7.5
    assert {mine.threshold_, mine.with_weights(fusion_weight=0.9).threshold_, ablated(mine, few).threshold_} == {7.5}
    assert mine.with_threshold(None).threshold_ == lake.threshold_
    outcome = ablate(mine, few, noise_images[5])
    assert not outcome.before.is_anomalous
    assert (outcome.finding.threshold_before, outcome.finding.threshold_after) == (7.5, 7.5)
    changed = contaminate(mine, [noise_images[6]], [mine.explain(noise_images[5])])
    assert (changed.finding.threshold_before, changed.finding.threshold_after) == (7.5, 7.5)
    found = prompt_sensitivity(mine, mine.explain(noise_images[5]))
    assert set(found.table["threshold"]) == {7.5}
    assert not found.table["is_anomalous"].any()
    steady = score_stability(mine, noise_images[5])
    assert set(steady.table["threshold"]) == {7.5}


# Many images, other detectors, threads -------------------------------------------------------------------------------


def test_the_table_of_tests_is_each_image_switched_off(lakes: Any, noise_images: list[InputImage]) -> None:
    lake, images, done = lakes("efficientnet"), noise_images[4:], []
    off = three_of_each(lake)
    found = ablate_tests(lake, off, lake.explain_all(images), LABELS, lambda *step: done.append(step))
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for row, image in zip(found.table.itertuples(), images, strict=True):
        one = ablate(lake, off, image)
        assert (row.before, row.after) == (one.before.score, one.after.score)
        assert row.change == pytest.approx(one.change)
        assert row.anomalous_after == one.after.is_anomalous
        assert row.anomalous_at_kept_threshold == (one.after.score > one.before.threshold)
    known = [0, 1, 3]
    assert found.auroc_after == auroc([False, True, True], found.table["after"].to_numpy()[known])
    assert found.auroc_before == auroc([False, True, True], found.table["before"].to_numpy()[known])
    assert ablate_tests(lake, off, lake.explain_all(images)).auroc_after is None
    assert found.table["label"].isna().tolist() == [False, False, True, False]


def test_a_detector_and_its_reduced_one_give_the_neurons_between_them(
    lakes: Any, noise_images: list[InputImage]
) -> None:
    lake = lakes("native-vit")
    off = three_of_each(lake)
    found = compare_ablated(lake, ablated(lake, off), lake.explain(noise_images[5]))
    assert {layer: neurons.tolist() for layer, neurons in found.neurons.items()} == {
        layer: sorted(neurons) for layer, neurons in off.items()
    }
    assert found.after.score == ablate(lake, off, noise_images[5]).after.score


def test_cancelling_leaves_everything_usable(lakes: Any, noise_images: list[InputImage]) -> None:
    lake = lakes("eva02")
    before = ablate(lake, three_of_each(lake), noise_images[5]).after.score

    def stop(done: int, _in_all: int) -> None:
        if done == 2:
            raise Cancelled

    results = lake.explain_all(noise_images[3:])
    for work in (
        lambda: ablate_tests(lake, three_of_each(lake), results, on_progress=stop),
        lambda: ablation_control(
            lake, three_of_each(lake), lake.explain(noise_images[5]), draws=RandomDraws(5), on_progress=stop
        ),
    ):
        with pytest.raises(Cancelled):
            work()
    assert ablate(lake, three_of_each(lake), noise_images[5]).after.score == before


def test_threads_that_switch_off_different_neurons_do_not_meet(lakes: Any, noise_images: list[InputImage]) -> None:
    lake = lakes("native-vit")
    offs = [{layer: [int(s.neurons[index])] for layer, s in lake.selection_.items()} for index in range(4)]
    expected = [ablate(lake, off, noise_images[5]).after.score for off in offs]
    assert len(set(expected)) == 4

    def work(index: int) -> None:
        for _ in range(10):
            assert ablate(lake, offs[index], noise_images[5]).after.score == expected[index]

    in_threads(work)


def test_the_experiments_are_in_the_public_api() -> None:
    names = {
        "ablate",
        "ablate_tests",
        "ablation_control",
        "activation_patching",
        "contaminate",
        "compare_contributions",
    }
    assert names <= set(lake_core.__all__)
    assert all(callable(getattr(lake_core, name)) for name in names)
