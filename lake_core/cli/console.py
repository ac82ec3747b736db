"""Progress of a command on stderr: a bar for each data set, gone when the work is done."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bars(names: Iterable[str] = ()) -> Iterator[Callable[[str, int, int], None]]:
    """The function that moves the bars: called with a data set's name, its images done and its images in all.

    Args:
        names: Data sets whose bars are there from the start; others get theirs when they begin.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bars = {name: progress.add_task(name, total=None) for name in names}

        def move(name: str, n_done: int, n_all: int) -> None:
            if name not in bars:
                bars[name] = progress.add_task(name, total=None)
            progress.update(bars[name], completed=n_done, total=n_all)

        yield move
