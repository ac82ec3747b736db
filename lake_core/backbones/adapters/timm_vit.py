"""Vision transformers of timm inside open_clip."""

from typing import Any

import torch
from torch import Tensor

from lake_core.backbones.adapters.base import TokenAdapter
from lake_core.backbones.hooks import Hook


class TimmViT(TokenAdapter):
    """timm's VisionTransformer and Eva (SigLIP, EVA02, MobileCLIP-B, Perception Encoder ...)."""

    family = "timm ViT"
    sizes = "at loading"

    @classmethod
    def matches(cls, visual: Any) -> bool:
        trunk = getattr(visual, "trunk", None)
        return hasattr(trunk, "patch_embed") and hasattr(trunk, "num_prefix_tokens")

    def blocks(self) -> list[Any]:
        return list(self.visual.trunk.blocks)

    def hidden(self, block: Any) -> Hook | None:
        down = getattr(getattr(block, "mlp", None), "fc2", None)
        return None if down is None else Hook(down, "input")

    def n_prefix_tokens(self) -> int:
        return int(getattr(self.visual.trunk, "num_prefix_tokens", 0))

    def patch_size(self) -> tuple[int, int] | None:
        # Not `patch_size`, which counts locations of the stem where the embedding begins with one (MobileCLIP-B).
        return tuple(self.visual.trunk.patch_embed.feat_ratio(as_scalar=False))

    def grid(self) -> tuple[int, int]:
        return tuple(self.visual.trunk.patch_embed.grid_size)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        trunk, head = self.visual.trunk, self.visual.head
        tokens = trunk.forward_features(pixels)
        image = head(trunk.forward_head(tokens))
        patches = tokens[:, self.n_prefix_tokens() :]
        batch, n_patches, width = patches.shape
        # Each patch is pooled by itself, as if it were the whole image: attention pooling (SigLIP) becomes its value
        # path, class-token pooling the final norm and projection.
        alone = patches.reshape(batch * n_patches, 1, width)
        if str(trunk.global_pool).startswith("avg"):
            alone = torch.cat([alone.new_zeros(len(alone), self.n_prefix_tokens(), width), alone], dim=1)
        directions = head(trunk.forward_head(alone)).reshape(batch, n_patches, -1)
        return image, directions.transpose(1, 2).view(batch, -1, *self.grid())
