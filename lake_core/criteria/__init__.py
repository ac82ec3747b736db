"""Criteria that rank a layer's neurons: one class in one file, found by itself (docs/method.md, section 1).

To add one, copy `variance.py`: its name is then allowed in `LakeConfig`, offered in the sidebar and taken by the
command line. No other file changes.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from lake_core.criteria.base import Criterion


@cache
def criteria() -> dict[str, Criterion]:
    """Every criterion by its name: rankings first, then controls, each in alphabetical order; the default leads."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    found = [kind() for kind in _kinds()]
    found.sort(key=lambda one: (one.is_control, one.name != "variance", one.name))
    return {one.name: one for one in found}


def _kinds() -> list[type[Criterion]]:
    """The classes of criteria, those that build on another one included."""
    found = Criterion.__subclasses__()
    for kind in found:
        found.extend(kind.__subclasses__())
    return found
