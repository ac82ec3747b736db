"""The images of the workspace as cards, a page at a time: to look at, to label, to select, to remove."""

from collections.abc import Iterator, Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.components.layout import cards
from dashboard.components.names import file_name
from dashboard.components.paging import one_page
from dashboard.services.images import plain_image
from dashboard.session import current
from dashboard.text import escaped
from dashboard.words import LABEL_NAMES
from dashboard.workspace import Side, shas
from lake_core.data.datasets import Example
from lake_core.sentences import quantity
from lake_core.types import Label

LABELS: dict[str, Label | None] = {"no label": None, "good": "good", "defective": "defective"}
"""By their names: to a select box None is no option, but that nothing is chosen."""
THUMBNAIL, CARD_WIDTH = 220, 148


def normal_images() -> None:
    """The normal images, each with a way to remove it."""
    examples = current().workspace.normals
    st.subheader(f"Normal images ({len(examples)})", anchor=False)
    if not examples:
        st.caption("None yet.")
    for card, example in _cards("normals", one_page(examples, "normals")):
        with card:
            _remove("normals", example)


def test_images() -> None:
    """The test images, each with its label; several are labelled at once, by their names or by ticks."""
    examples = current().workspace.tests
    st.subheader(f"Test images ({len(examples)})", anchor=False)
    if not examples:
        st.caption("None yet.")
    several = len(examples) > 1
    pattern = _pattern() if several else ""
    found = current().workspace.tests_named(pattern)
    is_read_only = current().is_read_only
    if several and not is_read_only:
        _label_selected(found)
    if examples and not found:
        st.info(f"No test image has a folder or name like {escaped(pattern)}.", icon=":material/search_off:")
    for card, example in _cards("tests", one_page(found, f"tests {pattern}")):
        with card:
            if several and not is_read_only:
                _tick(example)
            _label(example)
            _remove("tests", example)


def _pattern() -> str:
    """What is looked for in the folders and names of the test images; nothing at first."""
    return st.text_input(
        "Find by folder or name",
        key="find",
        placeholder="good/* or *scratch*",
        help="`*` stands for any characters, `?` for one: `good/*` is everything in a folder called good. A word alone "
        "is found anywhere in folder or name.",
        width=360,
    ).strip()


def _label_selected(found: Sequence[Example]) -> None:
    """Selects what was found, and labels all selected images at once."""
    here, contents = current(), frozenset(shas(found))
    selected = here.selected = here.selected & frozenset(shas(here.workspace.tests))
    n, n_hidden = len(selected), len(selected - contents)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(f"Select all {len(found)}", on_click=_select, args=(selected | contents,), disabled=not found)
        st.button("Select none", on_click=_select, args=(frozenset(),), disabled=not selected)
        hidden = f", {n_hidden} of them outside this search" if n_hidden else ""
        st.markdown(f"{quantity(n, 'image') if n else 'No image'} selected{hidden}. Label as", width="content")
        for name in ("good", "defective", "no label"):
            st.button(name, key=f"label {name}", on_click=_label_all, args=(LABELS[name],), disabled=not selected)


def _select(contents: frozenset[str]) -> None:
    current().selected = contents


def _label_all(label: Label | None) -> None:
    """Labels the selected images, which are then no longer selected."""
    here = current()
    here.set_workspace(here.workspace.labelled(here.selected, label))
    st.toast(f"{quantity(len(here.selected), 'image')}: {LABEL_NAMES[label]}.", icon=":material/label:")
    here.selected = frozenset()


def _cards(side: Side, examples: Sequence[Example]) -> Iterator[tuple[DeltaGenerator, Example]]:
    """A card with image and name for each, to which more may be added."""
    for card, example in zip(
        cards(len(examples), CARD_WIDTH, f"gallery_{side}", border=True, height="stretch"), examples, strict=True
    ):
        image = example.image
        with card:
            st.image(plain_image(image, THUMBNAIL), width="stretch", alt=f"{image.name}, {LABEL_NAMES[example.label]}")
            file_name(image.name)
        yield card, example


def _tick(example: Example) -> None:
    sha256 = example.image.sha256
    key = f"select_{sha256}"
    st.session_state[key] = sha256 in current().selected
    st.checkbox("Select", key=key, on_change=lambda: _select(current().selected ^ {sha256}))


def _label(example: Example) -> None:
    """The label of one image, which may also change beside this widget: in bulk, or in another tab."""
    sha256 = example.image.sha256
    key = f"label_{sha256}"

    def change() -> None:
        current().set_workspace(current().workspace.labelled({sha256}, LABELS[st.session_state[key]]))

    st.session_state[key] = next(name for name, label in LABELS.items() if label == example.label)
    st.selectbox(
        f"Label of {escaped(example.image.name)}",
        list(LABELS),
        key=key,
        on_change=change,
        label_visibility="collapsed",
        disabled=current().is_read_only,
    )


def _remove(side: Side, example: Example) -> None:
    sha256 = example.image.sha256
    st.button(
        "Remove",
        key=f"remove_{side}_{sha256}",
        on_click=lambda: current().set_workspace(current().workspace.without(side, sha256)),
        width="stretch",
        type="tertiary",
        icon=":material/close:",
        disabled=current().is_read_only,
    )
