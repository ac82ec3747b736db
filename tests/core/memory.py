"""How much memory this process takes, and at most while something is done."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Growth:
    """Bytes between what was taken before and the most that was taken since; known once the block is over."""

    n_bytes: int = 0


@contextmanager
def peak_growth() -> Iterator[Growth]:
    """The growth of this process's memory within the block."""
    before, found = status("VmRSS"), Growth()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the most so far is what is taken now
    yield found
    found.n_bytes = max(0, status("VmHWM") - before)


def status(name: str) -> int:
    """A line of Linux's account of this process, in bytes; elsewhere the most it has ever had in memory."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
