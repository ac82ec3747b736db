"""Activations that are seldom read, in a temporary file instead of memory: all layers of an image are ten times what
its score needs."""

import tempfile
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lake_core.backbones.budget import BoundedStore, MemoryBudget
from lake_core.types import HookPoint

Shapes = Mapping[HookPoint, tuple[int, int]]


@dataclass(eq=False)
class _Slot:
    """An image's place in the file, and which of its rows are written; free again when nobody refers to it."""

    number: int
    written: set[HookPoint] = field(default_factory=set)


class Spill:
    """Rows of images in a file without a name, which is gone with the process however that ends. Thread-safe.

    Those used longest ago are dropped when the budget runs out. Where the folder for temporary files (TMPDIR) takes no
    more, nothing more is kept: that costs time, never correctness.

    Args:
        shapes: (n_patches, n_neurons) of every hook point.
        budget: Bound on the bytes of the file, which several may share.
    """

    def __init__(self, shapes: Shapes, budget: MemoryBudget) -> None:
        self.budget = budget
        self._shapes = dict(shapes)
        self._offsets: dict[HookPoint, int] = {}
        self._slot_bytes = 0
        for hook_point, (n_patches, n_neurons) in self._shapes.items():
            self._offsets[hook_point] = self._slot_bytes
            self._slot_bytes += 4 * n_patches * n_neurons
        self._slots: BoundedStore[str, _Slot] = BoundedStore(budget)
        self._file: Any = None
        self._free: list[int] = []
        self._n_slots = 0
        self._lock = threading.Lock()

    @property
    def n_bytes(self) -> int:
        """Bytes that are held now."""
        return self._slots.n_bytes

    def keep(self, key: str, rows: Mapping[HookPoint, Tensor]) -> bool:
        """Writes rows of an image, (n_patches, n_neurons) float32 on the CPU; False where there is no room."""
        slot = self._slots.get(key) or self._new_slot()
        try:
            with self._lock:
                for hook_point, tensor in rows.items():
                    values = tensor.contiguous().numpy().data.cast("B")
                    if self._seek(slot, hook_point).write(values) < len(values):
                        return False
                    slot.written.add(hook_point)
        except OSError:
            return False
        self._slots.keep(key, slot, self._slot_bytes)
        return True

    def written(self, key: str) -> frozenset[HookPoint]:
        """The hook points of an image that can be read; not counted as a use."""
        slot = self._slots.peek(key)
        return frozenset() if slot is None else frozenset(slot.written)

    def read(self, key: str, hook_point: HookPoint) -> Tensor | None:
        """A copy of an image's rows, (n_patches, n_neurons) float32, or None if they are not held."""
        slot = self._slots.get(key)
        if slot is None or hook_point not in slot.written:
            return None
        rows = torch.empty(self._shapes[hook_point], dtype=torch.float32)
        with self._lock:
            self._seek(slot, hook_point).readinto(rows.numpy().data.cast("B"))
        return rows

    def _new_slot(self) -> _Slot:
        with self._lock:
            if not self._free:
                self._free.append(self._n_slots)
                self._n_slots += 1
            slot = _Slot(self._free.pop())
        weakref.finalize(slot, self._free.append, slot.number)
        return slot

    def _seek(self, slot: _Slot, hook_point: HookPoint) -> Any:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="lake-", buffering=0)  # noqa: SIM115 (lives as long as this)
        self._file.seek(slot.number * self._slot_bytes + self._offsets[hook_point])
        return self._file
