"""ZIP archives: names that climb or repeat, huge directories, bombs, nested and encrypted ones, damaged bytes."""

import io
import struct
import warnings
import zipfile
from functools import cache

from numpy.random import Generator

from lake_core.data.datasets import read_members
from tests.core.data.folders import MVTEC, mask_png, png
from tests.fuzz import images
from tests.fuzz.kinds import check_sentence
from tests.fuzz.mutations import TEXTS, pick, spoiled, spoiled_text

NAME = "set.zip"
NAMES = (
    *MVTEC,
    "../../normal/1.png",
    "/normal/1.png",
    "C:\\normal\\1.png",
    "normal\\2.png",
    "normal/1.png",
    "normal/./1.png",
    "NORMAL/1.PNG",
    "normal/1.tif",
    "test/1",
    "test/dent/.hidden.png",
    "__MACOSX/normal/._1.png",
    "labels.csv",
    "inner.zip",
    "a/" * 200 + "1.png",
    "test/" + "x" * 300 + ".png",
    "ground_truth/crack/001.png",
)
WAYS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
BOMB_BYTES = 190_000_000


def valid() -> bytes:
    return packed(MVTEC)


def make(rng: Generator) -> bytes:
    chance = rng.random()
    if chance < 0.01:
        return bomb()
    if chance < 0.02:
        return many(pick(rng, (1999, 2001, 30_000)))
    data = _packed(rng)
    if rng.random() < 0.35:
        data = _lying(bytearray(data), rng)
    return spoiled(data, rng) if rng.random() < 0.4 else data


def run(data: bytes) -> None:
    dataset = read_members([(NAME, data)])
    for problem in dataset.problems:
        check_sentence(problem, "")
    assert dataset.normals or dataset.tests or dataset.problems, "nothing was read, and nothing is said of it"


def packed(files: dict[str, bytes], way: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive of files, the same bytes at any time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, way)
    return buffer.getvalue()


@cache
def bomb() -> bytes:
    """An image of 190 MB of zeros, several times."""
    return packed({f"normal/{i}.png": bytes(BOMB_BYTES) for i in range(4)})


@cache
def many(n_entries: int) -> bytes:
    """An archive of very many small files."""
    return packed({f"test/{i}.png": b"x" for i in range(n_entries)})


def _packed(rng: Generator) -> bytes:
    """A few files under sound and hostile names, some of them twice."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")  # names that are there twice
        for _ in range(int(rng.integers(0, 12))):
            name = pick(rng, NAMES)
            if rng.random() < 0.2:
                name = spoiled_text(name, rng)
            name = name.encode("utf-8", "replace").decode().replace("\0", "0")[:60_000]
            archive.writestr(zipfile.ZipInfo(name or "x"), _content(rng), pick(rng, WAYS))
        archive.comment = b"x" * int(rng.integers(0, 50))
    return buffer.getvalue()


def _content(rng: Generator) -> bytes:
    match int(rng.integers(6)):
        case 0 | 1:
            return png(int(rng.integers(5)))
        case 2:
            return images.make(rng)
        case 3:
            return mask_png(int(rng.integers(24)))
        case 4:
            return packed({"normal/1.png": png(1)})
        case _:
            return pick(rng, TEXTS).encode("utf-8", "replace")


def _lying(data: bytearray, rng: Generator) -> bytes:
    """Wrong fields in the directory: flags, the way of compression, checksums, sizes, lengths of names, offsets."""
    entries = []
    at = data.find(b"PK\x01\x02")
    while at >= 0:
        entries.append(at)
        at = data.find(b"PK\x01\x02", at + 4)
    for _ in range(int(rng.integers(1, 4))):
        if entries:
            field, size = pick(rng, ((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (42, 4)))
            value = pick(rng, (0, 1, 8, 9, 12, 14, 93, 99, 2**16 - 1, 2**31 - 1, 2**32 - 1))
            packed = struct.pack("<I", value)[:size]
            start = pick(rng, entries) + field
            data[start : start + size] = packed
    if rng.random() < 0.3:
        end = data.rfind(b"PK\x05\x06")
        if end >= 0:
            field = end + 4 + 2 * int(rng.integers(8))
            data[field : field + 2] = rng.bytes(2)
    return bytes(data)
