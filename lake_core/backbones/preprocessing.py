"""Canvases with images on them, as a model takes them: normalised as in training, on its device."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from lake_core.backbones.patch_grid import Placement


def normalised(
    canvases: Tensor, placements: Sequence[Placement], mean: tuple[float, ...], std: tuple[float, ...]
) -> Tensor:
    """Canvases as the model's input, on their device.

    In torchvision's order of operations: for a squash the result equals open_clip's own preprocessing bit for bit.

    Args:
        canvases: (n, input_height, input_width, 3) uint8.
        placements: Where each image lies.
        mean, std: Per channel, on the scale 0..1.
    Returns:
        (n, 3, input_height, input_width) float32; 0, the mean colour, outside of the images.
    """
    mean_311, std_311 = _per_channel(mean, canvases.device), _per_channel(std, canvases.device)
    inputs = canvases.permute(0, 3, 1, 2).contiguous().float().div_(255).sub_(mean_311).div_(std_311)
    for pixels, placement in zip(inputs, placements, strict=True):
        if placement.fills_input:
            continue
        pixels[:, : placement.top] = 0
        pixels[:, placement.top + placement.height :] = 0
        pixels[:, :, : placement.left] = 0
        pixels[:, :, placement.left + placement.width :] = 0
    return inputs


@lru_cache(maxsize=32)
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """(3, 1, 1) float32; kept, because a copy to a GPU waits for all work that is under way there."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)
