"""Long lists a page at a time: what is drawn on a page is bounded, however many images there are."""

from collections.abc import Sequence
from typing import TypeVar

import streamlit as st

T = TypeVar("T")
PER_PAGE = 24


def one_page(items: Sequence[T], key: str, per_page: int = PER_PAGE) -> Sequence[T]:
    """The items of the chosen page, with a control to turn the pages where there are several.

    Args:
        key: Of the list; another one begins at the first page.
        per_page: Items on a page.
    """
    if len(items) <= per_page:
        return items
    with st.container(horizontal=True, vertical_alignment="center"):
        page = st.pagination(-(-len(items) // per_page), key=f"page of {key}")
        first = (page - 1) * per_page
        shown = items[first : first + per_page]
        st.caption(f"{first + 1} to {first + len(shown)} of {len(items)}", width="content")
    return shown
