"""One bound on memory that several stores of computed values share."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Container, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, TypeVar
from weakref import WeakSet

DEFAULT_MAX_BYTES = 2 * 1024**3

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class MemoryBudget:
    """A bound on the bytes that all of its stores hold together.

    When it is exceeded the values used longest ago are dropped, whichever store holds them; those whose keys are pinned
    only where there are no others. A store that is no longer referenced frees its share. Thread-safe.

    Attributes:
        max_bytes: The bound. The value kept last stays even where it alone is larger.
    """

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.RLock()
        self._stores: WeakSet[BoundedStore[Any, Any]] = WeakSet()
        self._pins: Counter[Hashable] = Counter()
        self._clock = count()

    @property
    def n_bytes(self) -> int:
        """Bytes that the stores hold now."""
        with self._lock:
            return sum(store.n_bytes for store in self._stores)

    @contextmanager
    def pinned(self, keys: Iterable[Hashable]) -> Iterator[None]:
        """While it lasts, values of other keys are dropped first; several may pin the same key."""
        held = list(keys)
        with self._lock:
            self._pins.update(held)
        try:
            yield
        finally:
            with self._lock:
                self._pins -= Counter(held)

    def _evict(self) -> None:
        while self.n_bytes > self.max_bytes and sum(len(store._entries) for store in self._stores) > 1:
            oldest = [(store, key) for store in self._stores if (key := store._oldest(self._pins)) is not None]
            if not oldest:  # all are pinned
                oldest = [(store, key) for store in self._stores if (key := store._oldest(())) is not None]
            store, key = min(oldest, key=lambda found: found[0]._entries[found[1]].used)
            store._drop(key)


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

    def _oldest(self, pinned: Container[Hashable]) -> Key | None:
        """The key used longest ago of those that are not pinned."""
        return next((key for key in self._entries if key not in pinned), None)

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._n_bytes -= entry.n_bytes
