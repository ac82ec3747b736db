"""What the words do: similarities of prompts and of any text, and detectors that ask with other words.

Everything is computed from stored joint activations; only texts that were not met before run through the text tower.
"""

from copy import copy
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid, Placement, coarse_of_fine
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.memory_bank import margins
from lake_core.detector.scoring import PatchScores, text_map
from lake_core.errors import ConfigError, LakeError
from lake_core.findings import FitWarning, TextLeftOut
from lake_core.prompts import PromptEnsemble, text_directions
from lake_core.types import HookPoint

_ROUNDING = 1e-5


class Probabilities(NamedTuple):
    """Softmax probability of "anomalous" against "normal", for a patch and for the whole image."""

    patch: float
    image: float


@dataclass(frozen=True, eq=False)
class PhraseMap:
    """The similarity of a image's patches with a text.

    Attributes:
        text: The text.
        grid: Grid of the patch directions, which may be coarser than that of the score's maps.
        placement: Where the image lies in the model's input.
        cosine: (rows, cols) float32 in [-1, 1]; NaN where a patch is not on the image.
        relative: (rows, cols) float32, (cosine - m50) / (m99 - m50): 0 is the median of the normal patches, 1 their
            calibration quantile; negative values are less like the text than that. None where all normal patches
            sound the same.
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


def with_prompts(lake: Lake, prompts: PromptEnsemble | None = None, object_name: str | None = None) -> Lake:
    """A detector that learned the same and asks with other words; equal to one fitted with them.

    Memory banks and selections are shared; only the text part is learned anew, from the normal images' stored patch
    directions.

    Args:
        lake: Fitted.
        prompts: Other prompts; None keeps them.
        object_name: Another name of what the images show; None keeps it.
    Raises:
        LakeError: if the backbone has no patch directions.
    """
    memory_bank = lake.fitted()
    joint_hook_point(lake)
    other = copy(lake)
    other.config = replace(
        lake.config,
        prompts=lake.config.prompts if prompts is None else prompts,
        object_name=lake.config.object_name if object_name is None else object_name,
    )
    warnings: list[FitWarning] = [warning for warning in memory_bank.warnings if not isinstance(warning, TextLeftOut)]
    text = other._fit_text(lake.normals_, warnings)
    return other.with_memory_bank(replace(memory_bank, text=text, warnings=tuple(warnings)))


def patch_scores_with_prompts(lake: Lake, patch_scores: PatchScores) -> PatchScores:
    """What both witnesses say in the words of `lake`: the visual part as it is, the text part measured again.

    Args:
        lake: From `with_prompts`.
        witnesses: What the detector measured from which `lake` was made; of the image itself, not of an experiment.
    """
    memory_bank = lake.fitted()
    if memory_bank.text is None:
        return replace(patch_scores, text=None, margin=None, image_probability=None)
    directions = memory_bank.text.directions
    margin = margins(lake.store.get(patch_scores.image, joint_hook_point(lake)), directions)
    image = lake.store.get(patch_scores.image, lake.backbone.image_hook_point)[0]
    return replace(
        patch_scores,
        text=text_map(memory_bank, margin),
        margin=margin.numpy(),
        image_probability=lake.image_probability(image, directions),
    )


def phrase_map(lake: Lake, image: InputImage, text: str) -> PhraseMap:
    """How much each patch of a image is like a text, as it is and beside the normal patches.

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
    normals_ipe = torch.stack([lake.store.get(normal, hook_point) for normal in lake.normals_])
    normal = (normals_ipe @ direction)[lake.backbone.inside(lake.normals_, hook_point)]
    m50, m99 = np.quantile(normal.numpy(), [0.5, lake.config.calibration_quantile])
    cosine = (lake.store.get(image, hook_point) @ direction).numpy()
    cosine = np.where(grid.inside(placement), cosine, np.nan).astype(np.float32).reshape(grid.rows, grid.cols)
    relative = ((cosine - m50) / (m99 - m50)).astype(np.float32) if m99 - m50 > _ROUNDING else None
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
    directions = text_directions(lake.backbone.encode_text, lake.config.prompts, lake.config.object_name)
    whole = lake.store.get(image, lake.backbone.image_hook_point)[0]
    return Probabilities(*(lake.image_probability(vector, directions) for vector in (joint, whole)))


def joint_hook_point(lake: Lake) -> HookPoint:
    """Where the patch directions are.

    Raises:
        LakeError: if the backbone has none.
    """
    hook_point = lake.backbone.joint_hook_point
    if hook_point is None:
        raise LakeError(
            f"The head of {lake.backbone.spec} does not act on single patches, so no patch can be compared with words; "
            "choose another backbone."
        )
    return hook_point


def joint_of_patch(lake: Lake, image: InputImage, patch: int | None) -> Tensor:
    """(joint,) float32 of length 1: the direction under a patch of the fused map, or under the deciding one.

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
