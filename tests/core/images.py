"""Seeded images that several tests of the core look at."""

import numpy as np

from lake_core.data.images import InputImage, read_image


def spotted(seed: int, defect: bool = False) -> InputImage:
    """A smooth seeded texture of 128 pixels, with or without a dark spot."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:128, :128] + rng.uniform(0, 16, 2)[:, None, None]
    grey = 128 + 40 * np.sin(x * np.pi / 8) * np.sin(y * np.pi / 8) + rng.normal(0, 6, (128, 128))
    if defect:
        grey[50:75, 60:85] = 20
    return read_image(np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2), f"spotted {seed}")
