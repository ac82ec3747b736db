"""The address: each choice is one entry of the browser's history, and read again on Back and Forward."""

import time
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from dashboard.session import current

SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def follow() -> None:
    """Takes the selection from the address where the visitor has just gone back or forward in the browser's history."""
    here = current()
    if _is_back_or_forward():
        here.follow_link()
    elif here.written and here.place[0] in st.query_params and _query() != here.written:
        # What a browser says that has lost its connection: Streamlit does not see what the script wrote.
        st.query_params.from_dict(written())


def written() -> dict[str, str]:
    """The parameters as they were last written, for `st.switch_page`: without them it adds an entry that has none."""
    return dict(parse_qsl(current().written))


def write(key: str, by_visitor: bool = True) -> None:
    """Puts the session's number and the shared selection into the address, where they differ from it.

    Args:
        key: Of the element on the page.
        by_visitor: Whether a changed selection is the visitor's choice, and not what the page begins with.
    """
    here = current()
    query, chosen = urlencode(here.link), here.chosen
    is_choice = by_visitor and here.written != "" and chosen != here.written_choice and not _is_back_or_forward()
    here.written, here.written_choice = query, chosen
    show = st.components.v2.component("lake_address", js=SCRIPT)
    with st.container(key=key):
        show(key=f"{key}_script", data={"query": query, "isChoice": is_choice, "number": time.time_ns() // 1000})


def _query() -> str:
    return urlencode(st.query_params.to_dict())


def _is_back_or_forward() -> bool:
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation
