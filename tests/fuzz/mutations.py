"""Ways to spoil what was valid: bytes, JSON values, and texts."""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

from numpy.random import Generator

T = TypeVar("T")

NUMBERS: tuple[Any, ...] = (0, -1, 1, 2, 3, 7, 255, 4096, 65535, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"))
TEXTS = (
    "",
    " ",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "C:\\x.png",
    "a\0b",
    "a\nb",
    "\x1b[31mred",
    "\u202egnp.exe",
    "\ud800",
    "=cmd()",
    "<b>x</b>",
    "**x** $x$ ![](http://evil.example/x.png)",
    "x" * 5000,
    "9" * 5000,
    "lake-cnn",
    "local-dir:/etc",
    "hf-hub:evil/model",
    "\U0001f50d",
)
VALUES: tuple[Any, ...] = (None, True, False, [], {}, [[]], {"": None}, *NUMBERS, *TEXTS)


def pick(rng: Generator, options: "tuple[T, ...] | list[T]") -> T:
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def spoiled(data: bytes, rng: Generator) -> bytes:
    """Bytes with one to three faults: cut off, bits turned over, values written, parts moved, doubled or removed."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        pick(rng, FAULTS)(changed, rng)
    return bytes(changed)


def spoiled_text(text: str, rng: Generator) -> str:
    """A text with one to three hostile pieces put in or in place of some of it."""
    for _ in range(int(rng.integers(1, 4))):
        start, length = int(rng.integers(len(text) + 1)), int(rng.integers(0, 12))
        text = text[:start] + pick(rng, TEXTS) + text[start + length :]
    return text


def spoiled_json(document: Any, rng: Generator) -> Any:
    """A JSON value with one to three faults: values replaced or removed, keys added or renamed, lists made long."""
    changed = copy.deepcopy(document)
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(changed))
        if places:
            parent, key = pick(rng, places)
            _spoil(parent, key, rng)
    return changed


def _places(value: Any) -> "list[tuple[Any, Any]]":
    """Each (container, key) of a JSON value, at any depth."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


def _spoil(parent: Any, key: Any, rng: Generator) -> None:
    match int(rng.integers(7)):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[pick(rng, TEXTS)] = parent.pop(key)
        case 2 if isinstance(parent, dict):
            parent[pick(rng, TEXTS)] = pick(rng, VALUES)
        case 3:
            parent[key] = [parent[key]] * int(rng.integers(2, 600))
        case 4 if isinstance(parent[key], str):
            parent[key] = spoiled_text(parent[key], rng)
        case 5 if isinstance(parent[key], int | float):
            parent[key] = parent[key] * pick(rng, (-1, 0, 2, 10, 1000, 10**6))
        case _:
            parent[key] = pick(rng, VALUES)


def _place(data: bytearray, rng: Generator) -> int:
    """A place in bytes, half of the time among the first hundred, where headers are."""
    end = len(data) if rng.random() < 0.5 else min(len(data), 100)
    return int(rng.integers(max(end, 1)))


def _cut(data: bytearray, rng: Generator) -> None:
    del data[int(rng.integers(len(data) + 1)) :]


def _turn_bits(data: bytearray, rng: Generator) -> None:
    for _ in range(int(rng.integers(1, 9))):
        if data:
            data[_place(data, rng)] ^= 1 << int(rng.integers(8))


def _write(data: bytearray, rng: Generator) -> None:
    start, length = _place(data, rng), int(rng.integers(1, 9))
    data[start : start + length] = pick(rng, (b"\0" * length, b"\xff" * length, rng.bytes(length), b"\x7f" * length))


def _put_in(data: bytearray, rng: Generator) -> None:
    start = _place(data, rng)
    data[start:start] = rng.bytes(int(rng.integers(1, 65)))


def _double(data: bytearray, rng: Generator) -> None:
    start, length = _place(data, rng), int(rng.integers(1, 400))
    data[start:start] = data[start : start + length]


def _remove(data: bytearray, rng: Generator) -> None:
    start = _place(data, rng)
    del data[start : start + int(rng.integers(1, 65))]


def _append(data: bytearray, rng: Generator) -> None:
    data += rng.bytes(int(rng.integers(1, 200)))


FAULTS: tuple[Callable[[bytearray, Generator], None], ...] = (
    _cut,
    _turn_bits,
    _turn_bits,
    _write,
    _write,
    _put_in,
    _double,
    _remove,
    _append,
)
