"""One small adapter per family of image towers: its blocks, activation sites, patch layout and joint-space directions.

Everything that differs between a native ViT, a timm ViT, a convolutional timm tower and CLIP's own ResNet is in this
file; the rest of the core sees places (layer, kind), patches and neurons.
"""

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lake_core.backbones.hooks import Hook
from lake_core.errors import BackboneError
from lake_core.types import HookPoint

MAX_GRID = 48
"""Finest patch grid that is kept, per side. The first blocks of convolutional towers have grids of 96 or 192 a side,
whose memory banks would not fit; they are averaged over 2 x 2 (4 x 4 ...) locations first."""


class Adapter(ABC):
    """What the core needs to know of an image tower.

    Attributes:
        family: Name of the family, for people.
        n_layers: Number of blocks.
        sizes: "any" if the tower takes other input sizes as it is, "at loading" if only when weights are loaded,
            "fixed" if never.
    """

    family: str
    sizes: Literal["any", "at loading", "fixed"]

    def __init__(self, visual: Any) -> None:
        self.visual = visual
        self.n_layers = len(self.blocks())

    @abstractmethod
    def blocks(self) -> list[Any]:
        """The blocks in order; block i is layer i + 1."""

    @abstractmethod
    def hidden(self, block: Any) -> Hook | None:
        """Where the post-activation hidden neurons of a block pass, or None if it has none."""

    @abstractmethod
    def maps(self, raw: Tensor, hook_point: HookPoint) -> Tensor:
        """Brings an activation as the tower has it to maps (batch, neurons, rows, cols), without prefix tokens."""

    @abstractmethod
    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Runs the tower once.

        Args:
            pixels: (batch, 3, height, width), preprocessed.
        Returns:
            The whole-image vectors (batch, joint) and the patch directions (batch, joint, rows, cols) in the joint
            space of images and texts, neither normalised; None for the second if the tower's head does not
            act on single patches.
        """

    def n_prefix_tokens(self) -> int:
        """Number of tokens before the patch tokens (class token, registers)."""
        return 0

    def patch_size(self) -> tuple[int, int] | None:
        """Height and width in pixels of a ViT's patches; None for convolutional towers."""
        return None

    def hooks(self) -> dict[HookPoint, Hook]:
        """The hooks of all layers and kinds that this tower has."""
        hooks: dict[HookPoint, Hook] = {}
        for number, block in enumerate(self.blocks(), start=1):
            hooks[HookPoint(number, "residual_channel")] = Hook(block, "output")
            hidden = self.hidden(block)
            if hidden is not None:
                hooks[HookPoint(number, "mlp_hidden")] = hidden
        return hooks

    def patches(self, hook_point: HookPoint, raw: Tensor) -> Tensor:
        """(batch, neurons, rows, cols) copy of an activation on its patch grid, at most MAX_GRID a side; means over
        several patches are float32, the rest has the tower's number type."""
        maps = self.maps(raw, hook_point).detach()
        factor = 1
        while max(maps.shape[-2:]) / factor > MAX_GRID:
            factor *= 2
        if factor > 1:
            # Adaptive, which is the same where the factor divides the grid, and loses no border where it does not.
            rows, cols = maps.shape[-2:]
            return F.adaptive_avg_pool2d(maps.float(), (-(-rows // factor), -(-cols // factor)))
        return maps.clone()


class _TokenAdapter(Adapter):
    """Towers whose activations are (batch, prefix + patches, neurons)."""

    def maps(self, raw: Tensor, hook_point: HookPoint) -> Tensor:
        return self.spread(raw)

    def spread(self, raw: Tensor) -> Tensor:
        """(batch, prefix + patches, neurons) to (batch, neurons, rows, cols)."""
        tokens = raw[:, self.n_prefix_tokens() :]
        rows, cols = self.grid()
        return tokens.transpose(1, 2).unflatten(2, (rows, cols))

    @abstractmethod
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patch tokens."""


class NativeViT(_TokenAdapter):
    """open_clip's own VisionTransformer (OpenAI's CLIP, LAION, DataComp, DFN, MetaCLIP ...)."""

    family = "native ViT"
    sizes = "at loading"

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


class TimmViT(_TokenAdapter):
    """timm's VisionTransformer and Eva inside open_clip (SigLIP, EVA02, MobileCLIP-B, PE ...)."""

    family = "timm ViT"
    sizes = "at loading"

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
        # Each patch is pooled alone, as if it were the whole image: attention pooling (SigLIP) becomes its value
        # path, class-token pooling the final norm and projection.
        alone = patches.reshape(batch * n_patches, 1, width)
        if str(trunk.global_pool).startswith("avg"):
            alone = torch.cat([alone.new_zeros(len(alone), self.n_prefix_tokens(), width), alone], dim=1)
        directions = head(trunk.forward_head(alone)).reshape(batch, n_patches, -1)
        rows, cols = self.grid()
        return image, directions.transpose(1, 2).unflatten(2, (rows, cols))


class TimmConv(Adapter):
    """Convolutional timm towers inside open_clip: EfficientNet, ConvNeXt, ResNet, FastViT (MobileCLIP-S)."""

    family = "timm convolutional"
    sizes = "any"

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


class NativeResNet(Adapter):
    """CLIP's own ModifiedResNet (RN50 ...): the block output after its last ReLU is the only activation site.

    Patch directions take the value path of the attention pool, without positions, as MaskCLIP does
    (Zhou et al., arXiv 2112.01071).
    """

    family = "native ResNet"
    sizes = "fixed"

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


def adapter_of(model: Any) -> Adapter:
    """The adapter for an open_clip model's image tower.

    Raises:
        BackboneError: if its family is not known here.
    """
    visual = model.visual
    trunk = getattr(visual, "trunk", None)
    if trunk is None:
        if hasattr(visual, "transformer") and hasattr(visual.transformer, "resblocks"):
            return NativeViT(visual)
        if hasattr(visual, "attnpool") and hasattr(visual, "layer4"):
            return NativeResNet(visual)
    elif hasattr(trunk, "patch_embed") and hasattr(trunk, "num_prefix_tokens"):
        return TimmViT(visual)
    elif hasattr(trunk, "forward_head") and any(hasattr(trunk, name) for name in ("stages", "layer1", "conv_stem")):
        return TimmConv(visual)
    name = type(visual if trunk is None else trunk).__name__
    raise BackboneError(
        f"The image tower {name} is of a family that LAKE Explorer does not know; use a ViT, EfficientNet, ConvNeXt, "
        "FastViT or ResNet model of open_clip."
    )
