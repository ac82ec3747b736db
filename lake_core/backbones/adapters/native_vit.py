"""open_clip's own vision transformer."""

from typing import Any

from torch import Tensor

from lake_core.backbones.adapters.base import TokenAdapter
from lake_core.backbones.hooks import Hook


class NativeViT(TokenAdapter):
    """open_clip's VisionTransformer (OpenAI's CLIP, LAION, DataComp, DFN, MetaCLIP ...)."""

    family = "native ViT"
    sizes = "at loading"

    @classmethod
    def matches(cls, visual: Any) -> bool:
        return hasattr(getattr(visual, "transformer", None), "resblocks")

    def blocks(self) -> list[Any]:
        return list(self.visual.transformer.resblocks)

    def hidden(self, block: Any) -> Hook | None:
        return Hook(block.mlp.c_proj, "input")

    def n_prefix_tokens(self) -> int:
        return 1

    def patch_size(self) -> tuple[int, int] | None:
        return tuple(self.visual.patch_size)

    def grid(self) -> tuple[int, int]:
        return tuple(self.visual.grid_size)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        visual = self.visual
        tokens = visual.transformer(visual._embeds(pixels))
        pooled, _ = visual._pool(tokens)
        image = pooled if visual.proj is None else pooled @ visual.proj
        if visual.attn_pool is not None or visual.proj is None:
            return image, None
        return image, self.spread(visual.ln_post(tokens) @ visual.proj)
