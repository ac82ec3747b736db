"""Random draws beside a change inside the running network, and what stays as it was: the store, other threads."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.experiments.neuron_sets import RandomDraws
from lake_core.experiments.patching import CausalChange, causal_ablation
from lake_core.experiments.replacing import Targets
from tests.core.experiments.interventions import NO_DRAWS, early
from tests.core.method import N_NORMALS
from tests.core.running import Cancelled, assert_unchanged, held_activations, in_threads
from tests.core.tiny import OpenTiny, Tiny


@pytest.fixture
def lake(tiny: Tiny, causal_lakes: Callable[..., Lake]) -> Lake:
    return causal_lakes(tiny.backbone)


def small(lake: Lake, noise_images: list[InputImage], **options: Any) -> CausalChange:
    layer = early(lake)
    return causal_ablation(
        lake,
        noise_images[5],
        Targets({layer: lake.selection_[layer].neurons[:2]}),
        **({"draws": RandomDraws(3)} | options),
    )


def test_draws_are_ablations_of_as_many_other_neurons(lake: Lake, noise_images: list[InputImage]) -> None:
    done: list[tuple[int, int]] = []
    found = small(lake, noise_images, draws=RandomDraws(3, seed=4), on_progress=lambda *step: done.append(step))
    assert done == [(i, 5) for i in range(1, 6)]
    layer, hook_point = early(lake), lake.backbone.hook_point(early(lake), lake.config.site)
    chosen = set(lake.selection_[layer].neurons[:2].tolist())
    for row, draw in enumerate(found.draws):
        assert draw.keys() == {layer}
        neurons = draw[layer].tolist()
        assert len(set(neurons)) == 2
        assert not set(neurons) & chosen
        acts = lake.store.stack(noise_images[:N_NORMALS], hook_point)[:, :, neurons]
        assert (acts.flatten(0, 1).std(0) > 0).all()
        alone = causal_ablation(lake, noise_images[5], Targets(draw), draws=NO_DRAWS)
        assert found.score_changes[row] == pytest.approx(alone.change)
        assert found.text_changes[row] == pytest.approx(alone.text_change)
        np.testing.assert_allclose(found.layer_changes[row], [one.relative for one in alone.layers])
    assert len({tuple(draw[layer]) for draw in found.draws}) == 3
    again, other = (
        small(lake, noise_images, draws=RandomDraws(3, seed=4)),
        small(lake, noise_images, draws=RandomDraws(3, seed=5)),
    )
    np.testing.assert_array_equal(again.layer_changes, found.layer_changes)
    assert not np.array_equal(other.layer_changes, found.layer_changes)
    last = found.layers[-1].layer
    assert [(one.quantity, one.rank, one.layer) for one in found.finding.ranks] == [
        ("score", found.score_rank, None),
        ("image text margin", found.text_rank, None),
        ("layer output", found.layer_ranks[last], last),
    ]
    assert found.layer_ranks.keys() == {one.layer for one in found.layers}


def test_the_pool_of_selected_neurons_has_only_those(
    open_tiny: OpenTiny, causal_lakes: Callable[..., Lake], noise_images: list[InputImage]
) -> None:
    lake = causal_lakes(open_tiny("convnext"))
    layer = early(lake)
    found = small(lake, noise_images, pool="selected", draws=RandomDraws(10))
    assert len(found.draws) == 10
    drawn = {neuron for draw in found.draws for neuron in draw[layer].tolist()}
    assert drawn <= set(lake.selection_[layer].neurons[2:].tolist())
    assert {(one.pool, one.n_layers, one.rank.n_draws) for one in found.finding.ranks} == {("selected", 1, 10)}
    targets = Targets({1: [3]}, site="residual_channel")
    assert causal_ablation(lake, noise_images[5], targets, "selected", RandomDraws(3)).draws == []
    assert len(causal_ablation(lake, noise_images[5], targets, draws=RandomDraws(3)).draws) == 3


def test_nothing_of_it_reaches_the_store(lake: Lake, noise_images: list[InputImage]) -> None:
    held = held_activations(lake, noise_images)
    before, n_before = lake.explain(noise_images[5]), lake.store.n_forwards
    small(lake, noise_images)
    assert lake.store.n_forwards == n_before
    assert_unchanged(lake, noise_images, held)
    assert lake.explain(noise_images[5]).score == before.score


@pytest.mark.parametrize("name", ["native-vit", "efficientnet", "timm-resnet"])
def test_threads_do_not_see_each_others_changes(
    open_tiny: OpenTiny, causal_lakes: Callable[..., Lake], noise_images: list[InputImage], name: str
) -> None:
    lake = causal_lakes(open_tiny(name))
    layer = early(lake)
    neurons = [[int(neuron)] for neuron in lake.selection_[layer].neurons[:3]]

    def work(index: int) -> None:
        for _ in range(8):
            if index == 3:  # one that changes nothing
                plain = lake.backbone.forward(lake.backbone.prepare(noise_images[5])[None], lake.hook_points)
                assert plain.keys() == reference.keys() == lake.hook_points
                assert all(torch.equal(tensor, reference[hook_point]) for hook_point, tensor in plain.items())
            else:
                found = causal_ablation(lake, noise_images[5], Targets({layer: neurons[index]}), draws=NO_DRAWS)
                assert (found.text_after, found.after.score) == expected[index]

    reference = lake.backbone.forward(lake.backbone.prepare(noise_images[5])[None], lake.hook_points)
    found = [causal_ablation(lake, noise_images[5], Targets({layer: each}), draws=NO_DRAWS) for each in neurons]
    expected = [(one.text_after, one.after.score) for one in found]
    assert len(set(expected)) == 3
    in_threads(work)


def test_cancelling_leaves_everything_usable(
    open_tiny: OpenTiny, causal_lakes: Callable[..., Lake], noise_images: list[InputImage]
) -> None:
    lake = causal_lakes(open_tiny("siglip"))
    before = small(lake, noise_images)

    def stop(done: int, _in_all: int) -> None:
        if done == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        small(lake, noise_images, on_progress=stop)
    again = small(lake, noise_images)
    assert again.after.score == before.after.score
    np.testing.assert_array_equal(again.layer_changes, before.layer_changes)
