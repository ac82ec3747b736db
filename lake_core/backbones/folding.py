"""Batch normalisations folded into the convolutions before them: the same function in fewer passes over memory."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

_Norm = nn.modules.batchnorm._BatchNorm


@torch.no_grad()
def fold_batch_norms(tower: nn.Module, pixels: Tensor) -> int:
    """Multiply every batch normalisation that acts on a convolution's output into that convolution's weights, in place.

    Which acts on which is seen in one pass through the tower: the normalisation is given the very tensor that the
    convolution returned. Activation functions that timm keeps inside its normalisations stay where they are.

    Args:
        tower: In evaluation mode, with float32 weights on the CPU.
        pixels: (1, 3, height, width), any image that the tower takes.
    Returns:
        How many were folded.
    """
    returned: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # with the tensor, so that no other takes its place in memory
    found: list[tuple[nn.Conv2d, _Norm]] = []

    def note_output(conv: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        returned[id(output)] = conv, output

    def note_input(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(norm, _Norm) and id(inputs[0]) in returned:
            found.append((returned.pop(id(inputs[0]))[0], norm))

    if not any(isinstance(module, _Norm) for module in tower.modules()):
        return 0
    hooks = [m.register_forward_hook(note_output) for m in tower.modules() if isinstance(m, nn.Conv2d)]
    hooks += [m.register_forward_pre_hook(note_input) for m in tower.modules() if isinstance(m, _Norm)]
    try:
        tower(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    for conv, norm in found:
        _fold(conv, norm)
    replaced = {norm for _, norm in found}
    for parent in list(tower.modules()):
        for name, child in parent.named_children():
            if child in replaced:
                setattr(parent, name, _what_is_left(child))
    return len(found)


def _fold(conv: nn.Conv2d, norm: _Norm) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    conv.weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    conv.bias = bias.requires_grad_(False)
    conv.weight.requires_grad_(False)


def _what_is_left(norm: nn.Module) -> nn.Module:
    """What a normalisation does besides normalising: nothing, or timm's activation function, under its own name."""
    return nn.Sequential(OrderedDict(norm.named_children())).eval()
