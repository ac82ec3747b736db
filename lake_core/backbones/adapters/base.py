"""What every adapter says of its family: blocks, activation sites, patch layout and directions in the joint space.

All that differs between families of image towers is in their adapters; the rest of the core sees hook points, patches
and neurons.
"""

from abc import ABC, abstractmethod
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lake_core.backbones.hooks import Hook
from lake_core.types import HookPoint

MAX_GRID = 48
"""Finest patch grid that is kept, per side. The first blocks of convolutional towers have grids of 96 or 192 a side,
whose memory banks would not fit; they are averaged over 2 x 2 (4 x 4 ...) locations first."""


class Ceiling(NamedTuple):
    """The greatest value of an activation function that has one: what it is called, and the value."""

    function: str
    value: float


class Adapter(ABC):
    """What the core needs to know of an image tower.

    Attributes:
        family: Name of the family on screen.
        n_layers: Number of blocks.
        sizes: "any" if the tower takes other input sizes as it is, "at loading" if only when weights are loaded,
            "fixed" if never.
        has_tokens: Whether patches are tokens that attend to each other, as in a ViT.
        memory_format: In which the tower computes fastest. Convolutions take half the time where the channels of a
            location lie side by side.
    """

    family: str
    has_tokens: bool = False
    sizes: Literal["any", "at loading", "fixed"]
    memory_format: torch.memory_format = torch.contiguous_format

    def __init__(self, visual: Any) -> None:
        self.visual = visual
        self.n_layers = len(self.blocks())

    @classmethod
    @abstractmethod
    def matches(cls, visual: Any) -> bool:
        """Whether an open_clip model's image tower is of this family."""

    @abstractmethod
    def blocks(self) -> list[Any]:
        """The blocks in order; block i is layer i + 1."""

    @abstractmethod
    def hidden(self, block: Any) -> Hook | None:
        """Where a block's hidden neurons pass after their activation function, or None if it has none."""

    def ceiling(self, block: Any) -> Ceiling | None:
        """Of a block's hidden neurons, or None if they can grow without bound."""
        return None

    @abstractmethod
    def maps(self, raw: Tensor, hook_point: HookPoint) -> Tensor:
        """View of a raw activation as maps (batch, neurons, rows, cols), without prefix tokens."""

    @abstractmethod
    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Run the tower once.

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
        """The hooks of all layers and sites that this tower has."""
        hooks: dict[HookPoint, Hook] = {}
        for number, block in enumerate(self.blocks(), start=1):
            hooks[HookPoint(number, "residual_channel")] = Hook(block, "output")
            hidden = self.hidden(block)
            if hidden is not None:
                hooks[HookPoint(number, "mlp_hidden")] = hidden
        return hooks

    def patches(self, hook_point: HookPoint, raw: Tensor) -> Tensor:
        """Copy of an activation on its patch grid, (batch, neurons, rows, cols), at most MAX_GRID a side.

        Averages over several locations are float32; everything else keeps the tower's number type.
        """
        maps = self.maps(raw, hook_point).detach()
        factor = 1
        while max(maps.shape[-2:]) / factor > MAX_GRID:
            factor *= 2
        if factor > 1:
            # Adaptive, which is the same where the factor divides the grid, and loses no border where it does not.
            rows, cols = maps.shape[-2:]
            return F.adaptive_avg_pool2d(maps.float(), (-(-rows // factor), -(-cols // factor)))
        return maps.clone()


class TokenAdapter(Adapter):
    """Towers whose activations are (batch, prefix + patches, neurons)."""

    has_tokens = True

    def maps(self, raw: Tensor, hook_point: HookPoint) -> Tensor:
        return self.spread(raw)

    def spread(self, raw: Tensor) -> Tensor:
        """(batch, prefix + patches, neurons) to (batch, neurons, rows, cols)."""
        tokens = raw[:, self.n_prefix_tokens() :]
        return tokens.transpose(1, 2).view(len(tokens), -1, *self.grid())

    @abstractmethod
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patch tokens."""
