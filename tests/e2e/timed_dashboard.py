"""`lake` with an account of what its server computes: `python -m tests.e2e.timed_dashboard ACCOUNT dashboard ...`.

Into the file ACCOUNT goes a line for each run of the dashboard's script, and for each pass of images through a network.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

from dashboard import entry
from lake_core.backbones.backbone import Backbone
from lake_core.cli.app import main


class Run(NamedTuple):
    """A run of the dashboard's script, which draws a page.

    Attributes:
        begun: By the clock that all processes of a machine share, in seconds.
        seconds: Until its end.
        computing_s: Time of a processor that its own thread took.
    """

    begun: float
    seconds: float
    computing_s: float


class Account(NamedTuple):
    """What a server has computed so far.

    Attributes:
        n_images: Images that went through a network.
    """

    runs: tuple[Run, ...]
    n_images: int


def read_account(path: Path) -> Account:
    """What the file says so far."""
    entries = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    runs = tuple(Run(*one) for one in entries if isinstance(one, list))
    return Account(runs, sum(one for one in entries if isinstance(one, int)))


def keep_account(path: Path) -> None:
    """From now on writes each run of the script and each pass through a network."""
    lock, draw, forward = threading.Lock(), entry.run, Backbone.forward

    def write(what: Run | int) -> None:
        with lock, path.open("a") as file:
            file.write(f"{json.dumps(what)}\n")

    @wraps(draw)
    def run(arguments: Sequence[str]) -> None:
        begun, computing = time.monotonic(), time.thread_time()
        try:
            draw(arguments)
        finally:
            write(Run(begun, time.monotonic() - begun, time.thread_time() - computing))

    @wraps(forward)
    def counted(self: Backbone, pixels: Any, *args: Any, **kwargs: Any) -> Any:
        write(len(pixels))
        return forward(self, pixels, *args, **kwargs)

    replaced: dict[tuple[object, str], Callable[..., Any]] = {(entry, "run"): run, (Backbone, "forward"): counted}
    for (place, name), function in replaced.items():
        setattr(place, name, function)


if __name__ == "__main__":
    account = Path(sys.argv.pop(1))
    account.touch()
    keep_account(account)
    main()
