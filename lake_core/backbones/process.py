"""What a program sets once for its process: its threads, its garbage collector, and how it deals with memory.

The library sets nothing when it is imported.
"""

import ctypes
import gc
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

_ALLOCATIONS_BETWEEN = 100_000
"""Objects made between two looks at the young ones; Python's own 700 to 2000 are soon reached by paths."""

_MEMORY_WHERE_UNKNOWN = 8 * 1024**3
_IDLE, _WORTH_S = 0.05, 1.0
"""Share of a processor below which nothing is computed, and seconds of work after which there is something to tidy."""


def limit_threads() -> int:
    """Leave half of the cores to others; OMP_NUM_THREADS, where the user has set it, is kept.

    Two busy threads on two busy cores are many times slower than one. That holds for PyTorch and for NumPy's matrix
    products alike: next to another busy process a product of 200 x 24 by 24 x 24 took 30 ms instead of 0.1 ms.

    Returns:
        The number of threads that PyTorch uses now.
    """
    import torch
    from loky import cpu_count  # of the cores that this process may use, in a container too

    if not os.environ.get("OMP_NUM_THREADS"):
        n_threads = max(1, cpu_count() // 2)
        torch.set_num_threads(n_threads)
        _limit_matrix_products(n_threads)
    return torch.get_num_threads()


@contextmanager
def no_collection() -> Iterator[None]:
    """No garbage collection while libraries are imported: what they make stays, and looking at it takes a tenth."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@cache
def freeze_imports() -> None:
    """Take all objects that exist now out of garbage collection; programs call it once, after their imports.

    PyTorch, pandas and the others make half a million objects that stay to the end. Looking through them took 0.3 to
    0.5 s: after every run of a page and of its progress bars, while work beside the page stood still, and now and then
    in the middle of an evaluation. The objects are not collected before that, which takes as long: of 370,000 there
    were 9,000 without use, 2 MB.
    """
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_BETWEEN, 10, 10)


def tidy() -> None:
    """Collect garbage, and give memory that is not used any more back to the system, which the C library keeps."""
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):  # macOS and Windows
        ctypes.CDLL(None).malloc_trim(0)


def tidy_when_idle(every_s: float = 5.0) -> threading.Thread:
    """Tidy up whenever nothing has been computed for some seconds; servers call it once.

    After `freeze_imports` the garbage collector looks rarely, so that objects which hold each other stay long; and what
    forward passes leave behind in the heap stays with the process.
    """

    def watch() -> None:
        tidied = before = time.process_time()
        while True:
            time.sleep(every_s)
            now = time.process_time()
            if now - before < _IDLE * every_s and now - tidied > _WORTH_S:
                tidy()
                tidied = now = time.process_time()
            before = now

    thread = threading.Thread(target=watch, name="tidy", daemon=True)
    thread.start()
    return thread


def total_memory(cgroup: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Bytes of memory that this process may use: the machine's, or its container's where that is less.

    Args:
        cgroup: Where Linux says what a container may use.
    """
    try:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows
        machine = _MEMORY_WHERE_UNKNOWN
    try:
        return min(machine, int(cgroup.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return machine


@cache
def _limit_matrix_products(n_threads: int) -> None:
    """Limit the libraries behind NumPy and SciPy; looking for them takes too long to do it more than once."""
    import scipy.linalg  # noqa: F401 (brings its own library, which must be loaded to be found)
    from threadpoolctl import threadpool_limits

    threadpool_limits(n_threads, user_api="blas")
