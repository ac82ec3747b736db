"""What commands share: progress bars and notes on stderr, images read from folders, files that are written."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from lake_core.cli.terminal import plain, printing
from lake_core.data.folders import files_below, folders_left_out, list_images
from lake_core.data.images import InputImage, read_image
from lake_core.data.labels import role_of
from lake_core.errors import ConfigError, ImageError, LakeError, writing


@dataclass(frozen=True)
class Source:
    """An image's file and its path relative to the folder that was given, with forward slashes."""

    path: Path
    name: str


class Skipped(NamedTuple):
    """A file that could not be read; `side` is "normal" or "test"."""

    side: str
    path: str
    reason: str


class Reporter:
    """Progress bars and notes on stderr; remembers what was skipped."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self.skipped: list[Skipped] = []
        self.notes: list[str] = []

    def bar(self, title: str, total: int | None = None) -> Callable[[int, int | None], None]:
        """Adds a bar; the function returned moves it: called with the steps done and the steps in all."""
        task = self.progress.add_task(plain(title), total=total)

        def move(n_done: int, n_all: int | None) -> None:
            self.progress.update(task, completed=n_done, total=n_all)

        return move

    def say(self, text: str) -> None:
        """Prints one line, however long."""
        self.console.print(plain(" ".join(text.split())), markup=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Prints a note, once."""
        if text not in self.notes:
            self.notes.append(text)
            self.say(f"Note: {text}")

    def note_folders(self, given: Path) -> None:
        """Notes the folders below the one given that are not entered."""
        if os.path.isdir(given):
            for problem in folders_left_out(given, files_below(given)):
                self.note(problem)

    def read(self, sources: Iterable[Source], side: str) -> list[tuple[Source, InputImage]]:
        """The images that can be read; the others are skipped with a line each."""
        images, skipped = read_sources(sources, side)
        self.skip(skipped)
        return images

    def skip(self, skipped: Iterable[Skipped]) -> None:
        """Remembers files that could not be read, with a line each."""
        for one in skipped:
            self.skipped.append(one)
            self.say(f"Skipped: {one.reason}")


def cell(text: str) -> Text:
    """A text as Rich shows it as it is, without reading it as markup."""
    return Text(plain(text))


def show(table: Table) -> None:
    """Prints a table.

    Raises:
        LakeError: if it cannot be written.
    """
    with printing():
        Console().print(table)


def read_sources(sources: Iterable[Source], side: str) -> tuple[list[tuple[Source, InputImage]], list[Skipped]]:
    """The images that can be read, and the files that cannot, each in the order given."""
    found, skipped = [], []
    for source in sources:
        try:
            found.append((source, read_image(source.path, source.name)))
        except ImageError as error:
            skipped.append(Skipped(side, source.name, _printable(str(error))))
    return found, skipped


@contextmanager
def progress_bars(names: Iterable[str] = ()) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each data set, gone when the work is done.

    Args:
        names: Data sets whose bars are there from the start; others get theirs when they begin.
    Returns:
        The function that moves the bars: called with a data set's name, its images done and its images in all.
    """
    reporter = Reporter()
    bars = {name: reporter.bar(name) for name in names}

    def move(name: str, n_done: int, n_all: int) -> None:
        if name not in bars:
            bars[name] = reporter.bar(name)
        bars[name](n_done, n_all)

    with reporter.progress:
        yield move


def list_sources(given: Path, option: str, out: Path | None = None) -> list[Source]:
    """The images of a folder and below in natural order, or the one image given.

    Masks are left out, and so are the images that an earlier run wrote to `out`.

    Raises:
        ConfigError: if there is no such folder or file.
        LakeError: if the folder holds no image.
    """
    if os.path.isfile(given):
        return [Source(given, _printable(given.name))]
    if not os.path.isdir(given):
        fault = "is neither a folder nor a file" if os.path.lexists(given) else "does not exist"
        raise ConfigError(f"{option} {given} {fault}; give a folder of images, or one image.")
    written = set() if out is None else {_real(out / "maps"), _real(out / "scale.png")}
    found = [Source(path, _printable(path.relative_to(given).as_posix())) for path in list_images(given)]
    found = [
        source
        for source in found
        if role_of(PurePosixPath(source.name)).role != "mask"
        and written.isdisjoint([_real(source.path), *_real(source.path).parents])
    ]
    if not found:
        raise LakeError(f"{option} {given} holds no images; give PNG, JPEG, WebP, BMP, TIFF or GIF files.")
    return found


def check_output(out: Path) -> None:
    """Checks that a file can be written, before anything runs.

    Raises:
        ConfigError: if its folder does not exist or takes no files, or it is a folder.
    """
    if not out.resolve().parent.is_dir():
        raise ConfigError(f"The folder of {out} does not exist; make it first.")
    if out.is_dir():
        raise ConfigError(f"{out} is a folder; give the name of a file.")
    if not os.access(out if out.exists() else out.resolve().parent, os.W_OK):
        raise ConfigError(f"{out} cannot be written: you have no permission there; give another place.")


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Writes a document.

    Raises:
        LakeError: if it cannot be written.
    """
    with writing(path):
        path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _real(path: Path) -> Path:
    """The path with all links followed, also where they lead round in a circle."""
    return Path(os.path.realpath(path))


def _printable(text: str) -> str:
    """The same with the bytes of a file's name that are no UTF-8 written out."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
