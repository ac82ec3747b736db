"""Maps in a temporary file come back as they were written, and leave nothing behind."""

import errno
import tempfile
from pathlib import Path

import numpy as np
import pytest

from lake_core.errors import LakeError
from lake_core.evaluation.maps import MapFile


def test_maps_come_back_for_any_images_of_any_detector() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((3, 9)).astype(np.float32), rng.random((2, 9)).astype(np.float32)
    written = np.concatenate([first, second])
    with MapFile([4, 0, 5]) as maps:
        maps.append(first)
        assert np.array_equal(maps.maps(range(1), [2]), first[2:, :4])
        maps.append(second)
        assert np.array_equal(maps.maps(range(1), [4, 0]), written[[4, 0], :4])
        assert np.array_equal(maps.maps(range(2, 3), [1, 3]), written[[1, 3], 4:])
        assert np.array_equal(maps.maps(range(3), [1, 3]), written[[1, 3]])
        assert maps.columns(range(1, 3)) == slice(4, 9)
        assert maps.maps(range(1, 2), [0, 1]).shape == (2, 0)
        assert maps.maps(range(2, 3), []).shape == (0, 5)


def test_the_range_of_a_detector_is_that_of_its_numbers() -> None:
    with MapFile([2, 1, 1]) as maps:
        assert maps.bounds(0) == (0, 0)
        maps.append(np.array([[1, np.nan, 7, np.nan]], np.float32))
        maps.append(np.array([[3, -2, 5, np.nan], [0, 0, 6, np.nan]], np.float32))
        assert [maps.bounds(detector) for detector in range(3)] == [(-2, 3), (5, 7), (0, 0)]


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with MapFile([4]) as maps:
        maps.append(np.zeros((2, 4), np.float32))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            pass

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    with MapFile([4]) as maps, pytest.raises(LakeError, match=r"No space left.*TMPDIR"):
        maps.append(np.zeros((2, 4), np.float32))
