"""How long work takes on the device that does it."""

import time
from types import TracebackType
from typing import Any

import torch


class Timed:
    """Measures the work that a `with` block does on a device.

    A GPU works on what it was given while the program goes on, so there it is measured by the GPU's own clock.

    Args:
        device: Where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __enter__(self) -> "Timed":
        self._start = self._now()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end = self._now()

    @property
    def seconds(self) -> float:
        """What it took; waits until the work is done."""
        if self._device.type != "cuda":
            return float(self._end - self._start)
        self._end.synchronize()
        return float(self._start.elapsed_time(self._end)) / 1000

    def _now(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call, unused-ignore]
        event.record(torch.cuda.current_stream(self._device))
        return event
