"""One adapter per family of image towers: one class in one file, found by itself.

To add a family, copy the file of the nearest one: `matches` says which towers are its own. No other file changes.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from lake_core.backbones.adapters.base import Adapter
from lake_core.errors import BackboneError


def adapter_of(model: Any) -> Adapter:
    """The adapter for an open_clip model's image tower.

    Raises:
        BackboneError: if no family matches.
    """
    for family in _families():
        if family.matches(model.visual):
            return family(model.visual)
    name = type(getattr(model.visual, "trunk", model.visual)).__name__
    raise BackboneError(
        f"The image tower {name} is of a family that LAKE Explorer does not know; use a ViT, EfficientNet, ConvNeXt, "
        "FastViT or ResNet model of open_clip."
    )


@cache
def _families() -> tuple[type[Adapter], ...]:
    """The class of every family, in the alphabetical order of their files."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__) if module.name != "base"]
    return tuple(
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Adapter) and kind.__module__ == module.__name__
    )
