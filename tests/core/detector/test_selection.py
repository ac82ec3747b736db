"""Sensitivity and selection, against numpy in double precision."""

from typing import Any

import numpy as np
import pytest
import torch

from lake_core.detector.selection import Selection, jaccard, select


def chosen(acts_pn: torch.Tensor, *args: Any, **options: Any) -> Selection:
    """The selection from a single image all of whose patches lie on it."""
    return select(acts_pn[None], torch.ones(1, len(acts_pn), dtype=torch.bool), *args, **options)


@pytest.fixture
def acts() -> np.ndarray:
    """(501, 40): neurons of different spread, offset and shape of distribution."""
    rng = np.random.default_rng(5)
    values = rng.standard_t(3, (501, 40)) * rng.uniform(0.01, 5, 40) + rng.normal(0, 10, 40)
    return values.astype(np.float32)


def expected(acts: np.ndarray, criterion: str) -> np.ndarray:
    a = acts.astype(np.float64)
    if criterion == "robust":
        return (1.4826 * np.median(np.abs(a - np.median(a, axis=0)), axis=0)) ** 2
    if criterion == "range":
        return np.quantile(a, 0.99, axis=0) - np.quantile(a, 0.01, axis=0)
    return ((a - a.mean(0)) ** 2).sum(0) / (len(a) - 1)


@pytest.mark.parametrize("criterion", ["variance", "robust", "range", "random", "all"])
@pytest.mark.parametrize("n_patches", [501, 500, 3])
def test_sensitivity_agrees_with_numpy(acts: np.ndarray, criterion: str, n_patches: int) -> None:
    found = chosen(torch.from_numpy(acts[:n_patches]), 1, "mlp_hidden", criterion).sensitivity
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(acts[:n_patches], criterion), rtol=1e-4)


def test_the_three_criteria_rank_differently(acts: np.ndarray) -> None:
    orders = {
        tuple(chosen(torch.from_numpy(acts), 1, "mlp_hidden", name).order) for name in ("variance", "robust", "range")
    }
    assert len(orders) == 3


@pytest.mark.parametrize("criterion", ["variance", "robust", "range"])
@pytest.mark.parametrize("top_k", [1, 7, 40, 100])
def test_the_most_sensitive_neurons_are_selected_in_order(acts: np.ndarray, criterion: str, top_k: int) -> None:
    selection = chosen(torch.from_numpy(acts), 1, "mlp_hidden", criterion, top_k)
    np.testing.assert_array_equal(selection.neurons, np.argsort(-expected(acts, criterion))[:top_k])
    np.testing.assert_array_equal(selection.neurons, selection.order[:top_k])
    assert sorted(selection.order) == list(range(40))
    assert selection.n_neurons == 40
    assert [selection.rank_of(neuron) for neuron in selection.neurons] == list(range(1, len(selection.neurons) + 1))


def test_ties_go_to_the_lower_index() -> None:
    column = torch.randn(20, 1)
    acts = torch.cat([column * scale for scale in (1, 2, 1, 0, 2, 1, 0)], dim=1)
    assert chosen(acts, 1, "mlp_hidden").order.tolist() == [1, 4, 0, 2, 5, 3, 6]
    assert chosen(torch.ones(9, 5), 1, "mlp_hidden", top_k=2).neurons.tolist() == [0, 1]


def test_a_single_patch_has_no_variance() -> None:
    selection = chosen(torch.randn(1, 6), 1, "residual_channel", "variance", 2)
    assert selection.sensitivity.tolist() == [0.0] * 6
    assert selection.neurons.tolist() == [0, 1]
    assert selection.share_kept == 0.0


def test_all_selects_every_neuron(acts: np.ndarray) -> None:
    selection = chosen(torch.from_numpy(acts), 1, "mlp_hidden", "all", top_k=3)
    assert sorted(selection.neurons) == list(range(40))
    assert selection.share_kept == pytest.approx(1.0)


def test_random_depends_on_the_seed_and_the_layer_alone(acts: np.ndarray) -> None:
    def neurons(seed: int, layer: int, values: np.ndarray = acts) -> list[int]:
        return chosen(torch.from_numpy(values), layer, "mlp_hidden", "random", 10, seed).neurons.tolist()

    assert neurons(0, 1) == neurons(0, 1, acts[::-1].copy() * 3)
    draws = [neurons(seed, layer) for seed in range(3) for layer in (1, 2, 3)]
    assert len({tuple(draw) for draw in draws}) == 9
    assert all(len(set(draw)) == 10 for draw in draws)


def test_random_selects_every_neuron_about_equally_often(acts: np.ndarray) -> None:
    counts = np.zeros(40)
    for seed in range(400):
        counts[chosen(torch.from_numpy(acts[:5]), 1, "mlp_hidden", "random", 10, seed).neurons] += 1
    assert 60 < counts.min() <= counts.max() < 145


def test_share_kept_is_the_selected_part_of_the_total(acts: np.ndarray) -> None:
    selection = chosen(torch.from_numpy(acts), 1, "mlp_hidden", "variance", 7)
    variances = np.sort(expected(acts, "variance"))[::-1]
    assert selection.share_kept == pytest.approx(variances[:7].sum() / variances.sum(), rel=1e-4)


def test_the_order_of_patches_changes_nothing(acts: np.ndarray) -> None:
    shuffled = np.random.default_rng(0).permutation(acts)
    for criterion in ("variance", "robust", "range"):
        one, other = (chosen(torch.from_numpy(values), 1, "mlp_hidden", criterion, 5) for values in (acts, shuffled))
        np.testing.assert_array_equal(one.neurons, other.neurons)


@pytest.mark.parametrize(
    ("a", "b", "overlap"),
    [([1, 2, 3], [3, 2, 1], 1.0), ([1, 2], [3, 4], 0.0), ([1, 2, 3], [2, 3, 4, 5], 0.4), ([], [], 1.0), ([], [1], 0.0)],
)
def test_jaccard_is_intersection_over_union(a: list[int], b: list[int], overlap: float) -> None:
    assert jaccard(np.array(a, int), np.array(b, int)) == pytest.approx(overlap)


def test_a_selection_is_not_mistaken_for_another_by_comparison(acts: np.ndarray) -> None:
    """Equality of selections is identity: arrays have no single truth value."""
    one, other = (chosen(torch.from_numpy(acts), 1, "mlp_hidden") for _ in range(2))
    np.testing.assert_array_equal(one.neurons, other.neurons)
    assert one == one
    assert one != other
