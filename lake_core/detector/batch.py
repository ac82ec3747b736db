"""Many fitted detectors asked about the same images at once, a batch at a time, on the backbone's device.

What one detector says of one image is `Lake.measure` and `ImageResult`; a batch scorer gives the same scores and maps
without their evidence. It is faster because detectors with the same neurons share their searches: each image's patches
are compared once with those of every normal image that one of them learned from, and each detector then takes the
least over its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.patch_grid import PatchGrid, Placement, coarse_of_fine
from lake_core.detector.galleries import FloatBank, HalfPrecisionBank, SearchBank, Vectors
from lake_core.detector.lake import Lake
from lake_core.detector.memory_bank import LayerMemoryBank, subspace
from lake_core.types import HookPoint

_MAX_COMPARED = 2**22
"""Distances that are held at once on the CPU; on a GPU 32 times as many."""


@dataclass(frozen=True)
class Variant:
    """One detector and how it is asked.

    Attributes:
        weight: The fusion weight; None is the detector's own.
        zero_shot: Ask for the text margin alone, as it is: cos(patch, anomalous) - cos(patch, normal), which no normal
            image has a part in. `weight` does not count then.
    """

    detector: Lake
    weight: float | None = None
    zero_shot: bool = False

    @property
    def grid(self) -> PatchGrid:
        return self.detector.memory_bank_.grid

    @property
    def has_text(self) -> bool:
        return self.detector.memory_bank_.text is not None


@dataclass(frozen=True, eq=False)
class BatchScores:
    """What one variant says of a batch.

    Attributes:
        scores: (n_images,) float64.
        maps: (n_images, n_patches) float32 on the variant's grid; NaN where a patch is not on the image.
    """

    scores: Tensor
    maps: Tensor


class BatchScorer:
    """Detectors that learned from images of one store, ready to be asked.

    Whatever a search needs lies on the backbone's device from the start: a copy to a GPU waits for all work that is
    under way there.

    Args:
        variants: Who is asked; several variants may share a detector. All detectors have the same layers, kind,
            smoothing and normalisation.
        store: Holds the normal images' activations.
    """

    def __init__(self, variants: Sequence[Variant], store: FeatureStore) -> None:
        self.variants = tuple(variants)
        self.store = store
        self._backbone = store.backbone
        self.detectors = list(dict.fromkeys(variant.detector for variant in variants))
        searches: dict[tuple[HookPoint, bytes], list[tuple[Lake, LayerMemoryBank]]] = {}
        for detector in self.detectors:
            for layer in detector.memory_bank_.layers:
                hook_point = self._backbone.hook_point(layer.selection.layer, detector.config.site)
                neurons = np.sort(layer.selection.neurons).tobytes()
                searches.setdefault((hook_point, neurons), []).append((detector, layer))
        self._searches = [_Search(hook_point, members, store) for (hook_point, _), members in searches.items()]
        self._fine_to_coarse: dict[tuple[PatchGrid, PatchGrid], Tensor] = {}
        texts = [text for detector in self.detectors if (text := detector.memory_bank_.text) is not None]
        self._direction = None  # the same for all detectors, which have one object name and one backbone
        if texts and self._backbone.joint_hook_point is not None:
            self._joint_hook_point = self._backbone.joint_hook_point
            directions = texts[0].directions
            self._direction = (directions.anomalous - directions.normal).to(self._backbone.device)

    @torch.inference_mode()
    def ask(self, acts: dict[HookPoint, Tensor], placements: Sequence[Placement]) -> list[BatchScores]:
        """What each variant says of the images.

        Args:
            acts: Place -> (n_images, n_patches, n_neurons) from `Backbone.forward(..., stay=True)`.
            placements: Where each image lies in the model's input.
        """
        visual: dict[Lake, Tensor] = {}
        for search in self._searches:
            for detector, layer, distance_ip in search.distances(acts[search.hook_point]):
                memory_bank = detector.memory_bank_
                share = distance_ip[:, self._spread(memory_bank.grid, layer.grid)]
                share = share / (layer.tau * len(memory_bank.layers))
                visual[detector] = visual[detector] + share if detector in visual else share
        margin = None if self._direction is None else acts[self._joint_hook_point] @ self._direction
        text_part = self._text_maps(margin)
        inside = {grid: self._inside(grid, placements) for grid in {variant.grid for variant in self.variants}}
        said = []
        for variant in self.variants:
            text = variant.detector.memory_bank_.text
            if variant.zero_shot and text is not None and margin is not None:
                fused = margin[:, self._spread(variant.grid, text.grid)].double()
            else:
                fused = self._fused(variant, visual[variant.detector], text_part)
            said.append(self._said(variant, fused, inside[variant.grid]))
        return said

    def _text_maps(self, margin: Tensor | None) -> dict[Lake, Tensor]:
        """C of each detector that has a text part; the margins are the same for all of them."""
        found: dict[Lake, Tensor] = {}
        for detector in self.detectors:
            text = detector.memory_bank_.text
            if text is not None and margin is not None:
                found[detector] = text.calibrated(margin)[:, self._spread(detector.memory_bank_.grid, text.grid)]
        return found

    def _fused(self, variant: Variant, visual: Tensor, text_part: dict[Lake, Tensor]) -> Tensor:
        weight = variant.detector.config.fusion_weight if variant.weight is None else variant.weight
        if variant.detector not in text_part:
            return visual.double()
        return (1 - weight) * visual.double() + weight * text_part[variant.detector].double()

    def _said(self, variant: Variant, fused: Tensor, inside: Tensor | None) -> BatchScores:
        config = variant.detector.config
        if inside is None:
            top = fused.topk(min(config.top_q, fused.shape[1])).values
            return BatchScores(top.mean(1), fused.float())
        top = fused.masked_fill(~inside, -torch.inf).topk(min(config.top_q, fused.shape[1])).values
        counts = torch.isfinite(top)
        scores = top.masked_fill(~counts, 0).sum(1) / counts.sum(1)
        return BatchScores(scores, fused.float().masked_fill(~inside, torch.nan))

    def _inside(self, grid: PatchGrid, placements: Sequence[Placement]) -> Tensor | None:
        """(n_images, n_patches) bool, patches on their image; None where all are."""
        if all(placement.fills_input for placement in placements):
            return None
        rows = {placement: grid.inside(placement) for placement in set(placements)}
        inside = torch.from_numpy(np.stack([rows[placement] for placement in placements]))
        if self._backbone.device.type == "cuda":
            inside = inside.pin_memory()
        return inside.to(self._backbone.device, non_blocking=True)

    def _spread(self, fine: PatchGrid, coarse: PatchGrid) -> Tensor:
        if (fine, coarse) not in self._fine_to_coarse:
            self._fine_to_coarse[fine, coarse] = torch.from_numpy(coarse_of_fine(fine, coarse)).to(
                self._backbone.device
            )
        return self._fine_to_coarse[fine, coarse]


class _Search:
    """Nearest normal patches in one subspace for all detectors that chose it.

    Args:
        place: Of the activations.
        members: Detectors with what they learned there; their selections hold the same neurons.
        store: Holds the normal images' activations.
    """

    def __init__(
        self, hook_point: HookPoint, members: Sequence[tuple[Lake, LayerMemoryBank]], store: FeatureStore
    ) -> None:
        backbone, config = store.backbone, members[0][0].config
        self.hook_point = hook_point
        self._members = members
        grid = members[0][1].grid
        neurons, device = np.sort(members[0][1].selection.neurons), backbone.device
        self._neurons = torch.from_numpy(neurons).to(device)
        images = {image.sha256: image for detector, _ in members for image in detector.normals_}
        order = {sha256: i for i, sha256 in enumerate(images)}
        self._own = [
            torch.tensor([order[image.sha256] for image in detector.normals_], device=device) for detector, _ in members
        ]
        rows = [
            subspace(store.get(image, hook_point)[None].to(device), neurons, grid, config.smooth, config.normalise)[0][
                torch.from_numpy(grid.inside(backbone.placement(image))).to(device)
            ]
            for image in images.values()
        ]
        self._lengths = [len(row) for row in rows]
        site = HalfPrecisionBank if device.type == "cuda" and backbone.precision != "fp32" else FloatBank
        self._bank: SearchBank = site(torch.cat(rows), grid, config.smooth, config.normalise)

    def distances(self, acts_ipn: Tensor) -> list[tuple[Lake, LayerMemoryBank, Tensor]]:
        """Squared distance of each patch to each member's nearest normal patch, (n_images, n_patches) float32."""
        acts_ipk = acts_ipn if len(self._neurons) == acts_ipn.shape[2] else acts_ipn[:, :, self._neurons]
        at_once = max(1, _MAX_COMPARED * (32 if acts_ipn.is_cuda else 1) // sum(self._lengths))
        found = [self._nearest(patches) for patches in self._bank.vectors(acts_ipk).split(at_once)]
        return [
            (detector, layer, torch.cat([part[i] for part in found]).view(acts_ipn.shape[:2]))
            for i, (detector, layer) in enumerate(self._members)
        ]

    def _nearest(self, patches: Vectors) -> list[Tensor]:
        """Distances of some patches for each member."""
        without_own_square = self._bank.without_own_square(patches)
        if len(set(self._lengths)) == 1:
            least, row = without_own_square.unflatten(1, (len(self._lengths), -1)).min(2)
            row += torch.arange(0, sum(self._lengths), self._lengths[0], device=row.device)
        else:
            parts = [part.min(1) for part in without_own_square.split(self._lengths, dim=1)]
            firsts = np.cumsum([0, *self._lengths[:-1]]).tolist()
            least = torch.stack([part.values for part in parts], dim=1)
            row = torch.stack([part.indices + first for part, first in zip(parts, firsts, strict=True)], dim=1)
        found = []
        for own in self._own:
            image = least[:, own].argmin(1, keepdim=True)
            found.append(self._bank.distance(patches, row[:, own].gather(1, image)[:, 0]))
        return found
