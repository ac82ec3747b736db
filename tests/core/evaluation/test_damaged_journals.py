"""A file of finished work that was damaged: an error that names it, or the same report; never another one."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lake_core.backbones.backbone import Backbone
from lake_core.errors import LakeError
from lake_core.evaluation.checkpoint import Checkpoint
from lake_core.evaluation.protocol import FewShotProtocol
from lake_core.evaluation.report import EvaluationReport
from lake_core.evaluation.runner import evaluate
from tests.core.running import without_times

QUICK = FewShotProtocol(shots=(1,), seeds=(0,), methods=("text",), pixel=False)
Kept = tuple[list[Path], Backbone, bytes, EvaluationReport]


@pytest.fixture(scope="module")
def kept(stained: list[Path], small_cnn: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Two data sets, the bytes that a run on them kept, and its report."""
    held = Checkpoint(tmp_path_factory.mktemp("kept") / "out.json", resume=False)
    whole = evaluate(stained, small_cnn, protocol=QUICK, checkpoint=held)
    return stained, small_cnn, held.path.read_bytes(), whole


def of_lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
    return lambda data: b"\n".join(change(data.split(b"\n")))


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "a line's end alone": lambda data: b"\n",
    "zeros": lambda data: b"\0" * len(data),
    "cut in the first line": lambda data: data[:40],
    "cut in the last line": lambda data: data[:-40],
    "cut in the middle": lambda data: data[: len(data) // 2],
    "cut in front": lambda data: data[40:],
    "first line gone": of_lines(lambda lines: lines[1:]),
    "a line gone": of_lines(lambda lines: [lines[0], *lines[2:]]),
    "a line twice": of_lines(lambda lines: [*lines[:2], *lines[1:]]),
    "first line twice": of_lines(lambda lines: [lines[0], *lines]),
    "lines in another order": of_lines(lambda lines: [lines[0], lines[2], lines[1], b""]),
    "an empty line between": of_lines(lambda lines: [*lines[:2], b"", *lines[2:]]),
    "an empty line at the end": lambda data: data + b"\n",
    "text at the end": lambda data: data + b"the end\n",
    "zeros at the end": lambda data: data + b"\0" * 4096,
    "a digit of a score": lambda data: data[:-300] + data[-300:].replace(b"1", b"2", 1).replace(b"3", b"4"),
    "another category": lambda data: data.replace(b'"category":"unmasked"', b'"category":"unmasket"'),
    "lines of Windows": lambda data: data.replace(b"\n", b"\r\n"),
    "a mark of byte order": lambda data: b"\xef\xbb\xbf" + data,
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "no UTF-8": lambda data: data.replace(b"unmasked", b"unma\xff\xfeked"),
    "nested deeply": of_lines(lambda lines: [lines[0], b"[" * 200_000, b""]),
    "a number of many digits": of_lines(lambda lines: [lines[0], b"1" * 10_000, b""]),
    "no number": lambda data: data.replace(b"null", b"NaN"),
    "no objects": of_lines(lambda lines: [lines[0], b"[]", b"null", b""]),
    "without checksums": of_lines(lambda lines: [line.partition(b" ")[2] or line for line in lines]),
    "an older format": lambda data: data.replace(b'"format":6', b'"format":5', 1),
    "something else": lambda data: os.urandom(5000),
}


def same_or_refused(kept: Kept, out: Path) -> None:
    stained, backbone, _, whole = kept
    found, said = None, ""
    try:
        found = evaluate(stained, backbone, protocol=QUICK, checkpoint=Checkpoint(out, resume=True))
    except LakeError as error:
        said = str(error)
    if found is None:
        assert said.startswith(str(out))
        assert "\n" not in said
    else:
        assert without_times(found) == without_times(whole)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_gives_a_sentence_or_the_same_report(kept: Kept, damage: str, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    Checkpoint(out, resume=False).path.write_bytes(DAMAGES[damage](kept[2]))
    same_or_refused(kept, out)


def test_any_byte_that_changed_is_found(kept: Kept, tmp_path: Path) -> None:
    """80 bytes, one at a time, anywhere in the finished work."""
    data, rng = kept[2], np.random.default_rng(0)
    path = Checkpoint(tmp_path / "out.json", resume=True).path
    first = data.index(b"\n") + 1
    for at in rng.integers(first, len(data), 80):
        changed = bytearray(data)
        changed[at] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        same_or_refused(kept, tmp_path / "out.json")


def test_what_is_no_file_is_not_waited_for(kept: Kept, tmp_path: Path) -> None:
    makers: dict[str, Callable[[Path], object]] = {
        "folder": lambda path: path.mkdir(),
        "pipe": lambda path: os.mkfifo(path),
        "loop": lambda path: path.symlink_to(path),
        "zeros": lambda path: path.symlink_to("/dev/zero"),
        "nowhere": lambda path: path.symlink_to("/no/such/file"),
    }
    for name, make in makers.items():
        out = tmp_path / name / "out.json"
        out.parent.mkdir()
        make(Checkpoint(out, resume=True).path)
        with pytest.raises(LakeError, match="is not a file: remove it"):
            evaluate(kept[0], kept[1], protocol=QUICK, checkpoint=Checkpoint(out, resume=True))
