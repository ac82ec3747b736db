"""Maps of all test images kept in a temporary file, so that memory does not grow with their number."""

import tempfile
from collections.abc import Sequence
from itertools import pairwise
from types import TracebackType

import numpy as np

from lake_core.errors import LakeError


class MapFile:
    """For each image a row of float32: the maps of all detectors, one after the other.

    The file has no name in its folder (that for temporary files, which TMPDIR sets) and is gone when this is closed or
    the process ends. Close it after use, best by a `with` statement.

    Args:
        n_patches: Of each detector's map; several detectors may have different grids.
    """

    def __init__(self, n_patches: Sequence[int]) -> None:
        ends = np.cumsum([0, *n_patches])
        self._columns = [slice(int(first), int(last)) for first, last in pairwise(ends)]
        self._width, self._n_rows = int(ends[-1]), 0
        self._lowest, self._highest = np.full(self._width, np.inf), np.full(self._width, -np.inf)
        self._file = tempfile.TemporaryFile(prefix="lake-maps-")  # noqa: SIM115 (closed by __exit__)

    def __enter__(self) -> "MapFile":
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, rows: np.ndarray) -> None:
        """Writes the maps of further images, (n_images, sum of n_patches) float32.

        Raises:
            LakeError: if they cannot be written.
        """
        try:
            self._file.write(np.ascontiguousarray(rows, dtype=np.float32).data)
            self._file.flush()
        except OSError as error:
            n_bytes = (self._n_rows + len(rows)) * self._width * 4
            raise LakeError(
                f"The maps of the test images ({n_bytes / 1e6:.0f} MB so far) cannot be kept in "
                f"{tempfile.gettempdir()} ({error.strerror or error}): make room there, set TMPDIR to another folder, "
                "or leave out pixel metrics."
            ) from error
        self._n_rows += len(rows)
        self._lowest = np.fmin(self._lowest, np.fmin.reduce(rows, axis=0))
        self._highest = np.fmax(self._highest, np.fmax.reduce(rows, axis=0))

    def bounds(self, detector: int) -> tuple[float, float]:
        """The lowest and highest value of one detector's maps; (0, 0) where they hold no number."""
        columns = self._columns[detector]
        low, high = self._lowest[columns].min(initial=np.inf), self._highest[columns].max(initial=-np.inf)
        return (float(low), float(high)) if np.isfinite([low, high]).all() else (0.0, 0.0)

    def columns(self, detectors: range) -> slice:
        """Where the maps of some detectors, one after the other, lie in a row."""
        return slice(self._columns[detectors[0]].start, self._columns[detectors[-1]].stop)

    def maps(self, detectors: range, images: Sequence[int]) -> np.ndarray:
        """(n_images, n_patches of some detectors one after the other) float32, images numbered as written."""
        columns = self.columns(detectors)
        if not images or columns.start == columns.stop:
            return np.zeros((len(images), columns.stop - columns.start), dtype=np.float32)
        # Mapped anew each time: pages that stay mapped would count as memory of this process.
        rows = np.memmap(self._file, np.float32, "r", shape=(self._n_rows, self._width))
        return np.array(rows[np.asarray(images), columns])
