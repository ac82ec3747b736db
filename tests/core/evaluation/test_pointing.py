"""The pointing game against brute force: which patches touch a mask, and which is the highest."""

from pathlib import Path

import numpy as np
import pytest

from lake_core.backbones.patch_grid import PatchGrid, Placement
from lake_core.data.folders import Entry
from lake_core.evaluation.maps import MapFile
from lake_core.evaluation.pointing import PointingGame
from lake_core.evaluation.reading import Loaded, Mask
from lake_core.metrics.defect_mask import DefectMask

GRID = PatchGrid(4, 4, 64, 64)
WHOLE = Placement(64, 64, 0, 0, 64, 64)
UPPER = Placement(64, 64, 0, 0, 32, 64)


def loaded(mask: np.ndarray | None, placement: Placement = WHOLE) -> Loaded:
    found = None if mask is None else Mask(DefectMask.of(mask), placement)
    return Loaded(Entry(Path("a.png"), "a.png", "test", "defective"), "0", placement, found)


def defect(rows: slice, cols: slice, shape: tuple[int, int] = (32, 32)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[rows, cols] = True
    return mask


def highest_at(patch: int) -> np.ndarray:
    values = np.random.default_rng(patch).random(16).astype(np.float32)
    values[patch] = 2.0
    return values


def test_a_hit_is_a_highest_patch_that_touches_the_mask() -> None:
    # A patch is 8 x 8 pixels of the mask: this one touches patches 0, 1, 4 and 5.
    corner = defect(slice(6, 10), slice(6, 10))
    images = [loaded(None), loaded(corner), loaded(np.zeros((32, 32), bool)), loaded(corner), loaded(corner)]
    game = PointingGame(images)
    assert game.rows == [1, 3, 4]
    with MapFile([3, 16]) as maps:
        for patch in (0, 5, 0, 2, 1):
            maps.append(np.concatenate([np.zeros(3, np.float32), highest_at(patch)])[None])
        found = game.played(maps, {1: GRID})[1]
    assert found.hits.tolist() == [True, False, True]
    assert found.share == pytest.approx(2 / 3)
    assert found.chance == pytest.approx(4 / 16)


def test_patches_off_the_image_neither_win_nor_count_for_chance() -> None:
    game = PointingGame([loaded(defect(slice(0, 8), slice(0, 8), (16, 32)), UPPER)])
    values = highest_at(0)
    values[8:] = np.nan
    with MapFile([16]) as maps:
        maps.append(values[None])
        found = game.played(maps, {0: GRID})[0]
    assert found.hits.tolist() == [True]
    assert found.chance == pytest.approx(1 / 8)


def test_without_masks_there_is_no_game() -> None:
    with MapFile([16]) as maps:
        maps.append(highest_at(1)[None])
        assert PointingGame([loaded(None)]).played(maps, {0: GRID}) == {}
