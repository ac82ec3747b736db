"""Convolutional networks of timm inside open_clip."""

from typing import Any

import torch
from torch import Tensor, nn

from lake_core.backbones.adapters.base import Adapter, Ceiling
from lake_core.backbones.hooks import Hook
from lake_core.types import HookPoint


class TimmConv(Adapter):
    """EfficientNet, ConvNeXt, ResNet and FastViT (MobileCLIP-S) of timm."""

    family = "timm convolutional"
    sizes = "any"
    memory_format = torch.channels_last

    @classmethod
    def matches(cls, visual: Any) -> bool:
        trunk = getattr(visual, "trunk", None)
        is_convolutional = any(hasattr(trunk, name) for name in ("stages", "layer1", "conv_stem"))
        return hasattr(trunk, "forward_head") and is_convolutional and not hasattr(trunk, "num_prefix_tokens")

    def __init__(self, visual: Any) -> None:
        super().__init__(visual)
        # The MLP of ConvNeXt works channels-last where it is made of linear layers, not of 1 x 1 convolutions.
        self._channels_last = {
            hook_point for hook_point, hook in self.hooks().items() if isinstance(hook.module, nn.Linear)
        }

    def blocks(self) -> list[Any]:
        trunk = self.visual.trunk
        if hasattr(trunk, "stages"):
            return [block for stage in trunk.stages for block in stage.blocks]
        if hasattr(trunk, "layer1"):
            return [block for name in ("layer1", "layer2", "layer3", "layer4") for block in getattr(trunk, name)]
        return [block for stage in trunk.blocks for block in stage]

    def hidden(self, block: Any) -> Hook | None:
        if hasattr(block, "conv_pwl"):
            return Hook(block.conv_pwl, "input")
        down = getattr(getattr(block, "mlp", None), "fc2", None)
        return None if down is None else Hook(down, "input")

    def ceiling(self, block: Any) -> Ceiling | None:
        if not hasattr(block, "conv_pwl") or not isinstance(block.se, nn.Identity):  # a gate would lower the ceiling
            return None
        last = block.bn2.act if hasattr(block, "conv_dw") else block.bn1.act
        return Ceiling(type(last).__name__, float(last.max_val)) if isinstance(last, nn.ReLU6) else None

    def maps(self, raw: Tensor, hook_point: HookPoint) -> Tensor:
        return raw.permute(0, 3, 1, 2) if hook_point in self._channels_last else raw

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        trunk, head = self.visual.trunk, self.visual.head
        final = trunk.forward_features(pixels)
        image = head(trunk.forward_head(final))
        if "pool" in dict(head.named_children()):
            return image, None
        batch, channels, rows, cols = final.shape
        locations = final.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
        directions = head(trunk.forward_head(locations)).reshape(batch, rows, cols, -1)
        return image, directions.permute(0, 3, 1, 2)
