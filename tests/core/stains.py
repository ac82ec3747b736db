"""Small data sets of grey surfaces, some with a red stain that is easy to find."""

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 96
N_NORMAL, N_GOOD, N_BAD = 5, 4, 5


def surface(seed: int) -> np.ndarray:
    """A grey surface with fine grain."""
    rng = np.random.default_rng(seed)
    return np.clip(130 + rng.normal(0, 8, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def write_category(root: Path, seed: int, with_masks: bool) -> Path:
    def save(path: str, pixels: np.ndarray) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / path)

    for i in range(N_NORMAL):
        save(f"train/good/{i:03}.png", surface(seed + i))
    for i in range(N_GOOD):
        save(f"test/good/{i:03}.png", surface(seed + 100 + i))
    for i in range(N_BAD):
        pixels, mask = surface(seed + 200 + i), np.zeros((SIDE, SIDE), np.uint8)
        at = slice(20 + 8 * i, 44 + 8 * i)
        pixels[at, at] = (200, 40, 40)
        mask[at, at] = 255
        save(f"test/stain/{i:03}.png", pixels)
        if with_masks:
            save(f"ground_truth/stain/{i:03}_mask.png", mask)
    return root
