"""Position embeddings of CLIP's own ViTs, fitted to another input size when the weights are there.

open_clip fits them while it loads weights, in the precision in which these are stored, and PyTorch does not interpolate
in half precision on a CPU.
"""

from typing import Any

from torch import nn

from lake_core.backbones.libraries import open_clip

_NAME = "visual.positional_embedding"


def fit_positions(model: Any, image_size: int) -> None:
    """Lets a model with CLIP's own ViT take square images of another size, as if it had been loaded for it.

    Args:
        model: In float32, changed in place.
        image_size: Side in pixels.
    """
    visual = model.visual
    rows, cols = visual.patch_size
    visual.image_size, visual.grid_size = (image_size, image_size), (image_size // rows, image_size // cols)
    weights = {_NAME: visual.positional_embedding.detach()}
    open_clip.model.resize_pos_embed(weights, model)
    visual.positional_embedding = nn.Parameter(weights[_NAME])
