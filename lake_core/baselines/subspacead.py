"""SubspaceAD: what a PCA of the normal patches leaves unexplained.

Lendering et al., "SubspaceAD: Training-Free Few-Shot Anomaly Detection via Subspace Modeling", CVPR 2026, arXiv
2602.23013.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.baselines.base import Baseline, top_percent
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.batch import BatchScores
from lake_core.types import HookPoint, Progress


class SubspaceAd(Baseline):
    """The principal components of the normal patches that hold 99 % of their variance span what is normal.

    A patch is scored by its squared distance from that subspace, an image by the mean of the top 1 % of its patches.

    Departures: the backbone is this project's, not DINOv2; several layers are concatenated, not averaged, as they may
    differ in width; the normal images are turned only where it is asked for, by quarters, not by 30 random angles,
    before they are fitted into the model's input; maps are not blurred.

    Args:
        backbone, config: As for `Baseline`.
        variance: The share of the variance that the components hold, in (0, 1].

    Attributes:
        mean_: (n_features,) float32.
        components_: (n_features, n_components) float32, orthonormal columns; none where nothing varies.
    """

    name = "subspacead"
    title = "SubspaceAD"
    learns_turned = True
    mean_: Tensor
    components_: Tensor

    def __init__(self, backbone: Backbone, config: LakeConfig | None = None, variance: float = 0.99) -> None:
        super().__init__(backbone, config)
        self.variance = variance

    def fit(self, store: FeatureStore, normals: Sequence[InputImage], on_progress: Progress | None = None) -> Self:
        patches = self.normal_patches(store, normals).double()
        mean = patches.mean(0)
        self.mean_ = mean.float()
        self.components_ = principal_components(patches - mean, self.variance).float()
        return self

    def scored(self, acts: Mapping[HookPoint, Tensor], inside_ip: Tensor) -> BatchScores:
        differences = self.features(acts) - self.mean_
        map_ip = (differences - differences @ self.components_ @ self.components_.T).square().sum(2)
        return BatchScores(top_percent(map_ip, inside_ip), map_ip)


def principal_components(centred: Tensor, share: float) -> Tensor:
    """The fewest principal components that hold a share of the variance.

    Args:
        centred: (m, k) float64 of mean 0.
        share: In (0, 1].
    Returns:
        (k, n) float64, orthonormal columns, greatest variance first.
    """
    m, k = centred.shape
    is_tall = m >= k  # else the products of patches are the smaller table, with the same variances
    table = centred.T @ centred if is_tall else centred @ centred.T
    values, vectors = (found.flip(-1) for found in torch.linalg.eigh(table))
    running = values.clamp(min=0).cumsum(0)
    if not running[-1] > 0:
        return centred.new_zeros(k, 0)
    n = min(int((running < share * running[-1]).sum()) + 1, len(values))
    kept: Tensor = vectors[:, :n]
    return kept if is_tall else F.normalize(centred.T @ kept, dim=0)
