"""A labels.csv beside images: other columns, hostile paths and labels, broken quotes, other encodings."""

import tempfile
from functools import cache
from pathlib import Path

from numpy.random import Generator

from lake_core.data.folders import index_folder
from tests.core.data.folders import MVTEC, write
from tests.fuzz.mutations import TEXTS, pick, spoiled, spoiled_text

NAME = "labels.csv"
HEADS = (
    "path,label",
    "path;label",
    "image,class,split",
    "label,path",
    "name,kind",
    "a,b",
    "",
    "path",
    "path,path,label",
)
PATHS = ("test/good/000.png", "test/crack/001.png", "001.png", "000.png", "train/good/000.png", "test\\hole\\000.png")
LABELS = ("good", "defective", "0", "1", "crack", "true", "", " Scratch ", "ng")


def valid() -> bytes:
    return b"path,label\ntest/good/000.png,good\ntest/crack/001.png,crack\n"


def make(rng: Generator) -> bytes:
    head = pick(rng, HEADS)
    rows = [_row(head.count(",") + 1, rng) for _ in range(int(rng.integers(0, 8)))]
    text = pick(rng, ("\n", "\r\n", "\r")).join([head, *rows])
    if rng.random() < 0.4:
        text = spoiled_text(text, rng)
    data = text.encode(pick(rng, ("utf-8", "utf-8-sig", "utf-16", "latin-1")), "replace")
    return spoiled(data, rng) if rng.random() < 0.3 else data


def run(data: bytes) -> None:
    (_folder() / NAME).write_bytes(data)
    index_folder(_folder())


@cache
def _folder() -> Path:
    """A data set in MVTec's layout, for this process."""
    return write(Path(tempfile.mkdtemp(prefix="lake-fuzz-")), MVTEC)


def _row(n_columns: int, rng: Generator) -> str:
    cells = [pick(rng, PATHS), pick(rng, LABELS), *(pick(rng, TEXTS) for _ in range(n_columns))][: max(n_columns, 1)]
    if rng.random() < 0.2:
        cells = [f'"{cell}' if rng.random() < 0.5 else f'"{cell}"' for cell in cells]
    return pick(rng, (",", ",", ",", ";", "\t")).join(cells)
