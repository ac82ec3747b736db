"""What a baseline is, and what several of them share: patch features of all neurons, and the mean of the top 1 %."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.patch_grid import PatchGrid, Placement
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.batch import BatchScores, on_images
from lake_core.detector.memory_bank import finest
from lake_core.detector.scoring import coarse_under
from lake_core.detector.search import Geometry, prepared
from lake_core.errors import LakeError
from lake_core.types import HookPoint, Progress

_FLOATS_AT_ONCE = 2**26
"""Of patch features, so that the memory of a GPU does not depend on the size of its batches."""


class Baseline(ABC):
    """A method fitted on normal images that gives a map and a score for any image, from stored activations alone.

    It reads the backbone at the layers and the site that LAKE's configuration names, but all neurons there. As in
    `Lake`, parameters are in the constructor and what is learned ends in `_`. All of it lies on the backbone's device.

    Args:
        backbone: From `open_backbone`.
        config: Layers, site, object name and prompts; its seed is for methods that draw at random.

    Attributes:
        name: As in `--methods`; also the name of the file.
        title: As shown on screen.
        smooth: Side of the square of patches over which features are averaged, odd; 1 takes them as they are.
        learns_turned: Whether its paper learns from the normal images turned round as well, which is an option here.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    smooth: ClassVar[int] = 1
    learns_turned: ClassVar[bool] = False

    def __init__(self, backbone: Backbone, config: LakeConfig | None = None) -> None:
        self.backbone = backbone
        self.config = (config or LakeConfig()).resolved(backbone.recommended)
        self._layers = [backbone.hook_point(layer, self.config.site) for layer in self.config.layers]

    @classmethod
    def why_not(cls, backbone: Backbone) -> str | None:
        """Why a backbone does not have what the method needs, as "it has no ..."; None where it has."""
        return None

    @property
    def hook_points(self) -> frozenset[HookPoint]:
        """The hook points that this method reads."""
        return frozenset(self._layers)

    @property
    def grid(self) -> PatchGrid:
        """Of the maps: the finest grid of the layers."""
        return finest([self.backbone.grid(hook_point) for hook_point in self._layers])

    @abstractmethod
    def fit(self, store: FeatureStore, normals: Sequence[InputImage], on_progress: Progress | None = None) -> Self:
        """Learns from normal images.

        Args:
            store: Holds their activations; those that it lacks are computed.
            normals: At least one; images with the same bytes count once.
            on_progress: Called while a fit of many steps goes on; may raise to cancel.
        Returns:
            self.
        Raises:
            LakeError: if there is no image.
        """

    @abstractmethod
    def scored(self, acts: Mapping[HookPoint, Tensor], inside_ip: Tensor) -> BatchScores:
        """Scores and maps of a few images; what a map says of patches that lie off the image does not count.

        Args:
            acts: Hook point -> (n_images, n_patches, n_neurons), of any floating type.
            inside_ip: (n_images, n_patches) bool on `grid`, patches that lie on the image.
        """

    @torch.inference_mode()
    def score(self, acts: Mapping[HookPoint, Tensor], placements: Sequence[Placement]) -> BatchScores:
        """Scores and maps of images, as `BatchScorer.score` gives them; higher is more anomalous.

        Args:
            acts: Hook point -> (n_images, n_patches, n_neurons) on the backbone's device.
            placements: Where each image lies in the model's input.
        """
        n_images, device = len(placements), self.backbone.device
        on_image = on_images(self.grid, placements, device)
        inside = torch.ones(n_images, self.grid.n_patches, dtype=torch.bool, device=device)
        inside = inside if on_image is None else on_image
        width = sum(self.backbone.n_neurons(hook_point) for hook_point in self.hook_points)
        at_once = max(1, _FLOATS_AT_ONCE // (self.grid.n_patches * width))
        parts = []
        for start in range(0, n_images, at_once):
            few = slice(start, start + at_once)
            parts.append(self.scored({hook_point: rows[few] for hook_point, rows in acts.items()}, inside[few]))
        maps = torch.cat([part.maps for part in parts])
        return BatchScores(torch.cat([part.scores for part in parts]), maps.masked_fill(~inside, torch.nan))

    def score_images(self, store: FeatureStore, images: Sequence[InputImage]) -> BatchScores:
        """The same of images whose activations are in a store, or else are computed there."""
        store.ensure(images, self.hook_points)
        acts = {hook_point: store.stack(images, hook_point).to(self.backbone.device) for hook_point in self.hook_points}
        return self.score(acts, [self.backbone.placement(image) for image in images])

    def features(self, acts: Mapping[HookPoint, Tensor]) -> Tensor:
        """Patch features: all neurons of all layers, one layer after the other.

        Each layer is brought to `grid` as LAKE's maps are: a fine patch takes the coarse one that contains its centre.

        Args:
            acts: Hook point -> (n_images, n_patches, n_neurons).
        Returns:
            (n_images, n_patches, n_features) float32.
        """
        parts = []
        for hook_point in self._layers:
            grid = self.backbone.grid(hook_point)
            rows = prepared(acts[hook_point].float(), Geometry(grid, self.smooth, "none"))
            parts.append(rows if grid == self.grid else rows[:, coarse_under(self.grid, grid, rows.device)])
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)

    def normal_patches(self, store: FeatureStore, normals: Sequence[InputImage]) -> Tensor:
        """(m, n_features) float32: features of the patches that lie on the normal images, on the backbone's device."""
        images = list({image.sha256: image for image in normals}.values())
        if not images:
            raise LakeError("There is no normal image to learn from; give at least one.")
        store.ensure(images, self.hook_points)
        acts = {hook_point: store.stack(images, hook_point).to(self.backbone.device) for hook_point in self._layers}
        features = self.features(acts)
        on_image = on_images(self.grid, [self.backbone.placement(image) for image in images], features.device)
        return features.flatten(0, 1) if on_image is None else features[on_image]


def top_percent(map_ip: Tensor, inside_ip: Tensor) -> Tensor:
    """(n_images,) float64: the mean of the greatest 1 % of each image's patches, at least of one.

    Args:
        map_ip: (n_images, n_patches) float32.
        inside_ip: (n_images, n_patches) bool, patches that count.
    """
    n_top = (inside_ip.sum(1, keepdim=True) // 100).clamp(min=1)
    values = map_ip.double().masked_fill(~inside_ip, -torch.inf).sort(dim=1, descending=True).values
    counts = torch.arange(values.shape[1], device=values.device) < n_top
    return values.masked_fill(~counts, 0).sum(1) / n_top[:, 0]
