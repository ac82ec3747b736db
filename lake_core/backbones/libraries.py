"""open_clip and timm, imported without PyTorch's compiler: nothing here compiles, and it takes as long as both of them.

Neither needs it: torchvision asks it one question when a function of its own is called, and timm keeps it away from one
method. All modules of this project take both libraries from here.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from types import ModuleType
from typing import Any

import torch

_UTILS = "torch._dynamo.utils"


@contextmanager
def _compiler_when_called() -> Iterator[None]:
    """What is imported meanwhile has PyTorch's compiler imported where it calls it, and not before."""
    if "torch._dynamo" in sys.modules:
        yield
        return
    disable, sys.modules[_UTILS] = torch.compiler.disable, _stand_in()
    torch.compiler.disable = partial(_disabled_when_called, disable)
    try:
        yield
    finally:
        torch.compiler.disable = disable
        _use_the_real_one()


def _stand_in() -> ModuleType:
    """In place of the compiler's module that torchvision imports a function from."""

    def is_compile_supported(device_type: str) -> bool:
        return bool(importlib.import_module(_UTILS).is_compile_supported(device_type))

    def anything_else(name: str) -> Any:
        if name.startswith("__"):  # as `inspect` asks all modules for their files
            raise AttributeError(name)
        _use_the_real_one()
        return getattr(importlib.import_module(_UTILS), name)

    module = ModuleType(_UTILS)
    module.__dict__.update(is_compile_supported=is_compile_supported, __getattr__=anything_else)
    return module


def _use_the_real_one() -> None:
    held = sys.modules.get(_UTILS)
    if held is not None and held.__spec__ is None:  # the stand-in was made, not imported
        del sys.modules[_UTILS]


def _disabled_when_called(
    disable: Callable[..., Any], function: Callable[..., Any] | None = None, *args: Any, **options: Any
) -> Callable[..., Any]:
    """A decorator like `torch.compiler.disable`, which applies that one when the function is called first."""
    if function is None:
        return partial(_disabled_when_called, disable, **options)
    disabled: list[Callable[..., Any]] = []

    @wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        if not disabled:
            disabled.append(disable(function, *args, **options))
        return disabled[0](*given, **named)

    return call


with _compiler_when_called():
    import open_clip
    import timm

__all__ = ["open_clip", "timm"]
