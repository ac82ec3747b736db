"""Errors that a user reads.

Each says in one sentence what it is about, why it was refused and what to do. The dashboard shows the message as it
is; the command line prints it on one line.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LakeError(Exception):
    """Base of all errors that are meant for the user."""


class ImageError(LakeError):
    """An image or mask cannot be used."""


class DatasetError(LakeError):
    """A folder or archive of images cannot be used."""


class BackboneError(LakeError):
    """A backbone cannot be opened, or cannot do what was asked of it."""


class UnavailableError(BackboneError):
    """A backbone is not on this machine and cannot be brought here now."""


class ConfigError(LakeError):
    """A parameter has a value that is not allowed."""


class ProjectError(LakeError):
    """A project file cannot be read or written."""


class StoreError(LakeError):
    """The store of projects cannot do what was asked of it."""


class StoreFullError(StoreError):
    """The store of projects is at one of its limits."""


class NotFittedError(LakeError):
    """A detector was used before it was fitted."""


def first_line(error: BaseException) -> str:
    """The beginning of another library's message, on one line of at most 200 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = " ".join(lines[:2]) if lines else type(error).__name__
    return first if len(first) <= 200 else first[:197] + "..."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, of Python's or PyTorch's, says that memory is used up."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in said or "allocate memory" in said


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a failure to write a file, as on a full disk, into one sentence.

    Raises:
        LakeError: if it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise LakeError(f"{path} cannot be written ({error.strerror or error}); give another place.") from error
