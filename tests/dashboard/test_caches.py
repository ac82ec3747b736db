"""Two bounded stores on one budget remember what was computed; nothing else in the dashboard does."""

import ast
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dashboard.services import cache
from dashboard.services.cache import ResultCache, size_of
from lake_core.backbones.budget import BoundedStore, MemoryBudget

ROOT = Path(__file__).parents[2] / "dashboard"
SINGLETONS = {
    ("services/registry.py", "registry"): "the visitors' images and settings, bounded by number",
    ("services/autosave.py", "autosave"): "sessions that wait to be written into the store",
    ("services/projects.py", "store"): "where the store of projects is; it lies on the disk",
    ("services/cache.py", "budget"): "the memory budget",
    ("services/cache.py", "disk"): "the bound on temporary files",
    ("services/cache.py", "results"): "the cache of results",
    ("services/jobs.py", "jobs"): "the jobs that run, and the latest of each session",
    ("services/models.py", "_model"): "backbones with their stores of activations, at most six",
}
"""Where st.cache_resource may stand, and what it keeps."""
DECORATORS = {"cache_resource", "cache_data", "lru_cache", "cache"}
WRITING = {"update", "setdefault", "append", "add", "extend", "pop", "clear", "insert"}


def parsed() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def name_of(node: ast.expr) -> str:
    """The last part of a dotted name, of a call's function too."""
    if isinstance(node, ast.Call):
        return name_of(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def test_only_the_singletons_are_kept_by_decorators() -> None:
    found = {
        (path, node.name): name_of(decorator)
        for path, tree in parsed()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if name_of(decorator) in DECORATORS
    }
    assert found == dict.fromkeys(SINGLETONS, "cache_resource")


def test_decorators_of_caches_are_called_nowhere_else() -> None:
    for path, tree in parsed():
        decorators = {
            id(one)
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef)
            for decorator in node.decorator_list
            for one in ast.walk(decorator)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute | ast.Name) and id(node) not in decorators:
                assert name_of(node) not in DECORATORS, f"{path}:{node.lineno}"


def test_no_module_remembers_anything_in_a_collection_of_its_own() -> None:
    for path, tree in parsed():
        own = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            local = {arg.arg for arg in (*function.args.args, *function.args.kwonlyargs)}
            local |= {
                one.id for one in ast.walk(function) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
            }
            for node in ast.walk(function):
                assert not isinstance(node, ast.Global), f"{path}:{node.lineno}"
                written = None
                if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
                    written = node.value
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITING:
                    written = node.func.value
                if isinstance(written, ast.Name) and written.id not in local:
                    assert written.id not in own, f"{path}:{written.lineno} writes {written.id}"


def test_activations_and_results_share_one_budget() -> None:
    budget = MemoryBudget(10_000)
    activations: BoundedStore[str, str] = BoundedStore(budget)
    results = ResultCache(budget)
    activations.keep("old image", "activations", 6_000)
    results.put("map", np.zeros(600))
    assert activations.get("old image") is None
    assert results.get("map") is not None


def test_the_server_has_one_budget_for_both() -> None:
    assert cache.results()._store.budget is cache.budget()


def test_a_result_is_made_once_by_threads_that_ask_together() -> None:
    results, begun, n_made = ResultCache(MemoryBudget()), threading.Barrier(4), []

    def make() -> str:
        n_made.append(1)
        threading.Event().wait(0.05)
        return "made"

    def ask() -> None:
        begun.wait()
        assert results.made("key", make) == "made"

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(n_made) == 1


def test_who_fails_to_make_a_result_leaves_the_next_one_free() -> None:
    results = ResultCache(MemoryBudget())

    def fail() -> str:
        raise ValueError("no result")

    with pytest.raises(ValueError, match="no result"):
        results.made("key", fail)
    assert results.made("key", lambda: "made") == "made"


def test_the_size_counts_arrays_once() -> None:
    array = np.zeros(100, dtype=np.float32)
    assert size_of([array, {"again": array}, b"12345"]) == 405
