"""Maps in a temporary file come back as they were written, and leave nothing behind."""

import errno
from pathlib import Path

import numpy as np
import pytest

from lake_core import map_file
from lake_core.errors import LakeError
from lake_core.map_file import MapFile


def test_maps_come_back_for_any_pictures_of_any_detector() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((3, 9)).astype(np.float32), rng.random((2, 9)).astype(np.float32)
    written = np.concatenate([first, second])
    with MapFile([4, 0, 5]) as maps:
        maps.append(first)
        assert np.array_equal(maps.maps(0, [2]), first[2:, :4])
        maps.append(second)
        assert np.array_equal(maps.maps(0, [4, 0]), written[[4, 0], :4])
        assert np.array_equal(maps.maps(2, [1, 3]), written[[1, 3], 4:])
        assert maps.maps(1, [0, 1]).shape == (2, 0)
        assert maps.maps(2, []).shape == (0, 5)


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

    monkeypatch.setattr(map_file.tempfile, "TemporaryFile", lambda **_: Full())
    with MapFile([4]) as maps, pytest.raises(LakeError, match=r"No space left.*TMPDIR"):
        maps.append(np.zeros((2, 4), np.float32))
