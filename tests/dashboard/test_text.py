"""Foreign strings are shown as they are written, on pages and in figures."""

from dataclasses import replace

import pandas as pd
import pytest

from dashboard.plots import decomposition
from dashboard.settings import Settings
from dashboard.text import JOINER, escaped, in_figure
from dashboard.workspace import Workspace
from lake_core.config import LakeConfig
from lake_core.data.datasets import Dataset
from tests.dashboard.visit import opened, texts

ODD = "![x](http://a.example/b.png) $x^2$ **b** <img src=c> :material/home: [l](d) `e` ~~f~~ &lt; _g_ \\"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("metal_01-b (2).png", "metal_01-b (2).png"),
        ("a__b", r"a\_\_b"),
        ("_a_", r"\_a\_"),
        ("**b** `c` ~d~", r"\*\*b\*\* \`c\` \~d\~"),
        ("![x](y) [l](z)", r"!\[x\](y) \[l\](z)"),
        ("$x^2$ <b> &lt;", r"\$x^2\$ \<b\> \&lt;"),
        (r"a\b", r"a\\b"),
        ("# a", r"\# a"),
        ("- a", r"\- a"),
        ("1. a", r"1\. a"),
        ("12) a", r"12\) a"),
        ("two\nlines\tand  more", "two lines and more"),
        ("a: b, 12%", "a: b, 12%"),
    ],
)
def test_signs_of_markdown_are_escaped_and_ordinary_names_stay(name: str, shown: str) -> None:
    assert escaped(name) == shown


@pytest.mark.parametrize(
    ("name", "parted"),
    [
        (":material/home:", [":", "material/home:"]),
        (":streamlit:", [":", "streamlit:"]),
        (":smile:", [":", "smile:"]),
        (":red[a]", [":", r"red\[a\]"]),
        ("http://a.example", ["http:", "//a.example"]),
        ("WWW.a.example", ["WWW", ".a.example"]),
        ("me@a.example", ["me", "@a.example"]),
        ("a -> b", ["a -", r"\> b"]),
        ("a -- b", ["a -", "- b"]),
    ],
)
def test_what_is_sought_after_the_escapes_is_parted(name: str, parted: list[str]) -> None:
    assert escaped(name).replace(":" + JOINER + "/" + JOINER, ":/").split(JOINER) == parted


def test_a_figure_shows_a_name_as_it_is() -> None:
    assert in_figure('<a href="b">c</a> & d') == '&lt;a href="b"&gt;c&lt;/a&gt; &amp; d'
    table = pd.DataFrame({"part": ["visual"], "layer": [1], "neuron": [2], "difference": [0.5]})
    title = decomposition.difference_bars(table, 0.5, ("<b>x", "y")).layout.xaxis.title.text
    assert title == "contribution in &lt;b&gt;x minus contribution in y"


PAGES = (
    "images",
    "results",
    "explain",
    "neurons",
    "selection",
    "text_prompts",
    "interventions",
    "evaluate",
    "compare",
)


@pytest.mark.parametrize("page", PAGES)
def test_no_page_shows_a_name_as_markdown(page: str, small: Dataset) -> None:
    normals = tuple(replace(e, image=replace(e.image, name=f"{i} {ODD}")) for i, e in enumerate(small.normals))
    tests = tuple(replace(e, image=replace(e.image, name=f"t{i} {ODD}")) for i, e in enumerate(small.tests))
    configurations = (Settings(), Settings(config=LakeConfig(fusion_weight=0.0)))
    app = opened(Workspace(normals, tests, ODD))
    app.session_state.session.registry.keep(app.session_state.session.number, configurations=configurations)
    app.switch_page(f"app_pages/{page}.py").run()
    assert not app.exception
    shown = [texts(app), *(button.label for button in app.button), *(str(box.label) for box in app.selectbox)]
    shown += [str(pills.proto.label) for pills in app.button_group]
    shown += [image.caption for images in app.get("imgs") for image in images.proto.imgs]
    assert not [text for text in shown if "![x](" in text or "$x^2$" in text.replace(r"\$", "")]
