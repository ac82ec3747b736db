"""A slice of `make fuzz`, and that it sees what it is for: exceptions, hangs, memory, dead processes, bad sentences."""

import multiprocessing
import os
import signal
import time

import pytest
from numpy.random import Generator

from lake_core.errors import ImageError, LakeError
from tests.fuzz import __main__ as command
from tests.fuzz import bench, images, kinds
from tests.fuzz.bench import outcomes, tried
from tests.fuzz.kinds import KINDS, kind_of, made, refusal

SEED, COUNT = 17, 1500


def test_malformed_inputs_end_in_a_result_or_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    code = command.main(["--seed", str(SEED), "--count", str(COUNT), "--processes", "1", "--minutes", "5"])
    said = capsys.readouterr().out
    assert code == 0, said
    assert f"{COUNT} inputs in" in said, said  # none was left out for want of time


def test_any_thousand_inputs_have_all_kinds_and_are_the_same_again() -> None:
    for kind in KINDS:
        assert sum(kind_of(number) == kind for number in range(500, 1500)) == kind.share
    numbers = [next(n for n in range(1000) if kind_of(n) == kind) for kind in KINDS]
    before = [made(3, number) for number in numbers]
    time.sleep(2.1)  # archives have dates, to two seconds
    assert [made(3, number) for number in numbers] == before
    assert made(3, numbers[0]) != made(4, numbers[0])


class Planted:
    """In place of the images: inputs whose faults are known."""

    NAME = "part 7.png"

    def make(self, rng: Generator) -> bytes:
        return b""

    def run(self, data: bytes) -> None:
        raise NotImplementedError


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Planted:
    found = Planted()
    monkeypatch.setattr(kinds.Kind, "module", found)
    return found


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ImageError("part 7.png is damaged: copy it again."), None),
        (ImageError("it is damaged: copy it again."), "does not name part 7.png"),
        (ImageError("part 7.png is damaged:\ncopy it again."), "is no single line"),
        (ImageError("part 7.png is damaged"), "does not end as a sentence"),
        (KeyError("x"), "KeyError"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_what_is_no_result_and_no_sentence_is_a_fault(planted: Planted, error: Exception, fault: str | None) -> None:
    def run(data: bytes) -> None:
        raise error

    planted.run = run  # type: ignore[method-assign]
    found = tried(0, 0)
    assert (found.fault is None) == (fault is None)
    assert fault is None or fault in (found.fault or "")
    assert (found.refused == str(error)) == (isinstance(error, LakeError) and fault is None)


def test_what_takes_too_long_or_too_much_is_a_fault(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "MAX_SECONDS", 0.2)
    monkeypatch.setattr(bench, "MAX_BYTES", 100_000_000)

    def compute(data: bytes) -> None:
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass

    def take(data: bytes) -> None:
        assert sum(bytearray(150_000_000)[::4096]) == 0

    planted.run = compute  # type: ignore[method-assign]
    assert "took 0.3 s" in (tried(0, 0).fault or "")
    planted.run = take  # type: ignore[method-assign]
    assert "took 0.1 GiB" in (tried(0, 0).fault or "")
    planted.run = lambda data: None  # type: ignore[method-assign]
    assert tried(0, 0).fault is None


def test_an_input_that_ends_or_hangs_its_process_is_named_and_the_next_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench, "HANG_SECONDS", 2.0)
    numbers = [number for number in range(1000) if kind_of(number).name == "images"][:4]
    found = outcomes(0, numbers, 1)
    first = next(found)
    assert first.fault is None
    (worker,) = [child for child in multiprocessing.active_children() if child.daemon]
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    assert "gave no answer" in (next(found).fault or "")
    (worker,) = [child for child in multiprocessing.active_children() if child.daemon]
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    assert "exit code -9" in (next(found).fault or "")
    assert [outcome.fault for outcome in found] == [None]


def test_every_source_of_images_is_sound() -> None:
    kind = next(kind for kind in KINDS if kind.name == "images")
    assert [name for name, data in images.sources().items() if refusal(kind, data) is not None] == []
    assert len(images.sources()) > 30
