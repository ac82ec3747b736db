"""Pure parts of the dashboard's state and figures."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dashboard import figures, split_figures
from dashboard.state import Registry, Workspace
from lake_core.datasets import Dataset, load_sample
from lake_core.geometry import PatchGrid, Placement


def test_a_picture_with_the_same_bytes_is_kept_once_and_named() -> None:
    sample = load_sample("metal")
    once, said = Workspace().with_added(sample)
    assert said == []
    twice, said = once.with_added(sample)
    assert twice.n_pictures == once.n_pictures
    assert len(said) == once.n_pictures
    assert all("the same bytes" in sentence for sentence in said)


def test_files_of_one_name_given_one_after_the_other_can_be_told_apart() -> None:
    metal = load_sample("metal")
    first, second = (replace(e, picture=replace(e.picture, name="000.png")) for e in metal.tests[:2])
    held, said = Workspace().with_added(Dataset("a", (), (first,)))
    held, said = held.with_added(Dataset("b", (), (second,)))
    assert said == []
    assert [e.picture.name for e in held.tests] == ["000.png", "000 (2).png"]
    assert [e.picture.sha256 for e in held.tests] == [first.picture.sha256, second.picture.sha256]


def test_removing_and_labelling_touch_one_picture() -> None:
    held, _ = Workspace().with_added(load_sample("metal"))
    sha = held.tests[3].picture.sha256
    assert len(held.without("tests", sha).tests) == len(held.tests) - 1
    assert held.without("tests", sha).normals == held.normals
    labelled = held.labelled(sha, None)
    changed = [i for i, (a, b) in enumerate(zip(held.tests, labelled.tests, strict=True)) if a.label != b.label]
    assert changed == [3]


def test_the_registry_forgets_the_session_used_longest_ago() -> None:
    registry = Registry(max_snapshots=2)
    first, second = registry.create(), registry.create()
    assert registry.find(first) is not None
    third = registry.create()
    assert registry.find(second) is None
    assert registry.find(first) is not None
    assert registry.find(third) is not None


def test_the_waterfall_stands_on_itself_and_reaches_the_score() -> None:
    ledger = pd.DataFrame(
        {
            "part": ["visual", "visual", "cross_modal"],
            "layer": pd.array([9, 15, pd.NA], dtype="Int64"),
            "unit": pd.array([3, 4, pd.NA], dtype="Int64"),
            "contribution": [0.4, 0.3, 0.2],
        }
    )
    bar = split_figures.waterfall(split_figures.steps_of(ledger, 0.9), 0.9, 0.5).data[0]
    assert list(bar.y) == pytest.approx([0.4, 0.3, 0.2, 0.9])
    assert list(bar.base) == pytest.approx([0.0, 0.4, 0.7, 0.0])


def test_unit_bars_add_up_to_the_visual_part() -> None:
    rng = np.random.default_rng(0)
    units = pd.DataFrame({"part": "visual", "layer": 15, "unit": np.arange(60), "contribution": rng.random(60)})
    total = float(units["contribution"].sum())
    bar = split_figures.unit_bars(units, total).data[0]
    assert len(bar.x) == 16
    assert sum(bar.x) == pytest.approx(total)


def test_the_clickable_map_has_each_patch_at_its_place_as_plain_numbers() -> None:
    grid, placement = PatchGrid(2, 4, 32, 64), Placement(32, 64, 0, 0, 32, 64)
    values = np.arange(8, dtype=np.float64)
    values[5] = np.nan
    points = figures.clickable_map(b"", (128, 64), grid, placement, values, []).data[0]
    assert [point[0] for point in points.customdata] == [0, 1, 2, 3, 4, 6, 7]
    assert all(isinstance(point[0], int) for point in points.customdata)
    assert (points.x[4], points.y[4]) == (16.0, 48.0)
