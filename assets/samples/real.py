"""Makes the samples of real photographs from folders that hold their sources: chooses, resizes, stores anew."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

QUALITY = 88
N_TRAIN = 8


@dataclass(frozen=True)
class Subject:
    """What is taken from one source, the first of each folder in sorted order of the names.

    Attributes:
        size: Side in pixels of the square that every image and mask becomes.
        kind: Of defect, as the folders below test and ground_truth call it.
        suffix: Of the images as they are stored; JPEG loses some detail, PNG does not.
    """

    size: int
    kind: str
    n_good: int
    n_defective: int
    suffix: str


SUBJECTS = {
    "hazelnut": Subject(448, "colour", 8, 12, ".jpg"),
    "deeppcb": Subject(320, "mixed", 8, 12, ".png"),
}


def make_set(name: str, source: Path, out: Path) -> None:
    """Writes one data set into out/name, replacing the images that are there."""
    subject, folder = SUBJECTS[name], out / name
    for part in ("train", "test", "ground_truth"):
        shutil.rmtree(folder / part, ignore_errors=True)
    parts = {"train/good": N_TRAIN, "test/good": subject.n_good, f"test/{subject.kind}": subject.n_defective}
    for part, n in parts.items():
        chosen = sorted(path for path in (source / part).iterdir() if path.suffix in (".jpg", ".png"))[:n]
        if len(chosen) < n:
            raise SystemExit(f"{source / part} holds {len(chosen)} images, {n} are needed.")
        for path in chosen:
            _store_image(path, folder / part / f"{path.stem}{subject.suffix}", subject.size)
            if part != f"test/{subject.kind}":
                continue
            mask = Path("ground_truth", subject.kind, f"{path.stem}_mask.png")
            _store_mask(source / mask, folder / mask, subject.size)


def _store_image(source: Path, target: Path, size: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as opened:
        image = opened if opened.size == (size, size) else opened.resize((size, size), Image.Resampling.LANCZOS)
        if target.suffix == ".png":
            image.save(target, optimize=True)
        else:
            image.convert("RGB").save(target, quality=QUALITY, subsampling="4:2:0", optimize=True)


def _store_mask(source: Path, target: Path, size: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as opened:
        opened.convert("L").resize((size, size), Image.Resampling.NEAREST).save(target, optimize=True)


def main() -> None:
    """Command line: which set, where its source lies, and where to write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", choices=SUBJECTS)
    parser.add_argument("source", type=Path, help="folder with train/good, test/good, test/KIND and ground_truth/KIND")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="folder that holds the sets")
    args = parser.parse_args()
    make_set(args.set, args.source, args.out)


if __name__ == "__main__":
    main()
