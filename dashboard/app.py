"""The script that Streamlit runs: says what it waits for while a server's first visitor waits, then draws the page."""

import sys
from pathlib import Path

import streamlit as st

from dashboard.services import warm_up


def main() -> None:
    """One run of the app."""
    st.set_page_config(page_title="LAKE Explorer", page_icon=str(Path(__file__).with_name("icon.png")), layout="wide")
    holder = st.empty()
    if not warm_up.is_loaded():
        with holder.container():
            st.title("LAKE Explorer", anchor=False)
            with st.spinner("Loading PyTorch and the code of the networks, once for this server …"):
                warm_up.load()
        holder.empty()
    from dashboard import entry  # with all the pages need; it takes seconds where nothing is loaded yet

    entry.run(sys.argv[1:])


main()
