"""Switching neurons off, against the method written again in double precision, and beside random draws."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import lake_core
from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.memory_bank import finest
from lake_core.errors import ConfigError
from lake_core.experiments.ablation import ablate, ablate_tests, ablated, ablation_control, compare_ablated
from lake_core.experiments.contamination import contaminate
from lake_core.experiments.neuron_sets import (
    RandomDraws,
    all_selected,
    is_mixed,
    matched_draws,
    rank_among,
    selected_among,
    top_contributing_neurons,
    whole_layer,
)
from lake_core.experiments.prompt_sensitivity import prompt_sensitivity
from lake_core.experiments.robustness import score_stability
from lake_core.findings import LayerAblated, Rank
from lake_core.metrics.image_metrics import auroc, known_auroc
from tests.core.method import (
    CASES,
    N_NORMALS,
    agree,
    brute,
    layers_of,
    lies_inside,
    naive,
    naive_subspace,
    site_of,
    total,
    under,
)
from tests.core.running import Cancelled, assert_unchanged, held_activations, in_threads
from tests.core.tiny import OpenTiny, each_shape

LABELS = [False, True, None, True]
Off = dict[int, list[int]]


@pytest.fixture(scope="module")
def lakes(open_tiny: OpenTiny, noise_images: list[InputImage]) -> Any:
    """Fitted detectors by family and case of `test_scoring`, each with all images in its store."""
    stores: dict[Backbone, FeatureStore] = {}

    def make(name: str, case: str = "channel, neuron, letterbox", **changes: Any) -> Lake:
        resize, options = CASES[case]
        backbone = open_tiny(name, resize=resize)
        store = stores.setdefault(backbone, FeatureStore(backbone))
        site = site_of(backbone, options["site"])
        options = options | {"site": site, "layers": layers_of(backbone, site, 8)} | changes
        lake = Lake(backbone, LakeConfig(**options), store).fit(noise_images[:N_NORMALS])
        store.ensure(noise_images, lake.hook_points)
        return lake

    return make


@pytest.fixture(params=each_shape(list(CASES)[:2]))
def fitted(request: pytest.FixtureRequest, lakes: Any) -> Lake:
    """Every family over several layers, in two cases that take both kinds, scalings and resizings between them."""
    return lakes(*request.param).with_weights(fusion_weight=0.3)


def some(lake: Lake) -> Off:
    """Three neurons of each layer: the most sensitive, the least of the selected, and one between."""
    return {layer: [int(s.neurons[0]), int(s.neurons[3]), int(s.neurons[-1])] for layer, s in lake.selection_.items()}


def naive_normal_scores(lake: Lake, normals: list[InputImage], off: Off) -> list[float]:
    """The normal images' leave-one-out scores (sections 2 to 4), float64, without the neurons in `off`."""
    config, backbone = lake.config, lake.backbone
    grid = finest([backbone.layer(number).grid for number in config.layers])
    visual = np.zeros((len(normals), grid.n_patches))
    for number in config.layers:
        own, hook_point = backbone.layer(number).grid, backbone.hook_point(number, config.site)
        acts = np.stack([lake.store.get(normal, hook_point).double().numpy() for normal in normals])
        inside = np.stack([lies_inside(own, backbone, normal) for normal in normals])
        neurons = np.argsort(-acts[inside].var(0, ddof=1), kind="stable")[: config.top_k]
        neurons = np.array([neuron for neuron in neurons if neuron not in off.get(number, [])], int)
        if not len(neurons):
            continue
        vectors = naive_subspace(acts, neurons, own, config.smooth, config.normalise)
        found = np.stack(
            [
                brute(vectors[i], np.concatenate([vectors[j][inside[j]] for j in range(len(normals)) if j != i]))
                for i in range(len(normals))
            ]
        )
        tau = np.quantile(found[inside], config.calibration_quantile)
        visual += found[:, under(grid, own)] / tau / len(config.layers)
    scores = []
    for i, normal in enumerate(normals):
        # The text map of a normal image is its own; `naive` gives it beside a visual map that is not wanted.
        text_part = naive(lake, normals, normal).text_part
        fused = (
            visual[i]
            if text_part is None
            else (1 - config.fusion_weight) * visual[i] + config.fusion_weight * text_part
        )
        inside_i = lies_inside(grid, backbone, normal)
        scores.append(float(np.sort(fused[inside_i])[-min(config.top_q, inside_i.sum()) :].mean()))
    return scores


# Against the naive implementation ------------------------------------------------------------------------------------


def test_switching_off_agrees_with_the_method_written_again(fitted: Lake, noise_images: list[InputImage]) -> None:
    normals, image, off = noise_images[:N_NORMALS], noise_images[5], some(fitted)
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
    assert found.change == pytest.approx(expected.score - naive(fitted, normals, image).score, abs=2e-3)
    assert abs(found.change) > 1e-4
    scores = naive_normal_scores(fitted, normals, off)
    np.testing.assert_allclose(ablated(fitted, off).normal_scores_, scores, rtol=1e-3)
    assert found.after.threshold == pytest.approx(np.quantile(scores, fitted.config.threshold_quantile), rel=1e-3)
    assert found.after.threshold != found.before.threshold


def test_contaminated_normals_agree_with_the_method_written_again(fitted: Lake, noise_images: list[InputImage]) -> None:
    normals, added, image = noise_images[:N_NORMALS], noise_images[6], noise_images[5]
    found = contaminate(fitted, [added], [image, added], [True, False])
    row = found.scores.table.iloc[0]
    assert found.scores.table["image"].tolist() == [image.name]
    assert row["before"] == pytest.approx(naive(fitted, normals, image).score, rel=5e-4)
    assert row["after"] == pytest.approx(naive(fitted, [*normals, added], image).score, rel=5e-4)
    scores = naive_normal_scores(fitted, [*normals, added], {})
    assert found.scores.threshold_after == pytest.approx(
        np.quantile(scores, fitted.config.threshold_quantile), rel=1e-3
    )
    assert abs(row["change"]) > 1e-5


def test_the_contributions_still_adds_up_and_lacks_the_neurons(fitted: Lake, noise_images: list[InputImage]) -> None:
    off = some(fitted)
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
    ablation_control(lake, some(lake), noise_images[5], noise_images[4:], LABELS, RandomDraws(3))
    after = lake.explain(noise_images[5])
    assert (after.score, after.threshold) == (before.score, before.threshold)
    assert all(np.array_equal(neurons[layer], s.neurons) for layer, s in lake.selection_.items())
    assert_unchanged(lake, noise_images, held)


# Choosing and words --------------------------------------------------------------------------------------------------


def test_the_top_of_the_contributions_are_its_greatest_contributions(
    lakes: Any, noise_images: list[InputImage]
) -> None:
    lake = lakes("convnext")
    result = lake.explain(noise_images[5])
    for patch in (None, 0 if result.patch_scores.inside[0] else int(np.flatnonzero(result.patch_scores.inside)[0])):
        chosen = top_contributing_neurons(result, 5, patch)
        contributions = result.contributions(patch)
        visual = contributions[contributions["part"] == "visual"].sort_values("contribution", ascending=False)
        wanted = {(int(r.layer), int(r.neuron)) for r in visual.head(5).itertuples()}
        assert {(layer, int(neuron)) for layer, neurons in chosen.items() for neuron in neurons} == wanted
        off = ablate(lake, chosen, noise_images[5])
        assert off.n_neurons == 5
    everything = top_contributing_neurons(result, 10_000)
    assert {layer: len(neurons) for layer, neurons in everything.items()} == {
        layer: len(s.neurons) for layer, s in lake.selection_.items()
    }


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


# Many images -------------------------------------------------------------------------------------------------------


def test_the_table_of_tests_is_each_image_switched_off(lakes: Any, noise_images: list[InputImage]) -> None:
    lake, images, done = lakes("efficientnet"), noise_images[4:], []
    off = some(lake)
    found = ablate_tests(lake, off, images, LABELS, lambda *step: done.append(step))
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
    assert ablate_tests(lake, off, images).auroc_after is None
    assert found.table["label"].isna().tolist() == [False, False, True, False]


# Random draws --------------------------------------------------------------------------------------------------------


def test_draws_are_matched_reproducible_different_and_without_the_chosen_neurons() -> None:
    neurons, pools = {3: [1, 5, 9], 7: [0]}, {3: range(20), 7: range(4, 30)}
    draws = matched_draws(neurons, pools, RandomDraws(40, seed=3))
    assert len(draws) == 40
    for draw in draws:
        assert {layer: len(set(found.tolist())) for layer, found in draw.items()} == {3: 3, 7: 1}
        for layer, found in draw.items():
            assert not set(found.tolist()) & set(neurons[layer])
            assert set(found.tolist()) <= set(pools[layer])
    again, other = (
        matched_draws(neurons, pools, RandomDraws(40, seed=3)),
        matched_draws(neurons, pools, RandomDraws(40, seed=4)),
    )
    as_lists = [[draw[3].tolist() + draw[7].tolist() for draw in some] for some in (draws, again, other)]
    assert as_lists[0] == as_lists[1] != as_lists[2]
    assert len({tuple(row) for row in as_lists[0]}) == 40
    drawn = np.bincount(
        np.concatenate([draw[3] for draw in matched_draws(neurons, pools, RandomDraws(300))]), minlength=20
    )
    assert (drawn > 0).sum() == 17


def test_there_are_as_many_draws_as_differ() -> None:
    assert len(matched_draws({1: [0]}, {1: range(6)})) == 5
    assert len(matched_draws({1: [0, 1]}, {1: range(6)}, RandomDraws(6))) == 6
    assert matched_draws({1: range(6)}, {1: range(6)}) == []
    assert matched_draws({1: [0, 1]}, {1: [5]}) == []
    assert matched_draws({1: []}, {1: range(6)}) == []


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
    changed = contaminate(mine, [noise_images[6]], [noise_images[5]])
    assert (changed.finding.threshold_before, changed.finding.threshold_after) == (7.5, 7.5)
    if lake.backbone.joint_hook_point is not None:
        found = prompt_sensitivity(mine, noise_images[5])
        assert set(found.table["threshold"]) == {7.5}
        assert not found.table["is_anomalous"].any()
    steady = score_stability(mine, noise_images[5])
    assert set(steady.table["threshold"]) == {7.5}


def test_nothing_is_ranked_where_nothing_changed() -> None:
    assert rank_among(0.0, [0.0, 0.1]) == Rank(2, 2, is_nil=True)
    assert not rank_among(1e-9, [0.0, 0.1]).is_nil


def test_more_than_half_of_a_layer_is_compared_with_draws_that_hold_chosen_neurons() -> None:
    neurons, pools = {1: [0, 1, 2, 3], 2: [7]}, {1: range(6), 2: range(5, 40)}
    draws = matched_draws(neurons, pools)
    assert len(draws) == 20
    assert is_mixed(neurons, draws)
    assert not any(draw[1].tolist() == neurons[1] and draw[2].tolist() == neurons[2] for draw in draws)
    assert (
        len(matched_draws({1: [0, 1, 2, 3]}, {1: range(6)}, RandomDraws(100))) == 14
    )  # of 15 sets of four one is the chosen
    assert not is_mixed({1: [0, 1]}, matched_draws({1: [0, 1]}, {1: range(9)}))
    assert rank_among(0.5, [0.1, 0.2], mixed=True) == Rank(2, 0, mixed=True)


def test_a_rank_counts_by_size() -> None:
    rank = rank_among(-0.5, [0.1, 0.5, -0.7, 0.49])
    assert rank == Rank(4, 2)
    assert rank.p_value == pytest.approx(3 / 5)
    assert Rank(0, 0).p_value is None
    with pytest.raises(ConfigError, match="number of random draws is -1"):
        RandomDraws(-1)


def test_the_control_is_each_draw_switched_off(lakes: Any, noise_images: list[InputImage]) -> None:
    lake, images, done = lakes("siglip", top_k=12), noise_images[4:], []
    off = some(lake)
    control = ablation_control(
        lake, off, images[0], images, LABELS, RandomDraws(4, seed=5), lambda *step: done.append(step)
    )
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert control.change == pytest.approx(ablate(lake, off, images[0]).change)
    before = ablate_tests(lake, {}, images, LABELS).auroc_before
    assert before is not None
    for draw, change, auroc_change in zip(control.draws, control.changes, control.auroc_changes, strict=True):  # type: ignore[arg-type]
        assert {layer: len(neurons) for layer, neurons in draw.items()} == dict.fromkeys(off, 3)
        assert all(not set(neurons.tolist()) & set(off[layer]) for layer, neurons in draw.items())
        assert change == pytest.approx(ablate(lake, draw, images[0]).change)
        after = known_auroc(LABELS, [ablate(lake, draw, image).after.score for image in images])
        assert auroc_change == pytest.approx(after - before)  # type: ignore[operator]
    assert control.rank == rank_among(control.change, control.changes)
    assert len(set(control.changes)) == 4
    assert [(one.quantity, one.rank, one.pool, one.n_layers) for one in control.finding.ranks] == [
        ("score", control.rank, "selected", len(off)),
        ("AUROC", control.auroc_rank, "selected", len(off)),
    ]
    again = ablation_control(lake, off, images[0], draws=RandomDraws(4, seed=5))
    np.testing.assert_array_equal(again.changes, control.changes)
    assert again.auroc_rank is None
    assert [one.quantity for one in again.finding.ranks] == ["score"]
    nothing_left = ablation_control(lake, all_selected(lake), images[0], draws=RandomDraws(4))
    assert (nothing_left.rank.n_draws, len(nothing_left.changes)) == (0, 0)


def test_a_detector_and_its_reduced_one_give_the_neurons_between_them(
    lakes: Any, noise_images: list[InputImage]
) -> None:
    lake = lakes("native-vit")
    off = some(lake)
    found = compare_ablated(lake, ablated(lake, off), noise_images[5])
    assert {layer: neurons.tolist() for layer, neurons in found.neurons.items()} == {
        layer: sorted(neurons) for layer, neurons in off.items()
    }
    assert found.after.score == ablate(lake, off, noise_images[5]).after.score


def test_cancelling_leaves_everything_usable(lakes: Any, noise_images: list[InputImage]) -> None:
    lake = lakes("eva02")
    before = ablate(lake, some(lake), noise_images[5]).after.score

    def stop(done: int, _in_all: int) -> None:
        if done == 2:
            raise Cancelled

    for work in (
        lambda: ablate_tests(lake, some(lake), noise_images[3:], on_progress=stop),
        lambda: ablation_control(lake, some(lake), noise_images[5], draws=RandomDraws(5), on_progress=stop),
    ):
        with pytest.raises(Cancelled):
            work()
    assert ablate(lake, some(lake), noise_images[5]).after.score == before


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
