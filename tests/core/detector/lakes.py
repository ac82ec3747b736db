"""A small detector over one layer, and a woven texture with a drawn defect."""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from lake_core.backbones.backbone import Backbone
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage, read_image
from lake_core.detector.lake import Lake

DEFECT = (150, 90, 190, 120)
"""Left, top, right, bottom of the drawn defect, in pixels of a 256-pixel texture."""


def texture(seed: int, defect: bool = False) -> InputImage:
    """A woven texture with seeded irregularities, 256 x 256, with or without a dark torn spot."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:256, :256] + rng.uniform(0, 16, 2)[:, None, None]
    weave = 128 + 40 * np.sin(x * np.pi / 8) * np.sin(y * np.pi / 8) + rng.normal(0, 12, (256, 256))
    image = Image.fromarray(np.clip(weave, 0, 255).astype(np.uint8)).convert("RGB").filter(ImageFilter.GaussianBlur(1))
    if defect:
        draw = ImageDraw.Draw(image)
        draw.ellipse(DEFECT, fill=(30, 20, 20))
        draw.line((150, 90, 200, 130), fill=(230, 220, 220), width=4)
    return read_image(image, f"texture {seed}{' with a defect' if defect else ''}")


def tiny_lake(backbone: Backbone, **options: Any) -> Lake:
    given: dict[str, Any] = {"layers": (2,), "site": "mlp_hidden", "top_k": 20} | options
    return Lake(backbone, LakeConfig(**given))
