"""What pages lay out again and again: cards side by side, and figures without Plotly's tool bar."""

from typing import Any

import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator


def cards(n: int, width: int, key: str | None = None, **look: Any) -> list[DeltaGenerator]:
    """Places side by side, in as many rows as the screen needs.

    Args:
        n: How many.
        width: Of each, in pixels.
        key: Of all of them, for the style sheet.
        look: Of each, as in `st.container`.
    """
    row = st.container(horizontal=True, key=key)
    return [row.container(width=width, **look) for _ in range(n)]


def chart(figure: go.Figure, key: str, alt: str, **options: Any) -> Any:
    """A figure without a tool bar; returns what was clicked, as `st.plotly_chart` does."""
    return st.plotly_chart(figure, key=key, config={"displayModeBar": False}, alt=alt, **options)
