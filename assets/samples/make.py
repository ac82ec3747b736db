"""Makes the three rendered sample data sets (textile, metal, gravel) again, byte for byte on the same libraries."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import gravel
import metal
import numpy as np
import textile
from marks import changed, on_sensor
from PIL import Image

SEED = 20240607
SIZE = 384
N_TRAIN, N_TEST_GOOD = 8, 6
QUALITY = 89
SUBJECTS: dict[str, ModuleType] = {"textile": textile, "metal": metal, "gravel": gravel}


def plan(subject: ModuleType) -> Iterator[tuple[str, str, int]]:
    """Split, kind and number of every image of a set, in a fixed order."""
    yield from (("train", "good", i) for i in range(N_TRAIN))
    yield from (("test", "good", i) for i in range(N_TEST_GOOD))
    for kind, count in subject.KINDS.items():
        yield from (("test", kind, i) for i in range(count))


def make_set(name: str, out: Path, only: str | None = None) -> None:
    """Writes one data set into out/name, replacing the images that are there."""
    subject = SUBJECTS[name]
    folder = out / name
    if only is None:
        for part in ("train", "test", "ground_truth"):
            shutil.rmtree(folder / part, ignore_errors=True)
    for number, (split, kind, i) in enumerate(plan(subject)):
        if only not in (None, kind):
            continue
        scene, defect, sensor = np.random.default_rng([SEED, list(SUBJECTS).index(name), number]).spawn(3)
        clean, values = subject.render(scene, defect, SIZE, split, None if kind == "good" else kind, i)
        path = folder / split / kind / f"{i:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(on_sensor(values, sensor, subject.NOISE))
        image.save(path, quality=QUALITY, subsampling="4:2:0", optimize=True)
        if kind != "good":
            mask = changed(clean, values, subject.NOTICEABLE, subject.CLOSE[kind])
            path = folder / "ground_truth" / kind / f"{i:03d}_mask.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path, optimize=True)


def main() -> None:
    """Command line: where to write and which sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="folder that holds the sets")
    parser.add_argument("--set", choices=SUBJECTS, action="append", help="make only this set (may be repeated)")
    parser.add_argument("--kind", help="make only images of this kind, e.g. good or scratch")
    args = parser.parse_args()
    for name in args.set or SUBJECTS:
        make_set(name, args.out, args.kind)


if __name__ == "__main__":
    main()
