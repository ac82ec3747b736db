"""What the text side responds to: similarities of prompts and of any phrase with patches and with the whole image.

Everything is computed from stored patch directions; only texts that were not met before run through the text tower.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid, Placement, coarse_of_fine
from lake_core.config import TextConfig
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.text import margin_range, text_directions
from lake_core.errors import ConfigError, LakeError
from lake_core.types import HookPoint


class Probabilities(NamedTuple):
    """Softmax probability of "anomalous" against "normal", for a patch and for the whole image."""

    patch: float
    image: float


@dataclass(frozen=True, eq=False)
class PhraseMap:
    """The similarity of an image's patches with a text.

    Attributes:
        grid: Grid of the patch directions, which may be coarser than that of the score's maps.
        placement: Where the image lies in the model's input.
        cosine: (rows, cols) float32 in [-1, 1]; NaN where a patch is not on the image.
        relative: (rows, cols) float32, (cosine - m50) / (m99 - m50): 0 is the median of the normal patches, 1 their
            calibration quantile; negative values are less similar to the text than that. None where all normal patches
            are equally similar.
        m50, m99: Median and calibration quantile (default 0.99) of the cosine over the normal patches.
        cos_image: Cosine of the whole image with the text.
    """

    text: str
    grid: PatchGrid
    placement: Placement
    cosine: np.ndarray = field(repr=False)
    relative: np.ndarray | None = field(repr=False)
    m50: float
    m99: float
    cos_image: float


def prompt_table(lake: Lake, image: InputImage, patch: int | None = None) -> pd.DataFrame:
    """Every prompt in use, with its similarity to a patch and to the whole image.

    Args:
        lake: Fitted.
        image: Any image.
        patch: Index into the flattened fused map; None takes the max-scoring patch.
    Returns:
        Columns state ("normal" or "anomalous"), phrase and template (each with its `{}`), prompt (the whole text),
        cos_patch, cos_image (float64 in [-1, 1]).
    Raises:
        LakeError: if the backbone has no patch directions.
    """
    joint = joint_of_patch(lake, image, patch)
    prompts, name = lake.config.prompts, lake.config.object_name
    states = [("normal", phrase) for phrase in prompts.normal_states]
    states += [("anomalous", phrase) for phrase in prompts.anomalous_states]
    table = pd.DataFrame(
        [(state, phrase, template) for state, phrase in states for template in prompts.templates],
        columns=["state", "phrase", "template"],
    )
    table["prompt"] = [*prompts.normal_texts(name), *prompts.anomalous_texts(name)]
    rows = lake.backbone.encode_text(table["prompt"].tolist())
    whole = lake.store.get(image, lake.backbone.image_hook_point)[0]
    return table.assign(cos_patch=(rows @ joint).numpy().astype(float), cos_image=(rows @ whole).numpy().astype(float))


def phrase_map(lake: Lake, image: InputImage, text: str) -> PhraseMap:
    """How similar each patch of an image is to a text, absolutely and relative to the normal patches.

    Raises:
        ConfigError: if the text is empty.
        LakeError: if the backbone has no patch directions.
    """
    words = " ".join(text.split())
    if not words:
        raise ConfigError("The text is empty; type a phrase, as in 'a scratch on metal'.")
    lake.fitted()
    hook_point = joint_hook_point(lake)
    lake.store.ensure([image], lake.backbone.text_hook_points)
    direction = lake.backbone.encode_text([words])[0]
    grid, placement = lake.backbone.grid(hook_point), lake.backbone.placement(image)
    normal = lake.store.patches(lake.normals_, hook_point).on_image() @ direction
    m50, m99 = margin_range(normal.numpy(), lake.config.calibration_quantile)
    cosine = (lake.store.get(image, hook_point) @ direction).numpy()
    cosine = np.where(grid.inside(placement), cosine, np.nan).astype(np.float32).reshape(grid.rows, grid.cols)
    relative = ((cosine - m50) / (m99 - m50)).astype(np.float32) if m99 > m50 else None
    whole = float(lake.store.get(image, lake.backbone.image_hook_point)[0] @ direction)
    return PhraseMap(words, grid, placement, cosine, relative, float(m50), float(m99), whole)


def anomalous_probability(lake: Lake, image: InputImage, patch: int | None = None) -> Probabilities:
    """Zero-shot probability of "anomalous", by the patch route and by the whole image; never part of a score.

    Args:
        lake: Fitted.
        image: Any image.
        patch: Index into the flattened fused map; None takes the max-scoring patch.
    Raises:
        LakeError: if the backbone has no patch directions.
    """
    joint = joint_of_patch(lake, image, patch)
    directions = text_directions(lake.backbone.encode_text, lake.config.part(TextConfig))
    whole = lake.store.get(image, lake.backbone.image_hook_point)[0]
    return Probabilities(*(lake.image_probability(vector, directions) for vector in (joint, whole)))


def image_probabilities(lake: Lake, images: Sequence[InputImage]) -> np.ndarray:
    """Zero-shot probabilities of "anomalous" of whole images, (n_images,) float64 in 0 to 1; never part of a score.

    They are not calibrated: compare that of a test image with those of the normal images.
    """
    directions = text_directions(lake.backbone.encode_text, lake.config.part(TextConfig))
    vectors = [lake.store.get(image, lake.backbone.image_hook_point)[0] for image in images]
    return np.array([lake.image_probability(vector, directions) for vector in vectors])


def joint_hook_point(lake: Lake) -> HookPoint:
    """The hook point of the patch directions.

    Raises:
        LakeError: if the backbone has none.
    """
    hook_point = lake.backbone.joint_hook_point
    if hook_point is None:
        raise LakeError(
            f"The head of {lake.backbone.spec} does not act on single patches, so no patch can be compared with text; "
            "choose another backbone."
        )
    return hook_point


def joint_of_patch(lake: Lake, image: InputImage, patch: int | None) -> Tensor:
    """(joint,) float32 of length 1: the direction under a patch of the fused map, or under the max-scoring one.

    Raises:
        ValueError: if the patch is not on the image.
    """
    memory_bank, hook_point = lake.fitted(), joint_hook_point(lake)
    lake.store.ensure([image], lake.hook_points)
    if patch is None:
        patch = lake.explain(image).patch
    inside = memory_bank.grid.inside(lake.backbone.placement(image))
    if not (0 <= patch < len(inside) and inside[patch]):
        raise ValueError(f"patch {patch} is not on the image {image.name}")
    joint: Tensor = lake.store.get(image, hook_point)[
        coarse_of_fine(memory_bank.grid, lake.backbone.grid(hook_point))[patch]
    ]
    return joint
