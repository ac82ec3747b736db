"""Malformed inputs by the thousand: `python -m tests.fuzz --seed 0`, or one again: `--only SEED:NUMBER`."""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.fuzz.bench import Outcome, outcomes
from tests.fuzz.kinds import KINDS, kind_of, made

DEFAULT_COUNT = 12_000


def main(arguments: list[str] | None = None) -> int:
    """Tries inputs and says what became of them; returns the exit code: 1 where there was a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of all inputs")
    parser.add_argument("--count", type=int, default=DEFAULT_COUNT, help="inputs, of all kinds by their shares")
    parser.add_argument("--minutes", type=float, default=10.0, help="after which no more are begun")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", metavar="SEED:NUMBER", help="one input again")
    parser.add_argument(
        "--out", type=Path, default=Path(tempfile.gettempdir()) / "lake-fuzz", help="for failing inputs"
    )
    given = parser.parse_args(arguments)
    seed, numbers = given.seed, list(range(given.count))
    if given.only:
        seed, number = map(int, given.only.split(":"))
        numbers = [number]
    end, found = time.monotonic() + 60 * given.minutes, []
    started = time.monotonic()
    for outcome in outcomes(seed, numbers, given.processes):
        found.append(outcome)
        if outcome.fault:
            print(f"{_called(seed, outcome)}: {outcome.fault}", flush=True)
            _save(given.out, seed, outcome)
        if time.monotonic() > end:
            print(f"Stopped after {given.minutes:g} minutes, before input {len(numbers)}.")
            break
    for line in summary(seed, found):
        print(line)
    print(f"{len(found)} inputs in {time.monotonic() - started:.0f} s, seed {seed}.")
    if given.only:
        print(found[0].refused or found[0].fault or "It is taken.")
    n_faults = sum(outcome.fault is not None for outcome in found)
    print(f"{n_faults} faults; each input lies in {given.out}." if n_faults else "No faults.")
    return 1 if n_faults else 0


def summary(seed: int, found: Iterable[Outcome]) -> list[str]:
    """A line for each kind: how many were taken and refused, the slowest, and the greatest."""
    lines = [
        f"{'kind':<10}{'inputs':>8}{'taken':>8}{'refused':>9}{'faults':>8}{'slowest':>20}{'most memory':>24}  warned"
    ]
    held = list(found)
    for kind in KINDS:
        own = [outcome for outcome in held if kind_of(outcome.number) == kind]
        if not own:
            continue
        counts = Counter("faults" if one.fault else "refused" if one.refused else "taken" for one in own)
        slow, large = max(own, key=lambda one: one.seconds), max(own, key=lambda one: one.n_bytes)
        n_warned = sum(one.n_warnings > 0 for one in own)
        lines.append(
            f"{kind.name:<10}{len(own):>8}{counts['taken']:>8}{counts['refused']:>9}{counts['faults']:>8}"
            f"{f'{slow.seconds:.2f} s ({seed}:{slow.number})':>20}"
            f"{f'{large.n_bytes / 1e6:.0f} MB ({seed}:{large.number})':>24}  {n_warned}"
        )
    return lines


def _called(seed: int, outcome: Outcome) -> str:
    return f"{kind_of(outcome.number).name} {seed}:{outcome.number}"


def _save(folder: Path, seed: int, outcome: Outcome) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind_of(outcome.number).name}-{seed}-{outcome.number}"
    path.write_bytes(made(seed, outcome.number))


if __name__ == "__main__":
    sys.exit(main())
