"""PatchCore: distance to a coreset of the normal patches.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022, arXiv 2106.08265.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.baselines.base import Baseline
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.batch import BatchScores
from lake_core.detector.coreset import k_center
from lake_core.detector.search import FloatBank, Geometry
from lake_core.types import HookPoint, Progress


class PatchCore(Baseline):
    """Features averaged over 3 x 3 patches; a tenth of the normal ones, spread far apart, is the memory bank.

    A patch is scored by its Euclidean distance to the nearest of them. The image score is the greatest such distance,
    times 1 less the softmax weight of the nearest bank patch among that one's nearest in the bank (the paper's eq. 7).

    Departures: distances for the choice of the bank are exact, not randomly projected; features are not reduced to 1024
    numbers; layers of a coarser grid are not interpolated; at the border a mean is over the patches that exist.

    Args:
        backbone, config: As for `Baseline`; the seed picks the first patch of the bank.
        share: Of the normal patches that are kept, in (0, 1]; at least one patch.
        n_neighbours: Bank patches, the nearest one included, that the image score is weighed by; 1 leaves it unweighed.

    Attributes:
        bank_: The patches that are kept.
    """

    name = "patchcore"
    title = "PatchCore"
    smooth = 3
    bank_: FloatBank

    def __init__(
        self, backbone: Backbone, config: LakeConfig | None = None, share: float = 0.1, n_neighbours: int = 9
    ) -> None:
        super().__init__(backbone, config)
        self.share = share
        self.n_neighbours = n_neighbours

    def fit(self, store: FeatureStore, normals: Sequence[InputImage], on_progress: Progress | None = None) -> Self:
        patches = self.normal_patches(store, normals)
        first = int(np.random.default_rng(self.config.seed).integers(len(patches)))
        kept = k_center(patches, max(1, int(self.share * len(patches))), first, on_progress)
        self.bank_ = FloatBank(patches[kept], Geometry(self.grid, self.smooth, "none"))
        return self

    def scored(self, acts: Mapping[HookPoint, Tensor], inside_ip: Tensor) -> BatchScores:
        features = self.features(acts)
        distance, row = self.bank_.nearest(self.bank_.as_vectors(features.flatten(0, 1)))
        map_ip, row_ip = distance.sqrt().view(inside_ip.shape), row.view(inside_ip.shape)
        patch = map_ip.masked_fill(~inside_ip, -torch.inf).argmax(1, keepdim=True)
        greatest = map_ip.gather(1, patch)[:, 0]
        image = torch.arange(len(features), device=features.device)
        weight = self._weight(features[image, patch[:, 0]], row_ip.gather(1, patch)[:, 0], greatest)
        return BatchScores(weight.double() * greatest.double(), map_ip)

    def _weight(self, patches: Tensor, nearest: Tensor, distance: Tensor) -> Tensor:
        """(n,) float32 in [0, 1]: how much a patch counts, less where it is as near to its neighbour's neighbours.

        Args:
            patches: (n, n_features) float32.
            nearest: (n,) int64, the bank patch nearest to each.
            distance: (n,) float32, how far that is.
        """
        rows = self.bank_.rows
        n_neighbours = min(self.n_neighbours, len(rows))
        if n_neighbours < 2:
            return torch.ones_like(distance)
        table = self.bank_.without_own_square(self.bank_.as_vectors(rows[nearest]))
        around = rows[table.topk(n_neighbours, dim=1, largest=False).indices]
        distances = torch.linalg.vector_norm(patches[:, None] - around, dim=2)
        weight: Tensor = 1 - (distance - distances.logsumexp(1)).exp()
        return weight
