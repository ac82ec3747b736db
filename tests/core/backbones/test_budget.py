"""Stores that share a budget stay within it together, and lose what was used longest ago, whoever holds it."""

import gc

import numpy as np

from lake_core.backbones.budget import BoundedStore, MemoryBudget
from tests.core.running import in_threads


def two_stores(max_bytes: int) -> tuple[MemoryBudget, BoundedStore[str, int], BoundedStore[str, int]]:
    budget = MemoryBudget(max_bytes)
    return budget, BoundedStore(budget), BoundedStore(budget)


def test_the_value_used_longest_ago_is_dropped_from_whichever_store_holds_it() -> None:
    budget, one, other = two_stores(100)
    one.keep("a", 1, 40)
    other.keep("b", 2, 40)
    one.keep("c", 3, 20)
    assert one.get("a") == 1
    one.keep("d", 4, 30)
    assert [other.get("b"), one.get("a"), one.get("c"), one.get("d")] == [None, 1, 3, 4]
    assert (budget.n_bytes, one.n_bytes, other.n_bytes) == (90, 90, 0)


def test_looking_without_using_does_not_spare_a_value() -> None:
    _, one, other = two_stores(100)
    one.keep("a", 1, 50)
    other.keep("b", 2, 50)
    assert one.peek("a") == 1
    other.keep("c", 3, 10)
    assert (one.peek("a"), other.peek("b"), one.peek("never kept")) == (None, 2, None)


def test_a_key_kept_again_counts_once_with_its_new_size() -> None:
    budget, one, _ = two_stores(100)
    one.keep("a", 1, 70)
    one.keep("a", 2, 30)
    one.keep("b", 3, 70)
    assert budget.n_bytes == 100
    assert (one.get("a"), one.get("b")) == (2, 3)


def test_a_value_larger_than_the_budget_stays_until_the_next_one() -> None:
    budget, one, other = two_stores(100)
    other.keep("b", 2, 60)
    one.keep("a", 1, 500)
    assert (one.get("a"), other.get("b"), budget.n_bytes) == (1, None, 500)
    other.keep("c", 3, 60)
    assert (one.get("a"), other.get("c"), budget.n_bytes) == (None, 3, 60)


def test_a_store_that_is_gone_or_cleared_frees_its_share() -> None:
    budget, one, other = two_stores(100)
    one.keep("a", 1, 50)
    other.keep("b", 2, 50)
    del one
    gc.collect()
    assert budget.n_bytes == 50
    other.clear()
    assert (budget.n_bytes, other.n_bytes, other.get("b")) == (0, 0, None)


def test_pinned_values_outlast_others_and_are_dropped_only_among_themselves() -> None:
    budget = MemoryBudget(30)
    store: BoundedStore[str, int] = BoundedStore(budget)
    for key in ("mine", "my other", "theirs"):
        store.keep(key, 1, 10)
    with budget.pinned(["mine", "my other"]):
        with budget.pinned(["mine"]):
            pass
        for key in ("more of theirs", "still more"):
            store.keep(key, 1, 10)
        assert [key for key in ("mine", "my other", "theirs", "more of theirs", "still more") if store.peek(key)] == [
            "mine",
            "my other",
            "still more",
        ]
        store.keep("my other", 1, 25)
        assert [key for key in ("mine", "my other", "still more") if store.peek(key)] == ["my other"]
    store.keep("one", 1, 10)
    assert store.peek("my other") is None


def test_threads_on_several_stores_keep_the_bound_and_never_get_a_foreign_value() -> None:
    budget = MemoryBudget(500)
    stores: list[BoundedStore[int, tuple[int, int]]] = [BoundedStore(budget) for _ in range(3)]

    def work(index: int) -> None:
        rng = np.random.default_rng(index)
        for _ in range(2000):
            number, key = int(rng.integers(3)), int(rng.integers(40))
            if rng.random() < 0.5:
                stores[number].keep(key, (number, key), int(rng.integers(1, 60)))
                assert budget.n_bytes <= 500
            assert stores[number].get(key) in (None, (number, key))

    in_threads(work)
    assert budget.n_bytes == sum(store.n_bytes for store in stores)
