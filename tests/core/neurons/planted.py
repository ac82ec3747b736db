"""A tiny network in which one neuron means "red", and images with red patches."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lake_core.backbones.backbone import Backbone
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake

WORDS = ("red", "blue", "rust", "scratch", "hole", "wood", "steel", "stripes", "shadow", "screw")
PALETTE = np.array([(120, 120, 120), (40, 60, 200), (50, 170, 60), (200, 190, 60), (150, 90, 170), (220, 30, 30)])
PLANTED, LAYER = 17, 2


def random_text(text: str) -> Tensor:
    """A direction for a text, the same at every call."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    return F.normalize(torch.randn(24, generator=torch.Generator().manual_seed(seed)), dim=0)


class RedBackbone(Backbone):
    """The tiny ViT, with a text side that knows what "red" is."""

    red: Tensor

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        rows = [self.red if " red." in text else random_text(text.split()[-1]) for text in texts]
        return F.normalize(torch.stack(rows), dim=1)


def is_red(image: InputImage) -> np.ndarray:
    mean = image.rgb.reshape(5, 8, 5, 8, 3).mean((1, 3)).reshape(25, 3)
    return np.asarray((mean[:, 0] > 190) & (mean[:, 1] < 80))


def fitted(backbone: Backbone, images: Sequence[InputImage]) -> Lake:
    return Lake(backbone, LakeConfig(layers=(LAYER,), site="mlp_hidden", top_k=20)).fit(images)
