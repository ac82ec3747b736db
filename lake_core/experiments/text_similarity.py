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

from lake_core.backbones.hooks import Place
from lake_core.backbones.patch_grid import PatchGrid, Placement, coarse_of_fine
from lake_core.data.images import Picture
from lake_core.detector.lake import TEXT_LEFT_OUT, Lake
from lake_core.detector.memory_bank import margins
from lake_core.detector.scoring import Witnesses, cross_modal_map
from lake_core.errors import ConfigError, LakeError
from lake_core.prompts import PromptEnsemble, text_directions

_ROUNDING = 1e-5


class Probabilities(NamedTuple):
    """Softmax probability of "anomalous" against "normal", for a patch and for the whole picture."""

    patch: float
    picture: float


@dataclass(frozen=True, eq=False)
class TextMap:
    """The similarity of a picture's patches with a text.

    Attributes:
        text: The text.
        grid: Grid of the patch directions, which may be coarser than that of the score's maps.
        placement: Where the picture lies in the model's input.
        cosine: (rows, cols) float32 in [-1, 1]; NaN where a patch is not on the picture.
        relative: (rows, cols) float32, (cosine - m50) / (m99 - m50): 0 is the median of the normal patches, 1 their
            calibration quantile; negative values are less like the text than that. None where all normal patches
            sound the same.
        m50, m99: Median and calibration quantile (default 0.99) of the cosine over the normal patches.
        cos_picture: Cosine of the whole picture with the text.
    """

    text: str
    grid: PatchGrid
    placement: Placement
    cosine: np.ndarray = field(repr=False)
    relative: np.ndarray | None = field(repr=False)
    m50: float
    m99: float
    cos_picture: float


def prompt_table(lake: Lake, picture: Picture, patch: int | None = None) -> pd.DataFrame:
    """Every prompt in use, with its similarity to a patch and to the whole picture.

    Args:
        lake: Fitted.
        picture: Any picture.
        patch: Index into the flattened fused map; None takes the deciding patch.
    Returns:
        Columns state ("normal" or "anomalous"), phrase and template (each with its `{}`), prompt (the whole text),
        cos_patch, cos_picture (float64 in [-1, 1]).
    Raises:
        LakeError: if the backbone has no patch directions.
    """
    joint = joint_of_patch(lake, picture, patch)
    prompts, name = lake.config.prompts, lake.config.object_name
    states = [("normal", phrase) for phrase in prompts.normal_states]
    states += [("anomalous", phrase) for phrase in prompts.anomalous_states]
    table = pd.DataFrame(
        [(state, phrase, template) for state, phrase in states for template in prompts.templates],
        columns=["state", "phrase", "template"],
    )
    table["prompt"] = [*prompts.normal_texts(name), *prompts.anomalous_texts(name)]
    rows = lake.backbone.encode_text(table["prompt"].tolist())
    image = lake.store.get(picture, lake.backbone.image_place)[0]
    return table.assign(
        cos_patch=(rows @ joint).numpy().astype(float), cos_picture=(rows @ image).numpy().astype(float)
    )


def reworded(lake: Lake, prompts: PromptEnsemble | None = None, object_name: str | None = None) -> Lake:
    """A detector that learned the same and asks with other words; equal to one fitted with them.

    Galleries and selections are shared; only the text part is learned anew, from the normal pictures' stored patch
    directions.

    Args:
        lake: Fitted.
        prompts: Other prompts; None keeps them.
        object_name: Another name of what the pictures show; None keeps it.
    Raises:
        LakeError: if the backbone has no patch directions.
    """
    normality = lake._fitted()
    joint_place(lake)
    other = copy(lake)
    other.config = replace(
        lake.config,
        prompts=lake.config.prompts if prompts is None else prompts,
        object_name=lake.config.object_name if object_name is None else object_name,
    )
    warnings = [warning for warning in normality.warnings if not warning.startswith(TEXT_LEFT_OUT)]
    text = other._fit_text(lake.normals_, warnings)
    return other.with_normality(replace(normality, text=text, warnings=tuple(warnings)))


def reworded_witnesses(lake: Lake, witnesses: Witnesses) -> Witnesses:
    """What both witnesses say in the words of `lake`: the visual part as it is, the text part measured again.

    Args:
        lake: From `reworded`.
        witnesses: What the detector measured from which `lake` was made; of the picture itself, not of an experiment.
    """
    normality = lake._fitted()
    if normality.text is None:
        return replace(witnesses, cross_modal=None, margin=None, image_probability=None)
    directions = normality.text.directions
    margin = margins(lake.store.get(witnesses.picture, joint_place(lake)), directions)
    image = lake.store.get(witnesses.picture, lake.backbone.image_place)[0]
    return replace(
        witnesses,
        cross_modal=cross_modal_map(normality, margin),
        margin=margin.numpy(),
        image_probability=lake._image_probability(image, directions),
    )


def text_map(lake: Lake, picture: Picture, text: str) -> TextMap:
    """How much each patch of a picture is like a text, as it is and beside the normal patches.

    Raises:
        ConfigError: if the text is empty.
        LakeError: if the backbone has no patch directions.
    """
    words = " ".join(text.split())
    if not words:
        raise ConfigError("The text is empty; type a phrase, as in 'a scratch on metal'.")
    lake._fitted()
    place = joint_place(lake)
    lake.store.ensure([picture], lake.backbone.text_places)
    direction = lake.backbone.encode_text([words])[0]
    grid, placement = lake.backbone.grid(place), lake.backbone.placement(picture)
    normals_ipe = torch.stack([lake.store.get(normal, place) for normal in lake.normals_])
    normal = (normals_ipe @ direction)[lake._inside(lake.normals_, place)]
    m50, m99 = np.quantile(normal.numpy(), [0.5, lake.config.calibration_quantile])
    cosine = (lake.store.get(picture, place) @ direction).numpy()
    cosine = np.where(grid.inside(placement), cosine, np.nan).astype(np.float32).reshape(grid.rows, grid.cols)
    relative = ((cosine - m50) / (m99 - m50)).astype(np.float32) if m99 - m50 > _ROUNDING else None
    whole = float(lake.store.get(picture, lake.backbone.image_place)[0] @ direction)
    return TextMap(words, grid, placement, cosine, relative, float(m50), float(m99), whole)


def anomalous_probability(lake: Lake, picture: Picture, patch: int | None = None) -> Probabilities:
    """Zero-shot probability of "anomalous", by the patch route and by the whole picture; never part of a score.

    Args:
        lake: Fitted.
        picture: Any picture.
        patch: Index into the flattened fused map; None takes the deciding patch.
    Raises:
        LakeError: if the backbone has no patch directions.
    """
    joint = joint_of_patch(lake, picture, patch)
    directions = text_directions(lake.backbone.encode_text, lake.config.prompts, lake.config.object_name)
    image = lake.store.get(picture, lake.backbone.image_place)[0]
    return Probabilities(*(lake._image_probability(vector, directions) for vector in (joint, image)))


def joint_place(lake: Lake) -> Place:
    """Where the patch directions are.

    Raises:
        LakeError: if the backbone has none.
    """
    place = lake.backbone.joint_place
    if place is None:
        raise LakeError(
            f"The head of {lake.backbone.spec} does not act on single patches, so no patch can be compared with words; "
            "choose another backbone."
        )
    return place


def joint_of_patch(lake: Lake, picture: Picture, patch: int | None) -> Tensor:
    """(joint,) float32 of length 1: the direction under a patch of the fused map, or under the deciding one.

    Raises:
        ValueError: if the patch is not on the picture.
    """
    normality, place = lake._fitted(), joint_place(lake)
    lake.store.ensure([picture], lake.places)
    if patch is None:
        patch = lake.score(picture).patch
    inside = normality.grid.inside(lake.backbone.placement(picture))
    if not (0 <= patch < len(inside) and inside[patch]):
        raise ValueError(f"patch {patch} is not on the picture {picture.name}")
    joint: Tensor = lake.store.get(picture, place)[coarse_of_fine(normality.grid, lake.backbone.grid(place))[patch]]
    return joint
