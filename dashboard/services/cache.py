"""The one cache of results. It shares a memory budget with the stores of activations; nothing else remembers results.

Keys are made of sha256 sums and frozen settings, never of pixels: Streamlit's own caches hash large arrays from a
sample and would take two images that differ in a small defect for the same one.
"""

import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image
from torch import Tensor, nn

from dashboard.workspace import Workspace
from lake_core.backbones.backbone import Backbone
from lake_core.backbones.budget import BoundedStore, MemoryBudget
from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.process import total_memory
from lake_core.data.images import InputImage

T = TypeVar("T")
MEMORY_SHARE = 0.25
"""Of the memory that the server may use, where `--memory` says nothing."""
MAX_DISK_BYTES = 16 * 1024**3
OVERHEAD = 200
"""Bytes counted for a value that holds no array, so that even very many small ones are bounded."""


class ResultCache:
    """Results by key, the ones used longest ago dropped first. Thread-safe.

    Args:
        budget: What the results are counted against.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self._store: BoundedStore[Hashable, Any] = BoundedStore(budget)
        self._making: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()  # key -> lock of who computes it
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Any:
        """The result of that key, or None."""
        return self._store.get(key)

    def put(self, key: Hashable, result: Any) -> None:
        """Keeps a result, which must not be None."""
        self._store.keep(key, result, OVERHEAD + size_of(result))

    def made(self, key: Hashable, make: Callable[[], T], n_bytes: Callable[[T], int] | None = None) -> T:
        """The result of that key: the one held, else made now, by one thread while the others wait for it.

        Args:
            n_bytes: How much memory a result takes, where `size_of` would not know.
        """
        held: T | None = self.get(key)
        if held is not None:
            return held
        with self._lock:
            turn = self._making.setdefault(key, threading.RLock())
        with turn:
            held = self.get(key)
            if held is None:
                held = make()
                self._store.keep(key, held, OVERHEAD + (size_of(held) if n_bytes is None else n_bytes(held)))
        return held

    def clear(self) -> None:
        """Drops all results."""
        self._store.clear()


def size_of(value: Any) -> int:
    """Bytes of the arrays, texts and files that a value holds.

    Backbones, stores of activations and visitors' images are not counted: the value only refers to them, and they are
    bounded elsewhere.
    """
    return _size_of(value, set())


def _size_of(value: Any, seen: set[int]) -> int:
    if id(value) in seen or isinstance(value, FeatureStore | Backbone | InputImage | nn.Module):
        return 0
    seen.add(id(value))
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, pd.DataFrame):
        return int(value.memory_usage(deep=True).sum())
    if isinstance(value, bytes | str):
        return len(value)
    if isinstance(value, Image.Image):
        return value.width * value.height * len(value.getbands())
    if isinstance(value, dict):
        return sum(_size_of(one, seen) for one in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return sum(_size_of(one, seen) for one in value)
    return sum(_size_of(one, seen) for one in getattr(value, "__dict__", {}).values())


@st.cache_resource(show_spinner=False)
def budget() -> MemoryBudget:
    """The memory that this server's activations and results share."""
    arguments = sys.argv[1:]
    share = arguments[arguments.index("--memory") + 1] if "--memory" in arguments[:-1] else MEMORY_SHARE
    return MemoryBudget(int(float(share) * total_memory()))


@st.cache_resource(show_spinner=False)
def disk() -> MemoryBudget:
    """What this server's activations take of the folder for temporary files, besides the memory."""
    return MemoryBudget(min(MAX_DISK_BYTES, shutil.disk_usage(tempfile.gettempdir()).free // 2))


@contextmanager
def pinned(workspace: Workspace) -> Iterator[None]:
    """While a page is drawn from these images, what others do drops their activations last."""
    keys = {image.sha256 for image in workspace.images}
    with budget().pinned(keys), disk().pinned(keys):
        yield


@st.cache_resource(show_spinner=False)
def results() -> ResultCache:
    """The results of this server."""
    return ResultCache(budget())
