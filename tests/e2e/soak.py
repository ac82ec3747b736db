"""Many visitors on one server for a long time: `python -m tests.e2e.soak --browsers 8 --cycles 150`.

A cycle is a visitor who comes, opens the sample or brings images, runs the network, looks at four pages, and leaves.
What the page Results says must be what it said to the only visitor of a fresh server.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page

from tests.e2e.conftest import NORMALS, TESTS
from tests.e2e.server import PATIENCE_S, browser, dashboard_command, free_port, start_server
from tests.e2e.steps import PATIENCE, bring, go_to, open_metal, run, settle

REST = 16
"""Cycles between two looks at the server."""
_IDLE_S = 0.1
"""What a server without visitors takes of processors in a second."""
_TIDY_S = 12
"""After which an idle server has tidied up: it looks every 5 s."""
MAX_SLOPE = 0.2
"""MiB that the server may grow by in a cycle of the second half."""
FEWEST_JUDGED = 100
"""Cycles from which on the growth says something: until 32 visitors have come, the server keeps the images of each."""
PAGES = ("Explain", "Neurons", "Selection")


@dataclass(frozen=True)
class Load:
    """What the server has after a cycle: memory in MiB, open files, and threads."""

    memory: float
    n_files: int
    n_threads: int


@dataclass
class Soak:
    """A soak that is running or over.

    Attributes:
        expected: What the page Results says to a visitor alone, by whether the visitor brought images.
        loads: What the server has while no visitor is there, after every REST cycles.
        seconds: Of each cycle.
        faults: One for each cycle that did not end well.
    """

    address: str
    server: int
    expected: dict[bool, list[str]] = field(default_factory=dict)
    loads: list[Load] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def cycles(self, numbers: list[int]) -> None:
        """One browser's cycles, until no numbers are left."""
        with browser() as opened:
            while True:
                with self._lock:
                    if not numbers:
                        return
                    number = numbers.pop(0)
                self.cycle(opened, number)

    def together(self, numbers: list[int], n_browsers: int) -> bool:
        """Cycles of several browsers at once; returns whether nobody stopped them."""
        with ThreadPoolExecutor(n_browsers) as pool:
            try:
                for done in [pool.submit(self.cycles, numbers) for _ in range(n_browsers)]:
                    done.result()
            except KeyboardInterrupt:
                print("Stopped; the browsers end with the cycles that they are in.", flush=True)
                numbers.clear()
                return False
        return True

    def cycle(self, opened: Browser, number: int) -> None:
        """One visitor; odd ones bring images."""
        started, brings = time.monotonic(), number % 2 == 1
        fault = ""
        try:
            said = visit(opened, self.address, brings)
            expected = self.expected.setdefault(brings, said)
            if said != expected:
                fault = f"results differ: {said} instead of {expected}"
        except Exception as error:  # whatever it is, the other cycles go on
            fault = f"{type(error).__name__}: {str(error).splitlines()[0]:.300}"
        with self._lock:
            self.seconds.append(time.monotonic() - started)
            if fault:
                self.faults.append(f"cycle {number}: {fault}")
                print(self.faults[-1], flush=True)

    def rest(self) -> None:
        """Notes what the server has, once its work beside the pages is over, too, and it has tidied up."""
        end, before, now = time.monotonic() + PATIENCE_S, -1.0, processor_seconds(self.server)
        while now - before > _IDLE_S and time.monotonic() < end:
            time.sleep(1)
            before, now = now, processor_seconds(self.server)
        time.sleep(_TIDY_S)
        self.loads.append(load(self.server))
        print(f"after {len(self.seconds)} cycles {self.loads[-1].memory:.0f} MiB", flush=True)

    @property
    def slope(self) -> float:
        """MiB that the server grows by in a cycle, over the second half: a line through all of its measurements."""
        half = [one.memory for one in self.loads[len(self.loads) // 2 :]]
        return float(np.polyfit(REST * np.arange(len(half)), half, 1)[0]) if len(half) > 2 else 0.0

    def report(self) -> list[str]:
        """What came of it, a line each."""
        middle = len(self.loads) // 2
        lines = [
            f"{len(self.seconds)} cycles, {len(self.faults)} faults; {np.median(self.seconds):.1f} s a cycle (median)"
        ]
        for name, unit in (("memory", " MiB"), ("n_files", ""), ("n_threads", "")):
            values = [getattr(one, name) for one in self.loads]
            first, half, last = (f"{values[at]:.0f}{unit}" for at in (0, middle, -1))
            lines.append(f"{name.removeprefix('n_')}: {first} after two cycles, {half} halfway, {last} in the end")
        return [*lines, f"memory over the second half: {self.slope:+.2f} MiB a cycle"]


def visit(opened: Browser, address: str, brings: bool) -> list[str]:
    """A visitor; returns what the page Results says: its numbers, and each card's score and verdict."""
    with opened.new_context(viewport={"width": 1440, "height": 900}) as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto(address)
        settle(page)
        if brings:
            bring(page, NORMALS, TESTS)
            run(page, len(NORMALS) + len(TESTS))
        else:
            open_metal(page)
            go_to(page, "Results")
        said = results(page)
        for title in PAGES:
            go_to(page, title)
        return said


def results(page: Page) -> list[str]:
    """The numbers of the page Results and the words on its cards; what took time is left out."""
    metrics = page.get_by_test_id("stMetricValue").all_inner_texts()
    return metrics + [
        text for text in page.get_by_test_id("stMarkdownContainer").all_inner_texts() if text[:1].isdigit()
    ]


def load(process: int) -> Load:
    """What a process has now, from Linux's account of it."""
    folder = Path("/proc") / str(process)
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
    memory = int(status["VmRSS"].split()[0]) / 1024
    return Load(memory, len(list((folder / "fd").iterdir())), int(status["Threads"]))


def processor_seconds(process: int) -> float:
    """What a process has taken of processors so far, from Linux's account of it."""
    fields = (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(arguments: list[str] | None = None) -> int:
    """Soaks a server and says what came of it; returns the exit code: 1 where a cycle failed or memory grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.soak", description=__doc__)
    parser.add_argument("--browsers", type=int, default=8)
    parser.add_argument("--cycles", type=int, default=150)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="lake-soak-") as folder:
        port = free_port()
        process = start_server(dashboard_command(port), port, Path(folder) / "dashboard.log")
        soak = Soak(f"http://127.0.0.1:{port}", process.pid)
        try:
            soak.cycles([0, 1])  # alone
            soak.rest()
            for start in range(2, given.cycles, REST):
                if not soak.together(list(range(start, min(start + REST, given.cycles))), given.browsers):
                    break
                soak.rest()
        finally:
            process.terminate()
            process.wait(20)
    for line in soak.report():
        print(line)
    has_grown = given.cycles >= FEWEST_JUDGED and soak.slope > MAX_SLOPE
    return 1 if soak.faults or has_grown else 0


if __name__ == "__main__":
    sys.exit(main())
