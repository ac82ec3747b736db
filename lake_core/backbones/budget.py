"""One bound on memory that several stores of computed values share."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, TypeVar
from weakref import WeakSet

DEFAULT_MAX_BYTES = 2 * 1024**3

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class MemoryBudget:
    """A bound on the bytes that all of its stores hold together.

    When it is exceeded the values used longest ago are dropped, whichever store holds them. A store that is no longer
    referenced frees its share. Thread-safe.

    Attributes:
        max_bytes: The bound. The value kept last stays even where it alone is larger.
    """

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.RLock()
        self._stores: WeakSet[BoundedStore[Any, Any]] = WeakSet()
        self._clock = count()

    @property
    def n_bytes(self) -> int:
        """Bytes that the stores hold now."""
        with self._lock:
            return sum(store.n_bytes for store in self._stores)

    def _evict(self) -> None:
        while self.n_bytes > self.max_bytes:
            filled = [store for store in self._stores if store._entries]
            if sum(len(store._entries) for store in filled) <= 1:
                return
            min(filled, key=lambda store: store._oldest_use())._drop_oldest()


@dataclass
class _Entry(Generic[Value]):
    value: Value
    n_bytes: int
    used: int


class BoundedStore(Generic[Key, Value]):
    """Values by key, dropped when the budget runs out: asking again must be able to compute them again. Thread-safe.

    Args:
        budget: What the values are counted against, with those of the budget's other stores.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget
        self._lock = budget._lock
        self._entries: OrderedDict[Key, _Entry[Value]] = OrderedDict()
        self._n_bytes = 0
        with self._lock:
            budget._stores.add(self)

    @property
    def n_bytes(self) -> int:
        """Bytes that this store holds now."""
        return self._n_bytes

    def keep(self, key: Key, value: Value, n_bytes: int) -> None:
        """Holds a value in place of the key's former one, and drops what the budget has no room for any more.

        Args:
            n_bytes: Memory that the value takes, >= 0.
        """
        with self._lock:
            self._drop(key)
            self._entries[key] = _Entry(value, n_bytes, next(self.budget._clock))
            self._n_bytes += n_bytes
            self.budget._evict()

    def get(self, key: Key) -> Value | None:
        """The key's value, which counts as used now, or None if it is not held."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            entry.used = next(self.budget._clock)
            self._entries.move_to_end(key)
            return entry.value

    def peek(self, key: Key) -> Value | None:
        """The key's value or None, without counting as a use."""
        with self._lock:
            entry = self._entries.get(key)
            return None if entry is None else entry.value

    def clear(self) -> None:
        """Drops everything that this store holds."""
        with self._lock:
            self._entries.clear()
            self._n_bytes = 0

    def _oldest_use(self) -> int:
        return next(iter(self._entries.values())).used

    def _drop_oldest(self) -> None:
        self._drop(next(iter(self._entries)))

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._n_bytes -= entry.n_bytes
