"""Pinned neurons in named lists, with a sentence on each: to edit, and to take along as a table or a text."""

import re
from collections.abc import Mapping

import pandas as pd
import streamlit as st

from dashboard.components.tables import download_table
from dashboard.session import PIN_LIST, current
from dashboard.settings import Note, Pin
from dashboard.words import SITE_NAMES
from lake_core.projects.manifest import MAX_NOTE

UNNAMED = "(no name)"
MAX_NAME = 60
COLUMNS = ("list", "model", "image_size", "layer", "site", "neuron", "note")
_SIGN = re.compile(r"([\\`*_\[\]<>|#])")


def list_in_use() -> str:
    """The list that is shown, and that neurons are pinned into; "" is the one without a name.

    Where none is chosen, as in a project that was opened, it is the first that has neurons.
    """
    name = " ".join(str(st.session_state.get(PIN_LIST) or UNNAMED).split())[:MAX_NAME]
    if name != UNNAMED:
        return name
    filled = [_note(pin).in_list for pin in current().pins]
    return filled[0] if filled and "" not in filled else ""


def pins_in_list() -> list[Pin]:
    """The neurons of the list in use."""
    return [pin for pin in current().pins if _note(pin).in_list == list_in_use()]


def pick_list() -> None:
    """Which list is in use; a name that is typed begins a new one, or is another name for this one."""
    names = dict.fromkeys([_note(pin).in_list or UNNAMED for pin in current().pins])
    in_use = list_in_use() or UNNAMED
    st.session_state[PIN_LIST] = in_use
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "List of pinned neurons",
            [*names, *({in_use} - names.keys())],
            key=PIN_LIST,
            accept_new_options=True,
            help="Type a name to begin another list. New pins go into the list that is chosen here.",
            width=260,
        )
        key = f"rename_{in_use}"
        st.session_state[key] = "" if in_use == UNNAMED else in_use
        st.text_input(
            "Name of this list",
            key=key,
            max_chars=MAX_NAME,
            on_change=lambda: _rename(str(st.session_state[key])),
            disabled=current().is_read_only,
            width=260,
        )


def edit_note(pin: Pin) -> None:
    """A sentence on a pinned neuron."""
    key = f"note_{pin.layer}_{pin.site}_{pin.neuron}"
    st.session_state[key] = _note(pin).text
    st.text_area(
        "Note",
        key=key,
        placeholder="what it responds to",
        max_chars=MAX_NOTE,
        height=110,
        on_change=lambda: _set_text(pin, str(st.session_state[key])),
        disabled=current().is_read_only,
    )


def downloads() -> None:
    """All lists as a table and as a text."""
    pins, notes = current().pins, current().notes
    with st.container(horizontal=True):
        download_table(table_of(pins, notes), "neurons.csv", "Download the lists (CSV)")
        st.download_button(
            "Download the lists (Markdown)",
            markdown_of(pins, notes),
            file_name="neurons.md",
            mime="text/markdown",
            icon=":material/download:",
            on_click="ignore",
        )


def table_of(pins: tuple[Pin, ...], notes: Mapping[Pin, Note]) -> pd.DataFrame:
    """A row for each pinned neuron, list by list."""
    rows = [
        (note.in_list, pin.model.spec, pin.model.image_size, pin.layer, pin.site, pin.neuron, note.text)
        for _, pins_of in _by_list(pins, notes).items()
        for pin in pins_of
        for note in [notes.get(pin, Note())]
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"image_size": "Int64"})


def markdown_of(pins: tuple[Pin, ...], notes: Mapping[Pin, Note]) -> str:
    """The lists as headings with a line for each neuron; what was typed is shown as it was typed."""
    lines: list[str] = []
    for name, pins_of in _by_list(pins, notes).items():
        lines += [f"## {_plain(name) or 'Pinned neurons'}", ""]
        for pin in pins_of:
            text = _plain(notes.get(pin, Note()).text)
            place = f"{_plain(pin.model.spec)}, layer {pin.layer}, {SITE_NAMES[pin.site]}, neuron {pin.neuron}"
            lines.append(f"- {place}: {text}" if text else f"- {place}")
        lines.append("")
    return "\n".join(lines)


def _by_list(pins: tuple[Pin, ...], notes: Mapping[Pin, Note]) -> dict[str, list[Pin]]:
    found: dict[str, list[Pin]] = {}
    for pin in pins:
        found.setdefault(notes.get(pin, Note()).in_list, []).append(pin)
    return found


def _note(pin: Pin) -> Note:
    return current().notes.get(pin, Note())


def _set_text(pin: Pin, text: str) -> None:
    current().set_notes({pin: _note(pin)._replace(text=" ".join(text.split())[:MAX_NOTE])})


def _rename(name: str) -> None:
    name = " ".join(name.split())[:MAX_NAME]
    current().set_notes({pin: _note(pin)._replace(in_list=name) for pin in pins_in_list()})
    st.session_state[PIN_LIST] = name or UNNAMED


def _plain(text: str) -> str:
    """A text in one line in which no sign means anything in Markdown."""
    return _SIGN.sub(r"\\\1", " ".join(text.split()))
