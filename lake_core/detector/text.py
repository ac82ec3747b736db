"""The text side: the two text directions, and the calibration of the text map (docs/method.md, section 3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid
from lake_core.config import TextConfig

_ROUNDING = 1e-5
"""Cosines that differ by less are equal but for float32 rounding."""


class TextDirections(NamedTuple):
    """Two vectors of length 1 in the joint space, each (joint,) float32."""

    normal: Tensor
    anomalous: Tensor


@dataclass(frozen=True, eq=False)
class TextCalibration:
    """What was learned for the text map from the normal images.

    Attributes:
        directions: The two text directions.
        grid: Grid of the patch directions.
        m50, m99: Median and calibration quantile of the margin over normal patches; m99 > m50.
        own_margin: (n_normals, n_patches) float32.
    """

    directions: TextDirections
    grid: PatchGrid
    m50: float
    m99: float
    own_margin: Tensor = field(repr=False)


def text_directions(encode_text: Callable[[Sequence[str]], Tensor], config: TextConfig) -> TextDirections:
    """The two text directions of an ensemble: the normalised mean of the normalised embeddings of its prompts.

    Args:
        encode_text: Takes n texts, returns (n, joint) float32 rows of length 1; `Backbone.encode_text`.
        config: The prompts, and what the images show.
    """
    normal = config.prompts.normal_texts(config.object_name)
    anomalous = config.prompts.anomalous_texts(config.object_name)
    rows = encode_text([*normal, *anomalous])
    means = torch.stack([rows[: len(normal)].mean(0), rows[len(normal) :].mean(0)])
    return TextDirections(*F.normalize(means, dim=-1))


def margins(joint: Tensor, directions: TextDirections) -> Tensor:
    """cos(patch, anomalous) - cos(patch, normal).

    Args:
        joint: (..., joint) float32, vectors of length 1.
    Returns:
        (...) float32 in [-2, 2].
    """
    return joint @ (directions.anomalous - directions.normal)


def margin_range(margins: np.ndarray, calibration_quantile: float) -> tuple[np.ndarray, np.ndarray]:
    """Median and calibration quantile of margins (..., n), each (...); they are equal where only rounding differs."""
    m50, m99 = np.quantile(margins, [0.5, calibration_quantile], axis=-1)
    return m50, np.where(m99 - m50 <= _ROUNDING, m50, m99)


def calibrated(margin: Tensor, m50: Tensor | float, m99: Tensor | float) -> Tensor:
    """Margins on the scale of the text map: 0 at or below the median of normal patches, 1 at m99; m99 > m50."""
    return ((margin - m50) / (m99 - m50)).clamp(min=0)


def fit_text(
    joint_ipe: Tensor, inside_ip: Tensor, directions: TextDirections, grid: PatchGrid, calibration_quantile: float
) -> TextCalibration | None:
    """Calibrates the text map on the normal images.

    Args:
        joint_ipe: (n_images, n_patches, joint) float32 patch directions of length 1.
        inside_ip: (n_images, n_patches) bool, patches that lie on the image.
        directions: The two text directions.
        grid: Of the patch directions.
        calibration_quantile: Quantile of the margins that becomes m99.
    Returns:
        The calibration, or None where the margins of normal patches do not differ by more than rounding.
    """
    own = margins(joint_ipe, directions)
    m50, m99 = margin_range(own[inside_ip].numpy(), calibration_quantile)
    return TextCalibration(directions, grid, float(m50), float(m99), own) if m99 > m50 else None
