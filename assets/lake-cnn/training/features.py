"""Training images with synthetic defects, and what the frozen image tower makes of them.

Every training image gives triples of one crop: as it is, with a defect, and changed in ways that are no defect.
"""

import json
import os
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
from defects import KINDS, Image, Mask, harmless
from numpy.random import Generator
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

SIZE = 384
GRID = 12
MEAN, STD = 0.4980392156862745, 0.5019607843137255
SPOILED = ("cracked", "stained", "smeared", "pitted")
"""Words of images that are not flawless to begin with."""
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Triple:
    """A crop three times; `clean` and `other` are None where the defect is real."""

    clean: Pixels | None
    damaged: Pixels
    other: Pixels | None
    mask: Mask
    kind: int
    row: int


@dataclass
class Triples:
    """Features of all triples: final maps (n, 3, 1280, 12, 12) float16, shares of each location that are damaged
    (n, 12, 12), kinds and rows of the index (n,), and whether the defect is real."""

    final: Tensor
    damage: Tensor
    kind: Tensor
    row: Tensor
    real: Tensor


def rows_of(folder: Path, *shards: str) -> list[dict]:
    """Rows of the index whose file is there, of shards whose names begin so."""
    rows = json.loads((folder / "index.json").read_text())
    return [row for row in rows if row["shard"].startswith(shards) and (folder / row["shard"] / row["file"]).exists()]


def read(folder: Path, row: dict) -> tuple[Image, NDArray[np.uint8] | None]:
    path = folder / row["shard"] / row["file"]
    mask = path.with_suffix(".png")
    image = cv2.imread(str(path))[:, :, ::-1].astype(np.float32)
    return image, cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE) if mask.exists() else None


def cropped(rng: Generator, image: Image, mask: Mask | None = None) -> tuple[Image, Mask | None]:
    """A crop, turned or mirrored, at the size of the model's input, and the mask with it."""
    height, width = (int(side * share) for side, share in zip(image.shape, rng.uniform(0.65, 1, 2), strict=False))
    top, left = rng.integers(0, image.shape[0] - height + 1), rng.integers(0, image.shape[1] - width + 1)
    is_mirrored, turns = rng.random() < 0.5, int(rng.integers(4))

    def laid(array: NDArray, way: int) -> NDArray:
        array = np.ascontiguousarray(array[top : top + height, left : left + width])
        array = cv2.resize(array, (SIZE, SIZE), interpolation=way)
        return np.ascontiguousarray(np.rot90(array[:, ::-1] if is_mirrored else array, turns))

    image = laid(image, cv2.INTER_AREA if min(height, width) > SIZE else cv2.INTER_CUBIC)
    if rng.random() < 0.4:
        image = image + rng.uniform(0.2, 1.2) * (image - cv2.GaussianBlur(image, (0, 0), 1.2))
    return image, None if mask is None else laid(mask, cv2.INTER_AREA)


def _pixels(image: Image) -> Pixels:
    return np.clip(image, 0, 255).astype(np.uint8)


def triple(job: tuple[Path, list[dict], int, int]) -> Triple:
    folder, rows, number, seed = job
    rng = np.random.default_rng([seed, number])
    image, mask = cropped(rng, *read(folder, rows[number]))
    if mask is not None:
        return Triple(None, _pixels(harmless(image, rng)), None, mask.astype(np.float32) / 255, _CRACK, number)
    donor, _ = cropped(rng, read(folder, rows[int(rng.integers(len(rows)))])[0])
    clean = harmless(image, rng).astype(np.float32) if rng.random() < 0.5 else image.astype(np.float32)
    kind = int(rng.integers(len(KINDS)))
    damaged, mask = list(KINDS.values())[kind](clean, rng, donor)
    noise = rng.normal(0, rng.uniform(0, 4) * (rng.random() < 0.3), clean.shape)
    moved = np.roll(image, tuple(rng.integers(-16, 17, 2)), (0, 1)) if rng.random() < 0.5 else image
    other = harmless(moved, rng)
    return Triple(_pixels(clean + noise), _pixels(damaged + noise), _pixels(other), np.clip(mask, 0, 1), kind, number)


_CRACK = list(KINDS).index("crack")


class Tower:
    """The frozen image tower: pixels (n, 384, 384, 3) uint8 to final maps (n, 1280, 12, 12) float16."""

    def __init__(self, weights: Path, device: str) -> None:
        self.device = device
        self._net = timm.create_model("tf_efficientnet_lite2", pretrained=False, num_classes=0)
        self._net.load_state_dict({name: value.float() for name, value in load_file(weights).items()}, strict=False)
        self._net.eval().to(device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, images: list[Pixels]) -> Tensor:
        pixels = torch.from_numpy(np.stack(images)).to(self.device).permute(0, 3, 1, 2).float() / 255
        return self._net.forward_features(((pixels - MEAN) / STD).contiguous(memory_format=torch.channels_last)).half()


def triples(
    folder: Path, tower: Tower, draws: int, seed: int, n_images: int | None = None
) -> tuple[Triples, list[dict]]:
    """Features of `draws` triples of each training image, made by all processors, and the images' rows."""
    rows = [row for row in rows_of(folder, "train") if row["words"][0] not in SPOILED][:n_images]
    jobs = [(folder, rows, number, seed * 1000 + draw) for draw in range(draws) for number in range(len(rows))]
    np.random.default_rng(seed).shuffle(jobs)
    final, damage, kinds, numbers, real, waiting = [], [], [], [], [], []

    def flush() -> None:
        maps = tower([image for one in waiting for image in (one.clean, one.damaged, one.other)])
        final.append(maps.view(len(waiting), 3, *maps.shape[1:]))

    with Pool(os.cpu_count()) as pool:
        for made in pool.imap_unordered(triple, jobs, chunksize=16):
            if made.mask.max() < 0.3:
                continue
            is_real = made.clean is None
            waiting.append(Triple(made.damaged, made.damaged, made.damaged, *_rest(made)) if is_real else made)
            damage.append(cv2.resize(made.mask.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA))
            kinds.append(made.kind)
            numbers.append(made.row)
            real.append(is_real)
            if len(waiting) == 64:
                flush()
                waiting.clear()
    flush() if waiting else None
    device = tower.device
    tensors = (torch.from_numpy(np.stack(damage)), torch.tensor(kinds), torch.tensor(numbers), torch.tensor(real))
    return Triples(torch.cat(final), *(tensor.to(device) for tensor in tensors)), rows


def _rest(made: Triple) -> tuple[Mask, int, int]:
    return made.mask, made.kind, made.row
