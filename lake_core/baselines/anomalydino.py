"""AnomalyDINO: cosine distance to the nearest of all normal patches.

Damm et al., "AnomalyDINO: Boosting Patch-based Few-shot Anomaly Detection with DINOv2", WACV 2025, arXiv 2405.14529.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from lake_core.backbones.feature_store import FeatureStore
from lake_core.baselines.base import Baseline, top_percent
from lake_core.data.images import InputImage
from lake_core.detector.batch import BatchScores
from lake_core.detector.search import most_compared
from lake_core.types import HookPoint, Progress


class AnomalyDino(Baseline):
    """Every normal patch is kept, its features scaled to length 1; a patch is scored by 1 - cos to the nearest of them.

    The image score is the mean of the top 1 % of the patches.

    Departures: the backbone is this project's, not DINOv2; the normal images are turned only where it is asked for, and
    then by quarters, not by steps of 45 degrees, before they are fitted into the model's input; the background is not
    masked.

    Attributes:
        bank_: (m, n_features) float32, vectors of length 1.
    """

    name = "anomalydino"
    title = "AnomalyDINO"
    learns_turned = True
    bank_: Tensor

    def fit(self, store: FeatureStore, normals: Sequence[InputImage], on_progress: Progress | None = None) -> Self:
        self.bank_ = F.normalize(self.normal_patches(store, normals), dim=1)
        return self

    def scored(self, acts: Mapping[HookPoint, Tensor], inside_ip: Tensor) -> BatchScores:
        patches = F.normalize(self.features(acts), dim=2).flatten(0, 1)
        at_once = max(1, most_compared(patches) // len(self.bank_))
        cosine = torch.cat([(part @ self.bank_.T).amax(1) for part in patches.split(at_once)])
        map_ip = (1 - cosine).clamp(min=0).view(inside_ip.shape)
        return BatchScores(top_percent(map_ip, inside_ip), map_ip)
