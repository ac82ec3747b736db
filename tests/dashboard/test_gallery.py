"""The images of a visitor: found by their names, labelled many at once, drawn a page at a time."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.components.paging import PER_PAGE
from dashboard.text import MOST_LETTERS, shortened
from dashboard.workspace import Workspace
from lake_core.data.datasets import Dataset, Example
from lake_core.data.images import InputImage
from lake_core.types import Label
from tests.dashboard.visit import opened, press, run, table, texts

NAMES = ("set/test/good/0.png", "set/test/good/1.png", "test/Scratch/0.png", "not_good/scratched [1].png", "x/c.png")


def named(small: Dataset, *names: str) -> tuple[Example, ...]:
    """Test images of these names, without labels."""
    pixels = small.tests[0].image.rgb

    def example(i: int, name: str) -> Example:
        return Example(InputImage(name, pixels, f"{i:064}", (pixels.shape[1], pixels.shape[0])))

    return tuple(example(i, name) for i, name in enumerate(names))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("good/*", [0, 1]),
        ("*scratch*", [2, 3]),
        ("scratch", [2, 3]),
        ("scratch/*", [2]),
        ("test/*/0.png", [0, 2]),
        ("?.png", [0, 1, 2, 4]),
        ("[1]", [3]),
        ("c.png", [4]),
        ("*.jpg", []),
    ],
)
def test_a_pattern_begins_at_any_folder_and_a_word_stands_anywhere(
    pattern: str, found: list[int], small: Dataset
) -> None:
    tests = named(small, *NAMES)
    assert Workspace(tests=tests).tests_named(pattern) == tuple(tests[i] for i in found)


def labels(app: AppTest) -> list[Label | None]:
    return [example.label for example in app.session_state.session.workspace.tests]


def test_images_found_by_folder_are_labelled_at_once_and_the_others_are_not(small: Dataset) -> None:
    app = opened(Workspace(small.normals, named(small, *NAMES), "x"))
    app.text_input(key="find").set_value("good/*").run()
    press(app, "Select all 2")
    assert "2 images selected" in texts(app)
    press(app, "good")
    assert not app.exception
    assert labels(app) == ["good", "good", None, None, None]
    app.text_input(key="find").set_value("*scratch*").run()
    press(app, "Select all 2")
    press(app, "defective")
    assert labels(app) == ["good", "good", "defective", "defective", None]
    app.text_input(key="find").set_value("").run()
    assert labels(app) == ["good", "good", "defective", "defective", None], "the cards' own widgets must follow"
    assert "No image selected" in texts(app)


def test_ticked_images_are_labelled_and_what_is_not_found_is_counted(small: Dataset) -> None:
    tests = named(small, *NAMES)
    app = opened(Workspace(small.normals, tests, "x"))
    for i in (0, 4):
        app.checkbox(key=f"select_{tests[i].image.sha256}").check().run()
    app.text_input(key="find").set_value("good").run()
    assert "2 images selected, 1 of them outside this search" in texts(app)
    press(app, "defective")
    assert labels(app) == ["defective", None, None, None, "defective"]
    press(app, "Select all 3")
    press(app, "Select none")
    assert "No image selected" in texts(app)
    assert next(button for button in app.button if button.label == "good").disabled


def test_one_label_changes_one_image_and_follows_changes_made_elsewhere(small: Dataset) -> None:
    tests = named(small, *NAMES)
    app = opened(Workspace(small.normals, tests, "x"))
    assert app.selectbox(key=f"label_{tests[1].image.sha256}").value == "no label"
    app.selectbox(key=f"label_{tests[1].image.sha256}").set_value("good").run()
    assert labels(app) == [None, "good", None, None, None]
    here = app.session_state.session
    here.set_workspace(here.workspace.labelled({tests[1].image.sha256}, "defective"))  # as another tab does
    app.run()
    assert labels(app) == [None, "defective", None, None, None]
    assert app.selectbox(key=f"label_{tests[1].image.sha256}").value == "defective"


def test_a_pattern_without_a_match_says_so(small: Dataset) -> None:
    app = opened(Workspace(small.normals, named(small, *NAMES), "x"))
    app.text_input(key="find").set_value("**nothing**").run()
    assert r"No test image has a folder or name like \*\*nothing\*\*." in texts(app)


def many(small: Dataset, n: int, page: str, **session: Any) -> AppTest:
    """The page with that many test images, which differ in one pixel."""

    def example(i: int) -> Example:
        one = small.tests[i % len(small.tests)]
        rgb = np.array(one.image.rgb)
        rgb[0, 0] = i % 256, i // 256, 0
        return replace(one, image=replace(one.image, name=f"{i:03}.png", rgb=rgb, sha256=f"{i:064}"))

    return opened(Workspace(small.normals, tuple(map(example, range(n))), "many"), page, **session)


def test_many_images_are_drawn_a_page_at_a_time(small: Dataset) -> None:
    app = many(small, 400, "images")
    shown = [box.key for box in app.checkbox if box.label == "Select"]
    assert shown == [f"select_{i:064}" for i in range(PER_PAGE)]
    app.pagination[0].set_value(17).run()
    shown = [box.key for box in app.checkbox if box.label == "Select"]
    assert shown == [f"select_{i:064}" for i in range(16 * PER_PAGE, 400)]
    assert "385 to 400 of 400" in texts(app)
    press(app, "Select all 400")
    press(app, "good")
    assert labels(app) == ["good"] * 400
    app.text_input(key="find").set_value("01?.png").run()
    assert [box.key for box in app.checkbox if box.label == "Select"] == [f"select_{i:064}" for i in range(10, 20)]


def test_many_results_are_drawn_a_page_at_a_time_in_the_order_asked_for(small: Dataset) -> None:
    n_drawn = 16
    app = many(small, n_drawn + 2, "results")
    order = table(app).sort_values("score", ascending=False, kind="stable")["path"].tolist()
    run(app, results_section="Images")

    def shown() -> list[str]:
        return [f"{int(str(one.key)[-64:]):03}.png" for one in app.button if one.label == "Why this score?"]

    assert shown() == order[:n_drawn]
    app.pagination[0].set_value(2).run()
    assert shown() == order[n_drawn:]
    app.selectbox(key="sort").set_value("name").run()
    assert shown() == [f"{i:03}.png" for i in range(n_drawn)], "another order begins at its first page"


def test_a_short_name_is_whole_and_a_long_one_keeps_both_ends() -> None:
    assert shortened("test/scratch/000.jpg") == "test/scratch/000.jpg"
    long = "test/" + "a very long folder/" * 9 + "000123.jpg"
    assert len(shortened(long)) == MOST_LETTERS
    assert shortened(long).startswith("test/a very long")
    assert shortened(long).endswith("folder/000123.jpg")
    assert shortened("two\nlines") == "two lines"


@pytest.mark.parametrize("page", ["images", "results"])
def test_a_long_name_is_shortened_on_its_card_and_whole_where_the_pointer_rests(small: Dataset, page: str) -> None:
    long = '**b** $x$ <b>&"' + "long " * 40 + "end.png"
    tests = tuple(replace(e, image=replace(e.image, name=long)) for e in small.tests[:1])
    app = opened(Workspace(small.normals, tests, "x"), page)
    assert not app.exception
    shown = "\n".join(element.proto.body for element in app.get("html"))
    assert 'title="**b** $x$ &lt;b&gt;&amp;&quot;long long' in shown
    assert 'end.png"' in shown
    assert f">{'**b** $x$ &lt;b&gt;&amp;&quot;long'}" in shown
    assert "<b>" not in shown
    assert long not in texts(app)
