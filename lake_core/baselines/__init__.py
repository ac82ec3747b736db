"""Published few-shot methods on the backbone and layers that LAKE uses: one class in one file, found by itself.

To add one, copy `anomalydino.py`: the file's name is the method's name, and `lake evaluate` and the dashboard then
offer it. No other file changes.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lake_core.baselines.base import Baseline

BASELINES: tuple[str, ...] = tuple(sorted(module.name for module in iter_modules(__path__) if module.name != "base"))
"""Their names, known without PyTorch, so that help does not wait for it."""


@cache
def baselines() -> dict[str, type["Baseline"]]:
    """Every baseline's class by its name, in alphabetical order."""
    from lake_core.baselines.base import Baseline

    for name in BASELINES:
        import_module(f"{__name__}.{name}")
    found = {kind.name: kind for kind in Baseline.__subclasses__()}
    return {name: found[name] for name in BASELINES}
