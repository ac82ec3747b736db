"""Names of files as text on a page: long ones shortened, whole where the pointer rests on them."""

import html

import streamlit as st

from dashboard.text import shortened


def file_name(name: str, more: str = "") -> None:
    """The name of a file in small print.

    Args:
        more: Behind it.
    """
    shown = html.escape(shortened(name) + more).replace("/", "/<wbr>")  # a line ends behind a folder where it can
    st.html(f'<div class="file-name" title="{html.escape(name)}">{shown}</div>')
