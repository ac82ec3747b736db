"""Pure parts of the dashboard's state and figures."""

from dataclasses import replace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.plots import maps
from dashboard.services.registry import Registry
from dashboard.settings import Settings
from dashboard.workspace import Workspace
from lake_core.backbones.patch_grid import PatchGrid, Placement
from lake_core.config import LakeConfig
from lake_core.data.datasets import Dataset, Example
from lake_core.data.images import read_image
from lake_core.data.samples import load_sample
from lake_core.errors import LakeError
from tests.dashboard.visit import APP, opened, press, texts


def test_a_image_with_the_same_bytes_is_kept_once_and_named() -> None:
    sample = load_sample("metal")
    once, said = Workspace().with_added(sample)
    assert said == []
    twice, said = once.with_added(sample)
    assert twice.n_images == once.n_images
    assert len(said) == once.n_images
    assert all("the same bytes" in sentence for sentence in said)


def test_files_of_one_name_given_one_after_the_other_can_be_told_apart() -> None:
    metal = load_sample("metal")
    first, second = (replace(e, image=replace(e.image, name="000.png")) for e in metal.tests[:2])
    held, said = Workspace().with_added(Dataset("a", (), (first,)))
    held, said = held.with_added(Dataset("b", (), (second,)))
    assert said == []
    assert [e.image.name for e in held.tests] == ["000.png", "000 (2).png"]
    assert [e.image.sha256 for e in held.tests] == [first.image.sha256, second.image.sha256]


def test_removing_and_labelling_touch_one_image() -> None:
    held, _ = Workspace().with_added(load_sample("metal"))
    sha = held.tests[3].image.sha256
    assert len(held.without("tests", sha).tests) == len(held.tests) - 1
    assert held.without("tests", sha).normals == held.normals
    labelled = held.labelled({sha}, None)
    changed = [i for i, (a, b) in enumerate(zip(held.tests, labelled.tests, strict=True)) if a.label != b.label]
    assert changed == [3]


def registry_of(n: int, small: Dataset, connected: set[str]) -> tuple[Registry, list[str]]:
    """A registry with room for n visitors with images, all taken, and their numbers."""
    registry = Registry(connected.__contains__, max_with_images=n)
    numbers = [registry.create() for _ in range(n)]
    for number in numbers:
        registry.keep(number, workspace=Workspace(small.normals))
        registry.connect(number, f"session of {number}")
        connected.add(f"session of {number}")
    return registry, numbers


def test_the_registry_forgets_the_visitor_who_left_longest_ago(small: Dataset) -> None:
    connected: set[str] = set()
    registry, (first, second, third) = registry_of(3, small, connected)
    connected -= {f"session of {first}", f"session of {second}"}
    assert registry.find(first) is not None  # now used later than the second
    registry.keep(registry.create(), workspace=Workspace(small.normals))
    assert registry.find(second) is None
    assert registry.find(first) is not None
    assert registry.find(third) is not None


def test_empty_visits_cost_no_visitor_the_images(small: Dataset) -> None:
    registry, (number,) = registry_of(1, small, set())
    for _ in range(1500):
        registry.keep(registry.create(), settings=Settings(config=LakeConfig(top_k=7)))
    held = registry.find(number)
    assert held is not None
    assert len(held.workspace.normals) == len(small.normals)


def test_an_empty_visit_is_found_again_and_the_oldest_of_very_many_is_forgotten() -> None:
    registry = Registry(lambda session: True, max_without=3)
    numbers = [registry.create() for _ in range(4)]
    assert [registry.find(number) is not None for number in numbers] == [False, True, True, True]


def test_no_connected_visitor_is_forgotten_and_a_full_server_says_so(small: Dataset) -> None:
    registry, numbers = registry_of(2, small, set())
    late = registry.create()
    with pytest.raises(LakeError, match="no room for more images"):
        registry.keep(late, workspace=Workspace(small.normals))
    held = registry.find(late)
    assert held is not None
    assert held.workspace.is_empty
    for number in numbers:
        registry.keep(number, workspace=Workspace(small.normals, small.tests))  # who is in goes on as before
    assert all(registry.find(number) is not None for number in numbers)


def test_a_visitor_with_a_second_tab_is_there_until_both_are_closed(small: Dataset) -> None:
    connected: set[str] = set()
    registry, (number,) = registry_of(1, small, connected)
    registry.connect(number, "second tab")
    connected.add("second tab")
    connected.remove(f"session of {number}")
    late = registry.create()
    with pytest.raises(LakeError):
        registry.keep(late, workspace=Workspace(small.normals))
    connected.remove("second tab")
    registry.keep(late, workspace=Workspace(small.normals))
    assert registry.find(number) is None


def part(seed: int, side: int = 100) -> Workspace:
    """A workspace of one image of its own, of 30 kB."""
    rgb = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Workspace((Example(read_image(rgb, f"{seed}.png"), "good"),))


def test_images_are_bounded_by_bytes_and_who_left_makes_room() -> None:
    connected: set[str] = set()
    registry = Registry(connected.__contains__, max_bytes=100_000)
    numbers = [registry.create() for _ in range(3)]
    for seed, number in enumerate(numbers):
        registry.keep(number, workspace=part(seed))
    registry.connect(numbers[0], "here")
    connected.add("here")
    late = registry.create()
    registry.keep(late, workspace=part(3))
    assert [registry.find(number) is not None for number in (*numbers, late)] == [True, False, True, True]
    with pytest.raises(
        LakeError, match=r"^Your images would take more than the 0\.0001 GB of memory .* fewer or smaller"
    ):
        registry.keep(late, workspace=part(4, 200))
    held = registry.find(late)
    assert held is not None
    assert held.workspace.normals[0].image.name == "3.png"


def test_images_that_wait_for_an_answer_take_room_too() -> None:
    registry = Registry(lambda session: True, max_bytes=100_000)
    first, second = registry.create(), registry.create()
    for number in (first, second):
        registry.connect(number, number)
    registry.keep(first, arrived=part(0))
    registry.keep(first, workspace=part(1))
    registry.keep(second, workspace=part(2))
    with pytest.raises(LakeError, match="no room for more images"):
        registry.keep(second, arrived=part(3))
    registry.keep(first, arrived=Workspace())
    registry.keep(second, arrived=part(3))


def test_what_many_visitors_look_at_takes_room_once() -> None:
    registry, shown = Registry(lambda session: True, max_bytes=40_000), part(0)
    numbers = [registry.create() for _ in range(5)]
    for number in numbers:
        registry.connect(number, number)
        registry.keep(number, workspace=shown)
    assert [held is not None and held.workspace == shown for held in map(registry.find, numbers)] == [True] * 5


def test_the_page_says_that_a_full_server_takes_no_images(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, numbers = registry_of(1, small, set())
    monkeypatch.setattr("dashboard.services.registry.registry", lambda: registry)
    app = AppTest.from_file(str(APP), default_timeout=120).run()
    press(app, "Open metal")
    assert not app.exception
    assert "no room for more images" in texts(app)
    assert app.button(key="sample_metal").label == "Open metal"
    assert registry.find(numbers[0]) is not None


def test_a_visitor_whose_images_went_while_away_is_told_once(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(lambda session: False, max_with_images=1)
    monkeypatch.setattr("dashboard.services.registry.registry", lambda: registry)
    app = opened(Workspace(small.normals))
    registry.keep(registry.create(), workspace=Workspace(small.normals))
    app.run()
    assert "Your images are no longer on the server" in texts(app)
    app.run()
    assert "no longer on the server" not in texts(app)


def test_the_clickable_map_has_each_patch_at_its_place_as_plain_numbers() -> None:
    grid, placement = PatchGrid(2, 4, 32, 64), Placement(32, 64, 0, 0, 32, 64)
    values = np.arange(8, dtype=np.float64)
    values[5] = np.nan
    points = maps.clickable_map(b"", (128, 64), grid, placement, values, []).data[0]
    assert [point[0] for point in points.customdata] == [0, 1, 2, 3, 4, 6, 7]
    assert all(isinstance(point[0], int) for point in points.customdata)
    assert (points.x[4], points.y[4]) == (16.0, 48.0)


def test_a_threshold_moved_by_hand_is_of_the_images_it_was_moved_for(small: Dataset) -> None:
    app = opened(Workspace(small.normals, small.tests, small.name))
    session = app.session_state.session
    session.own_threshold = 0.5
    session.set_workspace(session.workspace.labelled([small.tests[0].image.sha256], "good"))
    assert session.own_threshold == 0.5
    others = load_sample("gravel").tests[: len(small.tests)]
    session.set_workspace(Workspace(small.normals, others, small.name))
    assert session.own_threshold is None
