"""Streamlit looks for garbage after every run of a page, while no other thread computes; imports need no such look."""

import gc
from functools import cache


@cache
def spare_what_was_imported() -> None:
    """Takes all that is there now out of Python's search for garbage; to be called once, after the imports.

    PyTorch, pandas and the others make half a million objects that stay to the end. Looking through them took 0.3 to
    0.5 s after every run of a page and of its progress bars; work beside the page came to a stand for as long.
    """
    gc.collect()
    gc.freeze()
