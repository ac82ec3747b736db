"""Private copies of an image tower, which nobody else uses: whole, or from one layer on."""

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lake_core.backbones.adapters.base import Adapter
from lake_core.types import HookPoint

if TYPE_CHECKING:
    from lake_core.backbones.backbone import Backbone, Change


def private_copy(adapter: Adapter) -> Adapter:
    """The tower again, with its own modules, hooks and parameters; the weights' memory is shared and only read."""
    memo: dict[int, Any] = {
        id(own): nn.Parameter(own.detach(), requires_grad=False) for own in adapter.visual.parameters()
    }
    visual = copy.deepcopy(adapter.visual, memo)
    for module in visual.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return type(adapter)(visual)


class Tail:
    """A backbone's image tower from one layer on, for many passes that change nothing before that layer.

    What reaches the layer is computed once, when this is made; a pass then takes only what the rest of the tower takes.

    Args:
        backbone: An opened model; it is only read.
        layer: Number of the layer.
        pixels: (n_images, 3, height, width) float32 from `Backbone.prepare`, n_images >= 1.
        batch_size: Images in one pass.
    """

    def __init__(self, backbone: "Backbone", layer: int, pixels: Tensor, batch_size: int) -> None:
        adapter = private_copy(backbone.adapter)
        blocks = adapter.blocks()
        self._backbone, self._block = backbone.with_tower(adapter), blocks[layer - 1]
        # What comes before the blocks runs on one image each time: it has no say, but the tower's own code calls it.
        self._any_image = pixels[:1]
        self._reaching: list[Tensor] = []
        handle = self._block.register_forward_pre_hook(lambda _m, inputs: self._reaching.append(inputs[0].clone()))
        for batch in pixels.split(batch_size):
            self._backbone.forward(batch, ())
        handle.remove()
        names = {id(module): name for name, module in adapter.visual.named_modules()}
        for block in blocks[: layer - 1]:
            parent, _, name = names[id(block)].rpartition(".")
            setattr(adapter.visual.get_submodule(parent), name, _Passed())

    def forward(
        self, hook_points: Iterable[HookPoint], changes: "Mapping[HookPoint, Change] | None" = None
    ) -> dict[HookPoint, Tensor]:
        """Activations of all images at hook points, equal to those of `Backbone.forward` with the same changes.

        Args:
            hook_points: Of this layer or later ones, or of the joint space.
            changes: As for `Backbone.forward`, at this layer or later ones.
        Returns:
            Hook point -> (n_images, n_patches, n_neurons) float32 on the CPU.
        """
        wanted, found = frozenset(hook_points), []
        for reaching in self._reaching:
            handle = self._block.register_forward_pre_hook(lambda _m, inputs, own=reaching: (own.clone(), *inputs[1:]))
            try:
                found.append(self._backbone.forward(self._any_image, wanted, changes))
            finally:
                handle.remove()
        return {hook_point: torch.cat([one[hook_point] for one in found]) for hook_point in wanted}


class _Passed(nn.Module):
    """Stands in the place of a block that does not run."""

    def forward(self, tokens: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        return tokens
