"""Whether the decomposition of a score adds up with a model, measured on a real image."""

from collections.abc import Sequence

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.checks import TOLERANCE, Check
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake


def decomposition(backbone: Backbone, normals: Sequence[InputImage], image: InputImage) -> Check:
    """The sum of an image's contributions against its score, with the model's recommended parameters.

    Args:
        backbone: The model to check.
        normals: At least two normal images.
        image: An image of the same kind of object.
    """
    lake = Lake(backbone).fit(normals)
    result = lake.explain(image)
    contributions = result.contributions()
    total = float(contributions["contribution"].sum())
    difference = abs(total - result.score) / max(abs(result.score), 1e-12)
    return Check(
        "Decomposition",
        difference <= TOLERANCE,
        f"{len(contributions)} contributions add up to {total:.6f}, the score of {image.name} is {result.score:.6f}: "
        f"relative difference {difference:.2g}",
    )
