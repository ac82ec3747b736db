"""WinCLIP, zero-shot: windows of patches against the two text directions.

Jeong et al., "WinCLIP: Zero-/Few-Shot Anomaly Classification and Segmentation", CVPR 2023, arXiv 2303.14814.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.patch_grid import PatchGrid
from lake_core.baselines.base import Baseline
from lake_core.config import TextConfig
from lake_core.data.images import InputImage
from lake_core.detector.batch import BatchScores
from lake_core.detector.text import text_directions
from lake_core.types import HookPoint, Progress

_SIDES = (2, 3)
"""Of the small and the middle windows, in patches; the largest one is the whole image."""


class WinClip(Baseline):
    """Windows of 2 x 2 and 3 x 3 patches and the whole image, each with its probability of "anomalous".

    The probability is the softmax of the model's scaled cosines to the two text directions. A patch takes the harmonic
    mean over the windows of one size that cover it, then over the three sizes. The image score is the probability of
    the whole image. No normal image has a part in it.

    Departures: a window's vector is the mean of its patches' directions in the joint space, scaled to length 1, where
    the paper encodes the image anew with all else masked; prompts are those of LAKE's configuration; the few-shot
    version, which adds the distance to normal patches, is not included.

    Attributes:
        directions_: (2, joint) float32, "normal" and "anomalous", vectors of length 1.
    """

    name = "winclip"
    title = "WinCLIP (zero-shot)"
    directions_: Tensor

    @classmethod
    def why_not(cls, backbone: Backbone) -> str | None:
        return "it has no patch directions in the joint space" if backbone.joint_hook_point is None else None

    @property
    def hook_points(self) -> frozenset[HookPoint]:
        return self.backbone.text_hook_points

    @property
    def grid(self) -> PatchGrid:
        return self.backbone.grid(self._joint)

    @property
    def _joint(self) -> HookPoint:
        return HookPoint(len(self.backbone.layers), "joint")

    def fit(self, store: FeatureStore, normals: Sequence[InputImage], on_progress: Progress | None = None) -> Self:
        directions = text_directions(self.backbone.encode_text, self.config.part(TextConfig))
        self.directions_ = torch.stack(directions).to(self.backbone.device)
        return self

    def scored(self, acts: Mapping[HookPoint, Tensor], inside_ip: Tensor) -> BatchScores:
        whole = self._inverse(acts[self.backbone.image_hook_point][:, 0])
        directions = acts[self._joint] * inside_ip[:, :, None]
        maps = directions.transpose(1, 2).unflatten(2, (self.grid.rows, self.grid.cols))
        total = whole[:, None, None].expand(-1, self.grid.rows, self.grid.cols)
        for side in _SIDES:
            window = min(side, self.grid.rows), min(side, self.grid.cols)
            vectors = F.normalize(F.avg_pool2d(maps, window, stride=1), dim=1)
            total = total + mean_over_windows(self._inverse(vectors.movedim(1, -1)), window)
        map_ip = ((len(_SIDES) + 1) / total).flatten(1).float()
        return BatchScores(1 / whole, map_ip)

    def _inverse(self, vectors: Tensor) -> Tensor:
        """(...) float64 >= 1: 1 over the probability of "anomalous", of which harmonic means are made.

        Args:
            vectors: (..., joint) float32 of length 1.
        """
        normal, anomalous = (vectors @ self.directions_.T).double().unbind(-1)
        return 1 + (self.backbone.logit_scale * (normal - anomalous)).exp()


def mean_over_windows(values: Tensor, window: tuple[int, int]) -> Tensor:
    """For each patch the mean over the windows that cover it.

    Args:
        values: (n_images, rows - height + 1, cols - width + 1) float64, one for each window.
        window: (height, width) in patches.
    Returns:
        (n_images, rows, cols) float64.
    """
    height, width = window
    around = (width - 1, width - 1, height - 1, height - 1)
    ones = torch.ones_like(values[:1])
    sums, counts = (F.avg_pool2d(F.pad(one, around)[:, None], window, stride=1)[:, 0] for one in (values, ones))
    return sums / counts
