"""Which neurons an ablation chooses, and the matched random draws beside which it is ranked."""

from typing import Any

import numpy as np
import pytest

from lake_core.data.images import InputImage
from lake_core.errors import ConfigError
from lake_core.experiments.ablation import ablate, ablate_tests, ablation_control
from lake_core.experiments.neuron_sets import (
    RandomDraws,
    all_selected,
    is_mixed,
    matched_draws,
    rank_among,
    top_contributing_neurons,
)
from lake_core.findings.neurons import Rank
from lake_core.metrics.image_metrics import known_auroc
from tests.core.experiments.interventions import LABELS, three_of_each


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
    results, off = lake.explain_all(images), three_of_each(lake)
    control = ablation_control(
        lake, off, results[0], results, LABELS, RandomDraws(4, seed=5), lambda *step: done.append(step)
    )
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert control.change == pytest.approx(ablate(lake, off, images[0]).change, rel=1e-5)
    before = ablate_tests(lake, {}, results, LABELS).auroc_before
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
    again = ablation_control(lake, off, results[0], draws=RandomDraws(4, seed=5))
    np.testing.assert_array_equal(again.changes, control.changes)
    assert again.auroc_rank is None
    assert [one.quantity for one in again.finding.ranks] == ["score"]
    nothing_left = ablation_control(lake, all_selected(lake), results[0], draws=RandomDraws(4))
    assert (nothing_left.rank.n_draws, len(nothing_left.changes)) == (0, 0)
