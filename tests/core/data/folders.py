"""Small data sets as files: images and masks by seed, folders, archives, and an MVTec category."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from lake_core.data.datasets import Dataset


def png(seed: int, size: tuple[int, int] = (32, 24)) -> bytes:
    """An image of its own for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def mask_png(n_rows: int, size: tuple[int, int] = (32, 24)) -> bytes:
    """A mask whose first rows are defect."""
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[:n_rows] = 255
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def names(dataset: Dataset) -> tuple[list[str], list[str]]:
    return [e.image.name for e in dataset.normals], [e.image.name for e in dataset.tests]


MVTEC = {
    "train/good/000.png": png(0),
    "train/good/001.png": png(1),
    "test/good/000.png": png(2),
    "test/crack/000.png": png(3),
    "test/crack/001.png": png(4),
    "test/hole/000.png": png(5),
    "ground_truth/crack/000_mask.png": mask_png(5),
    "ground_truth/crack/001_mask.png": mask_png(6),
    "ground_truth/hole/000.png": mask_png(7),
    "license.txt": b"CC BY",
}
