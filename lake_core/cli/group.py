"""Commands whose errors for people become one line on stderr, and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from lake_core.cli.terminal import say
from lake_core.errors import (
    BackboneError,
    ConfigError,
    DatasetError,
    LakeError,
    ProjectError,
    UnavailableError,
    is_out_of_memory,
)

_WRONG_USAGE = (BackboneError, ConfigError, DatasetError, ProjectError)


class Group(TyperGroup):
    """Commands whose errors for people become one line on stderr, and an exit code."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _told():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        with _told():
            return super().invoke(ctx)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except LakeError as error:
        say(f"Error: {' '.join(str(error).split())}", err=True)
        is_wrong_usage = isinstance(error, _WRONG_USAGE) and not isinstance(error, UnavailableError)
        raise typer.Exit(2 if is_wrong_usage else 1) from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        say("Error: There is not enough memory; give smaller or fewer images, or a smaller model.", err=True)
        raise typer.Exit(1) from None
