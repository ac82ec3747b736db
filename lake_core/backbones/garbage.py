"""Python looks for garbage while no other thread computes; what programs import is none, and need not be looked at."""

import gc
from functools import cache

_MADE_BETWEEN = 100_000
"""Objects made until Python looks through the young ones of itself; its own 700 to 2000 are soon reached by paths."""


@cache
def spare_what_was_imported() -> None:
    """Takes all that is there now out of Python's search for garbage; programs call it once, after their imports.

    PyTorch, pandas and the others make half a million objects that stay to the end. Looking through them took 0.3 to
    0.5 s: after every run of a page and of its progress bars, while work beside the page came to a stand, and now and
    then in the middle of an evaluation.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_MADE_BETWEEN, 10, 10)
