"""Several fitted detectors score the same images at once, a batch at a time, on the backbone's device.

The scores and maps are those of `Lake.explain`, made by the same functions, without what explains them. It is faster
because detectors with the same neurons share their searches: each image's patches are compared once with those of every
normal image that one of them learned from, and each detector then takes the least over its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.patch_grid import PatchGrid, Placement
from lake_core.detector.lake import Lake
from lake_core.detector.memory_bank import LayerMemoryBank
from lake_core.detector.scoring import coarse_under, fused_maps, pooled, text_maps, visual_maps
from lake_core.detector.search import FloatBank, HalfPrecisionBank, SearchBank, subspace
from lake_core.types import HookPoint


@dataclass(frozen=True)
class Variant:
    """One detector and how its maps are weighed.

    Attributes:
        weight: The fusion weight; None is the detector's own.
        zero_shot: Score by the text margin alone, as it is: cos(patch, anomalous) - cos(patch, normal), in which no
            normal image has a part. `weight` does not count then.
    """

    detector: Lake
    weight: float | None = None
    zero_shot: bool = False

    @property
    def grid(self) -> PatchGrid:
        return self.detector.memory_bank_.grid

    @property
    def has_scores(self) -> bool:
        """False if it needs a text part that the detector does not have."""
        return not self.zero_shot or self.detector.memory_bank_.text is not None


@dataclass(frozen=True, eq=False)
class BatchScores:
    """One variant's scores of a batch.

    Attributes:
        scores: (n_images,) float64.
        maps: (n_images, n_patches) float32 on the variant's grid; NaN where a patch is not on the image.
    """

    scores: Tensor
    maps: Tensor


class BatchScorer:
    """Detectors that learned from images of one store.

    Whatever a search needs lies on the backbone's device from the start: a copy to a GPU waits for all work that is
    under way there.

    Args:
        variants: Several may share a detector. All detectors have the same layers, site, smoothing and normalisation.
        store: Holds the normal images' activations.
    """

    def __init__(self, variants: Sequence[Variant], store: FeatureStore) -> None:
        self.variants = tuple(variants)
        self.store = store
        self.detectors = list(dict.fromkeys(variant.detector for variant in variants))
        self._backbone = store.backbone
        members: dict[tuple[HookPoint, bytes, Lake | None], list[tuple[Lake, LayerMemoryBank]]] = {}
        for detector in self.detectors:
            for layer in detector.memory_bank_.layers:
                hook_point = self._backbone.hook_point(layer.selection.layer, detector.config.site)
                neurons = np.sort(layer.selection.neurons).tobytes()
                alone = None if detector.config.memory_bank_size is None else detector  # no two have the same coreset
                members.setdefault((hook_point, neurons, alone), []).append((detector, layer))
        self._searches = [_Search(hook_point, own, store) for (hook_point, *_), own in members.items()]
        self._direction: Tensor | None = None  # the same for all detectors, which have one object name and one backbone
        texts = [text for detector in self.detectors if (text := detector.memory_bank_.text) is not None]
        if texts:
            directions = texts[0].directions
            self._direction = (directions.anomalous - directions.normal).to(self._backbone.device)

    @torch.inference_mode()
    def score(self, acts: Mapping[HookPoint, Tensor], placements: Sequence[Placement]) -> list[BatchScores]:
        """Scores and maps of the images by each variant.

        Args:
            acts: Hook point -> (n_images, n_patches, n_neurons) from `Backbone.forward(..., stay=True)`.
            placements: Where each image lies in the model's input.
        """
        distances: dict[Lake, dict[int, Tensor]] = {detector: {} for detector in self.detectors}
        for search in self._searches:
            for detector, layer, distance_ip in search.distances(acts[search.hook_point]):
                distances[detector][layer.selection.layer] = distance_ip
        visual = {detector: visual_maps(detector.memory_bank_, found) for detector, found in distances.items()}
        joint = self._backbone.joint_hook_point
        margin = None if self._direction is None or joint is None else acts[joint] @ self._direction
        text = {
            detector: text_maps(detector.memory_bank_, margin)
            for detector in self.detectors
            if margin is not None and detector.memory_bank_.text is not None
        }
        grids, device = {variant.grid for variant in self.variants}, self._backbone.device
        inside = {grid: on_images(grid, placements, device) for grid in grids}
        found = []
        for variant in self.variants:
            detector, config = variant.detector, variant.detector.config
            calibration = detector.memory_bank_.text
            if variant.zero_shot and calibration is not None and margin is not None:
                fused = margin[:, coarse_under(variant.grid, calibration.grid, margin.device)].double()
            else:
                weight = config.fusion_weight if variant.weight is None else variant.weight
                fused = fused_maps(visual[detector], text.get(detector), weight)
            on_image = inside[variant.grid]
            maps = fused.float() if on_image is None else fused.float().masked_fill(~on_image, torch.nan)
            found.append(BatchScores(pooled(fused, on_image, config.top_q).score, maps))
        return found


def on_images(grid: PatchGrid, placements: Sequence[Placement], device: torch.device) -> Tensor | None:
    """(n_images, n_patches) bool on the device, patches that lie on their image; None where all do."""
    if all(placement.fills_input for placement in placements):
        return None
    rows = {placement: grid.inside(placement) for placement in set(placements)}
    inside = torch.from_numpy(np.stack([rows[placement] for placement in placements]))
    if device.type == "cuda":
        inside = inside.pin_memory()
    return inside.to(device, non_blocking=True)


class _Search:
    """Nearest normal patches in one subspace for all detectors that chose it.

    Args:
        hook_point: Of the activations.
        members: Detectors with what they learned there; their selections hold the same neurons. One with a coreset is
            alone.
        store: Holds the normal images' activations.
    """

    def __init__(
        self, hook_point: HookPoint, members: Sequence[tuple[Lake, LayerMemoryBank]], store: FeatureStore
    ) -> None:
        backbone, (detector, layer) = store.backbone, members[0]
        self.hook_point = hook_point
        self._members = members
        order, device = np.argsort(layer.selection.neurons), backbone.device
        neurons = layer.selection.neurons[order]
        self._neurons = torch.from_numpy(neurons).to(device)
        if detector.config.memory_bank_size is None:
            images = {image.sha256: image for detector, _ in members for image in detector.normals_}
            position = {sha256: i for i, sha256 in enumerate(images)}
            of_members = [[position[image.sha256] for image in detector.normals_] for detector, _ in members]
            acts_ipn, inside_ip = (values.to(device) for values in store.patches(list(images.values()), hook_point))
            self._lengths = inside_ip.sum(1).tolist()
            rows = subspace(acts_ipn, neurons, layer.geometry)[inside_ip]
        else:  # its own bank as it is, as if of one image
            of_members, self._lengths = [[0]], [len(layer.bank)]
            rows = layer.bank[:, torch.from_numpy(order)].to(device)
        self._groups = [torch.tensor(own, device=device) for own in of_members]
        kind = HalfPrecisionBank if device.type == "cuda" and backbone.precision != "fp32" else FloatBank
        self._bank: SearchBank = kind(rows, layer.geometry)

    def distances(self, acts_ipn: Tensor) -> list[tuple[Lake, LayerMemoryBank, Tensor]]:
        """Squared distance of each patch to each member's nearest normal patch, (n_images, n_patches) float32."""
        acts_ipk = acts_ipn if len(self._neurons) == acts_ipn.shape[2] else acts_ipn[:, :, self._neurons]
        found = self._bank.nearest_among(self._bank.vectors(acts_ipk), self._lengths, self._groups)
        return [
            (detector, layer, distance.view(acts_ipn.shape[:2]))
            for (detector, layer), distance in zip(self._members, found, strict=True)
        ]
