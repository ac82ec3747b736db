"""Batches of pictures read ahead of the network: by a thread beside a CPU, by processes beside a GPU.

A GPU takes a thousand pictures a second. Threads of one process cannot decode as many: what Pillow does in Python is
done by one thread at a time, and the thread that feeds the GPU waits for it too.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from loky import cpu_count, get_reusable_executor
from torch import Tensor

from lake_core.backbones import Backbone
from lake_core.datasets import Entry
from lake_core.geometry import Placement
from lake_core.reading import Loaded, Part, read_part

N_AHEAD = 3
"""Batches that may wait for the network, so that memory is bounded whichever side is faster."""
_MAX_READERS = 16
_IDLE_SECONDS = 30
"""After which processes that read end themselves; until then the next data set finds them."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures for one forward pass.

    Attributes:
        pictures: Those that could be read.
        canvases: (n_pictures, height, width, 3) uint8, in pinned memory where the backbone is on a GPU.
        n_entries: How many were to be read.
        problems: One sentence for each that could not, and for each mask that could not.
    """

    pictures: tuple[Loaded, ...]
    canvases: Tensor = field(repr=False)
    n_entries: int
    problems: tuple[str, ...] = ()

    @property
    def placements(self) -> list[Placement]:
        return [picture.placement for picture in self.pictures]


def load_ahead(
    entries: Sequence[Entry], backbone: Backbone, batch_size: int, with_masks: bool, in_processes: bool | None = None
) -> Iterator[Batch]:
    """Batches of pictures in the order of the entries, read while the caller works on those before.

    Args:
        entries: Labelled test pictures.
        backbone: Whose input they are laid into.
        batch_size: Pictures in a batch; one that cannot be read leaves its batch smaller.
        with_masks: Also read and reduce masks.
        in_processes: Read in as many processes as there are cores, instead of in one thread; None does so beside a
            GPU. LOKY_MAX_CPU_COUNT in the environment sets fewer.
    """
    on_gpu = backbone.device.type == "cuda"
    starts = deque(range(0, len(entries), batch_size))
    waiting: deque[tuple[int, list[Future[Part]]]] = deque()
    with _readers(on_gpu if in_processes is None else in_processes) as (readers, n_readers):

        def submit() -> None:
            of_batch = entries[(start := starts.popleft()) : start + batch_size]
            size = -(-len(of_batch) // n_readers)
            parts = (of_batch[first : first + size] for first in range(0, len(of_batch), size))
            jobs = [readers.submit(read_part, part, backbone.frame, with_masks) for part in parts]
            waiting.append((len(of_batch), jobs))

        try:
            while starts or waiting:
                while starts and len(waiting) < N_AHEAD:
                    submit()
                n_entries, jobs = waiting.popleft()
                yield _joined([job.result() for job in jobs], n_entries, pinned=on_gpu)
        finally:
            for _, jobs in waiting:
                for job in jobs:
                    job.cancel()


@contextmanager
def _readers(in_processes: bool) -> Iterator[tuple[Executor, int]]:
    """Who reads, and how many they are."""
    if in_processes:
        n_readers = min(_MAX_READERS, cpu_count())
        yield get_reusable_executor(max_workers=n_readers, timeout=_IDLE_SECONDS), n_readers
    else:
        with ThreadPoolExecutor(1, thread_name_prefix="lake-read") as readers:
            yield readers, 1


def _joined(parts: Sequence[Part], n_entries: int, pinned: bool) -> Batch:
    """The parts as one batch."""
    n_pictures = sum(len(part.pictures) for part in parts)
    canvases = torch.empty((n_pictures, *parts[0].canvases.shape[1:]), dtype=torch.uint8, pin_memory=pinned)
    # NumPy copies in this thread; PyTorch would wake threads that then spin on the cores of those who read.
    np.concatenate([part.canvases for part in parts], out=canvases.numpy())
    pictures = tuple(picture for part in parts for picture in part.pictures)
    return Batch(pictures, canvases, n_entries, tuple(problem for part in parts for problem in part.problems))
