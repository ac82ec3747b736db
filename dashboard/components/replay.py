"""A replay of how a selection forms, drawn by the browser: no step asks the server."""

from pathlib import Path

import streamlit as st

from dashboard.components.pickers import see_page
from dashboard.plots.formation import Replay

NAME = "lake_replay"
JS, CSS = (Path(__file__).with_suffix(f".{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))


def replay(shown: Replay, key: str) -> None:
    """Shows a replay; a neuron that is asked for leads to its page."""
    show = st.components.v2.component(NAME, js=JS, css=CSS)
    # A trigger's value is in the result only where a callback is registered, too.
    result = show(data=shown.data(), key=key, height="content", on_open_neuron_change=lambda: None)
    if result.open_neuron is not None:
        see_page("neurons", layer=shown.layer, neuron=int(result.open_neuron))
