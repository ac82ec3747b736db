"""What commands print: foreign strings (file names, messages of libraries) can neither style nor steer a terminal."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from lake_core.errors import LakeError


def plain(text: str) -> str:
    """A text in one line, in which what is not printed, such as escapes and changes of direction, is written out."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def say(line: str, err: bool = False) -> None:
    """Prints a line, on stderr if `err`.

    Raises:
        LakeError: if it cannot be written, as on a full disk.
    """
    with printing():
        typer.echo(plain(line), err=err)


@contextmanager
def printing() -> Iterator[None]:
    """Turns a failure to print into one sentence.

    Raises:
        LakeError: if something cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPIPE:  # who reads has had enough
            raise
        raise LakeError(f"The output cannot be written ({error.strerror or error}).") from error
