"""Finished work kept on disk while a run goes on, so that an interrupted one can be resumed.

The first line of the file says what was asked for, each further line holds finished work behind its checksum. Whatever
kills the run, no line that ends is lost; a line that does not end was being written, and its work is done again.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar

from pydantic import ValidationError

from lake_core.errors import ConfigError, writing
from lake_core.evaluation.outcome import FrozenModel

Work = TypeVar("Work", bound=FrozenModel)

_LONGEST_SHOWN = 64


class Asked(FrozenModel):
    """What a run was asked for; equal ones give equal results. Titles are for messages."""

    def difference(self, earlier: Self) -> str | None:
        """The first part in which an earlier run differs, with short values; None if they are equal."""
        for name, field in type(self).model_fields.items():
            then, now = _shown(getattr(earlier, name)), _shown(getattr(self, name))
            if then != now:
                values = f" (then {then}, now {now})" if len(then) < _LONGEST_SHOWN else ""
                return f"{field.title or name} differed{values}"
        return None


class PartFile:
    """The file of the finished work of one run.

    Args:
        path: Of the file.
        out: What the run makes, which is there when the run is finished.
        resume: Whether to go on with the file if there is one; otherwise it must hold no work.
    """

    def __init__(self, path: Path, out: Path, resume: bool) -> None:
        self.path = path
        self.out = out
        self.resume = resume

    def check(self) -> None:
        """Checks that a run may begin or go on, before anything runs.

        Raises:
            ConfigError: if the run is finished and was to be resumed, or was interrupted and was not to be resumed; if
                something else lies where the file belongs.
        """
        if os.path.lexists(self.path) and not os.path.isfile(self.path):  # a pipe would be waited for
            raise ConfigError(f"{self.path} is not a file: remove it, or choose another OUT.")
        if self.resume and self.out.exists() and not self.path.exists():
            raise ConfigError(f"{self.out} is finished: choose another OUT, or run without --resume to replace it.")
        if not self.resume and self._holds_work():
            raise ConfigError(f"{self.path} holds what an interrupted run finished: go on with --resume, or remove it.")

    def begin(self, asked: Asked) -> None:
        """Makes the file ready for `append`: a new one if there is none, else the old one without a torn end.

        Raises:
            ConfigError: as `check`, or if the file is of another run or of none.
        """
        self.check()
        if not self.resume or not self._first_lines()[:1]:
            write_whole(self.path, [asked.model_dump_json()])
            return
        try:
            earlier = type(asked).model_validate_json(self._first_lines()[0])
        except ValidationError:
            raise ConfigError(
                f"{self.path} is not the file of an interrupted run: remove it, or choose another OUT."
            ) from None
        difference = asked.difference(earlier)
        if difference is not None:
            raise ConfigError(f"{self.path} is of a run whose {difference}: ask for the same, or choose another OUT.")
        with writing(self.path), self.path.open("r+b") as file:
            file.truncate(sum(len(line) for line in file if line.endswith(b"\n")))

    def work(self, kind: type[Work]) -> Iterator[tuple[int, Work]]:
        """The finished work with the numbers of its lines in the file, one after the other.

        Raises:
            ConfigError: if the file cannot be read or a line is not as it was written.
        """
        with self._reading(), self.path.open("rb") as file:
            file.readline()
            for number, line in enumerate(file, start=2):
                checksum, _, text = line.removesuffix(b"\n").partition(b" ")
                if checksum != _checksum(text):
                    raise self.damaged(number)
                try:
                    yield number, kind.model_validate_json(text)
                except (ValidationError, ConfigError):
                    raise self.damaged(number) from None

    def damaged(self, number: int) -> ConfigError:
        """The error for a line that is not as it was written."""
        return ConfigError(
            f"{self.path} is damaged in line {number}: remove that line and all behind it; --resume does it again."
        )

    def append(self, work: str) -> None:
        """Keeps finished work; it is on the disk when this returns."""
        line = work.encode()
        with writing(self.path), self.path.open("ab") as file:
            file.write(_checksum(line) + b" " + line + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def remove(self) -> None:
        """Removes the file, when what the run makes is there."""
        with writing(self.path):
            self.path.unlink(missing_ok=True)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be read ({error.strerror}): check its permissions.") from None

    def _holds_work(self) -> bool:
        return len(self._first_lines()) == 2

    def _first_lines(self) -> list[bytes]:
        """The first two lines, as far as they are there and end."""
        if not self.path.exists():
            return []
        with self._reading(), self.path.open("rb") as file:
            return [line for line in (file.readline(), file.readline()) if line.endswith(b"\n")]


def write_whole(path: Path, lines: Iterable[str]) -> None:
    """Writes a file whole or not at all.

    Raises:
        LakeError: if it cannot be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    with writing(path):
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in lines)
        os.replace(temporary, path)


def size_and_time(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds; (-1, 0) where there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return -1, 0
    return found.st_size, found.st_mtime_ns


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:16].encode()


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
