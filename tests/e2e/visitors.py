"""Visitors at the same time, each with ten images of their own: `python -m tests.e2e.visitors --visitors 8 --rounds 2`.

A walk is a visitor who brings ten images, runs the network, and changes the page eight times. After one that loads what
every first visitor waits for, one visitor walks alone, then all walk together, as often as there are rounds, and change
pages once the network has run for everybody.

What is said of a page change: its time in the browser, which shares the machine with the server and the other browsers;
the time that the server's script took by the clock; and what it took of a processor, which depends little on who else
computes. Beside these, what the whole server took of processors, its work beside pages included. The images of all
visitors have the same pixels and other bytes: the server computes each anew, and all must get the same results.
"""

import argparse
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page

from tests.e2e.conftest import METAL
from tests.e2e.server import browser, dashboard_command, free_port, start_server
from tests.e2e.soak import processor_seconds, results
from tests.e2e.steps import bring, run, settle, turn_to
from tests.e2e.timed_dashboard import Account, read_account

MAX_RATIO = 2.0
"""What a page change may take of a processor in the server with all visitors, by what it takes for one."""
PATIENCE_S = 1800.0
"""How long a visitor waits for the others to have run the network."""
CHANGES = ("Explain", "Neurons", "Selection", "Results") * 2
NORMALS = [METAL / "train" / "good" / f"{n:03}.jpg" for n in range(4)]
TESTS = [METAL / "test" / part / f"{n:03}.jpg" for part in ("good", "rust", "scratch") for n in range(2)]
N_IMAGES = len(NORMALS) + len(TESTS)


@dataclass
class Together:
    """Walks at the same time.

    Attributes:
        seconds: Of each page change, in the browser.
        said: What the page Results says to each visitor.
        faults: One for each walk that was not completed.
        begun, ended: When all began to change pages, and when the last walk was over; NaN where one never came so far.
        process_s: What the server took of processors in between.
    """

    seconds: list[float] = field(default_factory=list)
    said: list[list[str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    begun: float = np.nan
    ended: float = np.nan
    process_s: float = np.nan


@dataclass(frozen=True)
class Measured:
    """Figures of a page change, in seconds; means over all, but for the median in the browser.

    Attributes:
        browser: Until the page is drawn; what is computed beside it is not waited for.
        script: The server's script, by the clock.
        computing: The same, of a processor.
        process: The whole server, of processors.
    """

    browser: float
    script: float
    computing: float
    process: float


def measured(walks: Together, account: Account) -> Measured:
    """The figures of walks, NaN where not all came so far; the script may run several times for a page change."""
    if np.isnan(walks.begun):
        return Measured(*[np.nan] * 4)
    runs = [one for one in account.runs if walks.begun <= one.begun <= walks.ended]
    n_changes = max(len(walks.seconds), 1)
    return Measured(
        float(np.median(walks.seconds or [np.nan])),
        sum(one.seconds for one in runs) / n_changes,
        sum(one.computing_s for one in runs) / n_changes,
        walks.process_s / n_changes,
    )


def together(address: str, server: int, folders: list[Path]) -> Together:
    """Lets visitors walk at the same time, each in a browser of its own."""
    found, lock = Together(), threading.Lock()

    def begin() -> None:
        found.begun, found.process_s = time.monotonic(), -processor_seconds(server)

    everybody = threading.Barrier(len(folders), begin, PATIENCE_S)

    def visit(folder: Path) -> None:
        try:
            with browser() as opened:
                said, seconds = walk(opened, address, folder, everybody)
        except Exception as error:  # whatever it is, the other visitors go on
            everybody.abort()
            with lock:
                found.faults.append(f"{folder.name}: {type(error).__name__}: {str(error).splitlines()[0]:.300}")
        else:
            with lock:
                found.said.append(said)
                found.seconds.extend(seconds)

    with ThreadPoolExecutor(len(folders)) as pool:
        list(pool.map(visit, folders))
    found.ended, found.process_s = time.monotonic(), found.process_s + processor_seconds(server)
    return found


def walk(opened: Browser, address: str, folder: Path, everybody: threading.Barrier) -> tuple[list[str], list[float]]:
    """A visitor with the images of a folder: what the page Results says, and the seconds of each page change."""
    with opened.new_context(viewport={"width": 1440, "height": 900}) as context:
        page = context.new_page()
        page.goto(address)
        settle(page)
        normals, tests = (sorted((folder / side).iterdir()) for side in ("normal", "test"))
        bring(page, normals, tests)
        run(page, N_IMAGES)
        said = results(page)
        with suppress(threading.BrokenBarrierError):  # somebody's walk has failed, which is counted
            everybody.wait()
        seconds = [change(page, title) for title in CHANGES]
        settle(page)  # what is computed beside the pages ends before the next ones walk
        return said, seconds


def change(page: Page, title: str) -> float:
    """Seconds of a page change."""
    begun = time.monotonic()
    turn_to(page, title)
    return time.monotonic() - begun


def images_of(visitor: int, folder: Path) -> Path:
    """A folder with ten images whose bytes no other visitor has."""
    for side, paths in (("normal", NORMALS), ("test", TESTS)):
        (folder / side).mkdir(parents=True)
        for path in paths:  # what follows the end of a JPEG is no part of its pixels
            (folder / side / f"{path.parent.name}_{path.name}").write_bytes(path.read_bytes() + bytes([visitor]))
    return folder


def faults_of(walks: list[Together], account: Account, n_visitors: int) -> list[str]:
    """What went wrong, a line each.

    Args:
        walks: Those of the first visitor, of the one alone, and of each round.
        n_visitors: In each round.
    """
    faults = [fault for one in walks for fault in one.faults]
    said = [said for one in walks for said in one.said]
    faults += [f"results differ: {other} instead of {said[0]}" for other in said if other != said[0]]
    n_expected = N_IMAGES * (2 + n_visitors)
    if account.n_images != n_expected:
        faults.append(f"{account.n_images} passes of an image through the network instead of {n_expected}")
    alone, *rounds = (measured(one, account).computing for one in walks[1:])
    if any(one > MAX_RATIO * alone for one in rounds):
        faults.append(f"a page change takes the server more than {MAX_RATIO:g} times what it takes for one visitor")
    return faults


def report(walks: list[Together], account: Account, n_visitors: int) -> list[str]:
    """What came of it, a line each; the arguments are those of `faults_of`."""
    alone, *rounds = (measured(one, account) for one in walks[1:])
    n_completed = sum(len(one.said) for one in walks[2:])
    lines = [
        f"{n_completed} of {n_visitors * len(rounds)} walks completed",
        f"{account.n_images} images through the network; {2 + n_visitors} visitors had {N_IMAGES} each",
    ]
    titles = {
        "browser": "in the browser (median)",
        "script": "script in the server, by the clock (mean)",
        "computing": "script in the server, of a processor (mean)",
        "process": "whole server, of processors (mean)",
    }
    for name, title in titles.items():
        own, *others = (getattr(one, name) for one in (alone, *rounds))
        shared = ", ".join(f"{other:.2f} s ({other / (own or np.nan):.1f} x)" for other in others)
        lines.append(f"page change, {title}: {own:.2f} s alone, {shared} with {n_visitors}")
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Measures and says what came of it; returns the exit code: 1 where there is a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.visitors", description=__doc__)
    parser.add_argument("--visitors", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="lake-visitors-") as name:
        folder, port = Path(name), free_port()
        first, second, *others = (images_of(n, folder / f"visitor {n}") for n in range(2 + given.visitors))
        command = [sys.executable, "-m", "tests.e2e.timed_dashboard", str(folder / "account")]
        process = start_server([*command, *dashboard_command(port)[1:]], port, folder / "dashboard.log")
        address = f"http://127.0.0.1:{port}"
        try:
            groups = [[first], [second], *[others] * given.rounds]
            walks = [together(address, process.pid, group) for group in groups]
        finally:
            process.terminate()
            process.wait(20)
        account = read_account(folder / "account")
    faults = faults_of(walks, account, given.visitors)
    for line in (*report(walks, account, given.visitors), *faults):
        print(line)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
