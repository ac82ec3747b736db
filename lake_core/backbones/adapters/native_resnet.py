"""CLIP's own ResNet."""

from typing import Any

import torch
from torch import Tensor

from lake_core.backbones.adapters.base import Adapter
from lake_core.backbones.hooks import Hook
from lake_core.types import HookPoint


class NativeResNet(Adapter):
    """CLIP's own ModifiedResNet (RN50 ...): the block output after its last ReLU is the only activation site.

    Patch directions take the value path of the attention pool, without positions, as MaskCLIP does
    (Zhou et al., arXiv 2112.01071).
    """

    family = "native ResNet"
    sizes = "fixed"
    memory_format = torch.channels_last

    @classmethod
    def matches(cls, visual: Any) -> bool:
        return hasattr(visual, "attnpool") and hasattr(visual, "layer4")

    def blocks(self) -> list[Any]:
        visual = self.visual
        return [block for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4) for block in layer]

    def hidden(self, block: Any) -> Hook | None:
        return None

    def maps(self, raw: Tensor, hook_point: HookPoint) -> Tensor:
        return raw

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        visual = self.visual
        final = visual.stem(pixels)
        for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            final = layer(final)
        pool = visual.attnpool
        directions = pool.c_proj(pool.v_proj(final.permute(0, 2, 3, 1)))
        return pool(final), directions.permute(0, 3, 1, 2)
