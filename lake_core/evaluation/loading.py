"""Batches of images read ahead of the network: by a thread beside a CPU, by processes beside a GPU.

A GPU takes a thousand images a second. Threads of one process cannot decode as many: what Pillow does in Python is
done by one thread at a time, and the thread that feeds the GPU waits for it too.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, TypeVar

import numpy as np
import torch
from loky import cpu_count, get_reusable_executor
from torch import Tensor

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.patch_grid import Placement
from lake_core.data.folders import Entry
from lake_core.errors import LakeError
from lake_core.evaluation.reading import Loaded, Part, SharedRows, read_part

N_AHEAD = 3
"""Batches that may wait for the network, so that memory is bounded whichever side is faster."""
_MAX_READERS = 16
_IDLE_SECONDS = 30
"""After which processes that read end themselves; until then the next data set finds them."""


class Begun(Protocol):
    """Work that goes on elsewhere."""

    def cancel(self) -> object:
        """Leaves it, if it waits still."""


Item = TypeVar("Item")
Job = TypeVar("Job", bound=Begun)


def ahead(items: Iterable[Item], begin: Callable[[Item], Job]) -> Generator[Job, None, None]:
    """What `begin` makes of the items, in order; up to N_AHEAD are begun before the caller takes the first.

    What still waits when the generator is closed is cancelled.
    """
    waiting: deque[Job] = deque()
    try:
        for item in items:
            waiting.append(begin(item))
            if len(waiting) == N_AHEAD:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        for job in waiting:
            job.cancel()


@dataclass(frozen=True, eq=False)
class Batch:
    """Images for one forward pass.

    Attributes:
        images: Those that could be read.
        canvases: (n_images, height, width, 3) uint8, in pinned memory where the backbone is on a GPU.
        n_entries: How many were to be read.
        problems: One sentence for each that could not, and for each mask that could not.
    """

    images: tuple[Loaded, ...]
    canvases: Tensor = field(repr=False)
    n_entries: int
    problems: tuple[str, ...] = ()

    @property
    def placements(self) -> list[Placement]:
        return [image.placement for image in self.images]


def load_ahead(
    entries: Sequence[Entry], backbone: Backbone, batch_size: int, with_masks: bool, in_processes: bool | None = None
) -> Generator[Batch, None, None]:
    """Batches of images in the order of the entries, read while the caller works on those before.

    Args:
        entries: Labelled test images.
        backbone: Whose input they are laid into.
        batch_size: Images in a batch; one that cannot be read leaves its batch smaller.
        with_masks: Also read and reduce masks.
        in_processes: Read in as many processes as there are cores, instead of in one thread; None does so beside a
            GPU. LOKY_MAX_CPU_COUNT in the environment sets fewer.
    Raises:
        LakeError: if a process that reads was killed.
    """
    on_gpu = backbone.device.type == "cuda"
    with (
        _readers(on_gpu if in_processes is None else in_processes) as readers,
        _Slots((max(1, min(batch_size, len(entries))), *backbone.input_size, 3), readers.shared) as slots,
    ):

        def begin(start: int) -> _Reading:
            of_batch = entries[start : start + batch_size]
            slot = (start // batch_size) % N_AHEAD
            size = -(-len(of_batch) // readers.n)
            reading = _Reading(len(of_batch), [])
            for first in range(0, len(of_batch), size):
                part = of_batch[first : first + size]
                rows = slots.rows(slot, first, len(part))
                job = readers.pool.submit(read_part, part, backbone.frame, with_masks, rows)
                reading.parts.append((slots.array[slot, first : first + len(part)], job))
            return reading

        with _deaths_reported(), closing(ahead(range(0, len(entries), batch_size), begin)) as begun:
            for reading in begun:
                yield reading.joined(pinned=on_gpu)


@contextmanager
def _deaths_reported() -> Iterator[None]:
    try:
        yield
    except BrokenExecutor as error:
        raise LakeError(
            "A process that reads images was killed, as the system does where memory runs out: set LOKY_MAX_CPU_COUNT "
            "to have fewer of them, and run again."
        ) from error


@dataclass(frozen=True, eq=False)
class _Reading:
    """A batch that is being read: its parts, each with the canvases that it is written to."""

    n_entries: int
    parts: list[tuple[np.ndarray, Future[Part]]]

    def cancel(self) -> None:
        for _, job in self.parts:
            job.cancel()

    def joined(self, pinned: bool) -> Batch:
        """The batch, when all of it is there; its slot is free again."""
        found = [(canvases, job.result()) for canvases, job in self.parts]
        written = [canvases[: len(part.images)] for canvases, part in found]
        shape = (sum(map(len, written)), *written[0].shape[1:])
        canvases = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
        # NumPy copies in this thread; PyTorch would wake threads that then spin on the cores of those who read.
        np.concatenate(written, out=canvases.numpy())
        images = tuple(image for _, part in found for image in part.images)
        return Batch(images, canvases, self.n_entries, tuple(problem for _, part in found for problem in part.problems))


class _Slots:
    """Canvases for N_AHEAD batches: plain memory for threads, a mapped temporary file for processes."""

    def __init__(self, shape: tuple[int, ...], shared: bool) -> None:
        self._shape = (N_AHEAD, *shape)
        self._folder = TemporaryDirectory(prefix="lake-canvases-", ignore_cleanup_errors=True) if shared else None

    def __enter__(self) -> "_Slots":
        if self._folder is None:
            self.array = np.empty(self._shape, dtype=np.uint8)
        else:
            self._path = Path(self._folder.name) / "canvases"
            self.array = np.memmap(self._path, np.uint8, "w+", shape=self._shape)
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def rows(self, slot: int, first: int, n: int) -> np.ndarray | SharedRows:
        """Some rows of a slot as a reader takes them."""
        if self._folder is None:
            return self.array[slot, first : first + n]
        row_bytes = int(np.prod(self._shape[2:]))
        return SharedRows(self._path, (n, *self._shape[2:]), (slot * self._shape[1] + first) * row_bytes)


@dataclass(frozen=True)
class _Readers:
    """The pool that reads, its size, and whether it has processes, which need shared memory."""

    pool: Executor
    n: int
    shared: bool


@contextmanager
def _readers(in_processes: bool) -> Iterator[_Readers]:
    if in_processes:
        n_readers = min(_MAX_READERS, cpu_count())
        yield _Readers(get_reusable_executor(max_workers=n_readers, timeout=_IDLE_SECONDS), n_readers, shared=True)
    else:
        with ThreadPoolExecutor(1, thread_name_prefix="lake-read") as pool:
            yield _Readers(pool, 1, shared=False)
