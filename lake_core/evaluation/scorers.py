"""Everything that scores a batch of test images: LAKE's detectors in one shared search, each baseline by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.patch_grid import Placement
from lake_core.baselines.base import Baseline
from lake_core.detector.batch import BatchScorer, BatchScores, Variant
from lake_core.evaluation.timing import Timed
from lake_core.types import HookPoint

Scored: TypeAlias = Variant | Baseline
"""What gives one run its scores, fitted."""


@dataclass(frozen=True)
class Lap:
    """Work that several runs share equally."""

    timed: Timed
    n_sharing: int

    @property
    def seconds(self) -> float:
        """Of each run; on a GPU to be read when its work is done."""
        return self.timed.seconds / self.n_sharing


class Scorers:
    """All that score the test images of one category.

    Args:
        scored: Any number of variants, whose detectors have the same layers, site, smoothing and normalisation, and of
            baselines, in any order.
        store: Holds the normal images' activations.
    """

    def __init__(self, scored: Sequence[Scored], store: FeatureStore) -> None:
        self.store = store
        self._scored = tuple(scored)
        self._lake = BatchScorer([one for one in scored if isinstance(one, Variant)], store)

    def __len__(self) -> int:
        return len(self._scored)

    def score(
        self, acts: Mapping[HookPoint, Tensor], placements: Sequence[Placement]
    ) -> tuple[list[BatchScores], list[Lap]]:
        """Scores and maps of the images by each, and what that took.

        Args:
            acts: Hook point -> (n_images, n_patches, n_neurons) from `Backbone.forward(..., stay=True)`.
            placements: Where each image lies in the model's input.
        """
        device = self.store.backbone.device
        with Timed(device) as timed:
            of_variants = iter(self._lake.score(acts, placements))
        shared = Lap(timed, max(1, len(self._lake.detectors)))
        found: list[BatchScores] = []
        laps: list[Lap] = []
        for one in self._scored:
            if isinstance(one, Variant):
                found.append(next(of_variants))
                laps.append(shared)
            else:
                with Timed(device) as own:
                    found.append(one.score(acts, placements))
                laps.append(Lap(own, 1))
        return found, laps
