"""Images scored one after the other and let go: nothing of them stays in the feature store."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult


def explain_once(lake: Lake, images: Sequence[InputImage], pixels: Sequence[Tensor]) -> list[ImageResult]:
    """The results that `Lake.explain_all` gives, with the network run on all of the images at once.

    Args:
        lake: Fitted.
        images: As many as go into one forward pass.
        pixels: Of each image, from `Backbone.prepare`: (3, height, width) float32.
    Raises:
        NotFittedError: before `fit`.
    """
    lake.fitted()
    if not images:
        return []
    acts = lake.backbone.forward(torch.stack(list(pixels)), lake.hook_points)
    return [
        lake.aggregate(lake.compute_maps_from(image, {hook_point: rows[i] for hook_point, rows in acts.items()}))
        for i, image in enumerate(images)
    ]
