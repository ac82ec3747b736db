"""Passes through a network beside the backbone: pixels for it, and what its blocks put out, by the test's own hooks."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lake_core.backbones.backbone import Backbone

BLOCKS = {
    "ResidualAttentionBlock", "Block", "EvaBlock", "ConvNeXtBlock", "RepMixerBlock", "AttentionBlock",
    "BasicBlock", "Bottleneck", "ConvBnAct", "DepthwiseSeparableConv", "EdgeResidual", "InvertedResidual",
}  # fmt: skip


def pixels_for(backbone: Backbone, n: int = 2) -> Tensor:
    return torch.randn(n, 3, *backbone.input_size, generator=torch.Generator().manual_seed(3))


def close(actual: Tensor, expected: Tensor) -> None:
    """Equal to float32 rounding, measured against the size of the values."""
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * max(1.0, float(expected.abs().max())))


@contextmanager
def outputs_of(modules: list[nn.Module]) -> Iterator[list[Tensor]]:
    """Outputs of modules in the order in which they are run, taken by the test's own hooks."""
    outputs: list[Tensor] = []
    handles = [m.register_forward_hook(lambda _m, _i, out: outputs.append(out.detach().clone())) for m in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def blocks_of(backbone: Backbone) -> list[nn.Module]:
    """Blocks by their class, inside of the image tower, in no order that matters."""
    return [module for module in backbone._model.visual.modules() if type(module).__name__ in BLOCKS]


def run(backbone: Backbone, pixels: Tensor, modules: list[nn.Module]) -> list[Tensor]:
    with torch.inference_mode(), outputs_of(modules) as outputs:
        backbone._model.encode_image(pixels)
    return outputs


def as_patches(raw: Tensor, n_neurons: int, n_patches: int) -> Tensor:
    """(batch, patches, neurons) from tokens with a prefix, channels-last maps or channels-first maps."""
    if raw.ndim == 3:
        return raw[:, -n_patches:]
    if raw.shape[1] != n_neurons:
        raw = raw.permute(0, 3, 1, 2)
    return raw.flatten(2).transpose(1, 2)
