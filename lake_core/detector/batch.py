"""Many fitted detectors asked about the same pictures at once, a batch at a time, on the backbone's device.

What one detector says of one picture is `Lake.measure` and `ImageScore`; a panel gives the same scores and maps
without their evidence. It is faster because detectors with the same units share their searches: each picture's patches
are compared once with those of every normal picture that one of them learned from, and each detector then takes the
least over its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.hooks import Place
from lake_core.backbones.patch_grid import PatchGrid, Placement, coarse_of_fine
from lake_core.detector.galleries import FloatGallery, Gallery, HalfGallery, Vectors
from lake_core.detector.lake import Lake
from lake_core.detector.memory_bank import LayerNormality, subspace

_MAX_COMPARED = 2**22
"""Distances that are held at once on the CPU; on a GPU 32 times as many."""


@dataclass(frozen=True)
class Seat:
    """One detector and how it is asked.

    Attributes:
        weight: The text weight; None is the detector's own.
        zero_shot: Ask for the text margin alone, as it is: cos(patch, anomalous) - cos(patch, normal), which no normal
            picture has a part in. `weight` does not count then.
    """

    detector: Lake
    weight: float | None = None
    zero_shot: bool = False

    @property
    def grid(self) -> PatchGrid:
        return self.detector.normality_.grid

    @property
    def has_text(self) -> bool:
        return self.detector.normality_.text is not None


@dataclass(frozen=True, eq=False)
class Said:
    """What one seat says of a batch.

    Attributes:
        scores: (n_pictures,) float64.
        maps: (n_pictures, n_patches) float32 on the seat's grid; NaN where a patch is not on the picture.
    """

    scores: Tensor
    maps: Tensor


class Panel:
    """Detectors that learned from pictures of one store, ready to be asked.

    Whatever a search needs lies on the backbone's device from the start: a copy to a GPU waits for all work that is
    under way there.

    Args:
        seats: Who is asked; several seats may share a detector. All detectors have the same layers, kind, smoothing
            and normalisation.
        store: Holds the normal pictures' activations.
    """

    def __init__(self, seats: Sequence[Seat], store: FeatureStore) -> None:
        self.seats = tuple(seats)
        self.store = store
        self._backbone = store.backbone
        self.detectors = list(dict.fromkeys(seat.detector for seat in seats))
        searches: dict[tuple[Place, bytes], list[tuple[Lake, LayerNormality]]] = {}
        for detector in self.detectors:
            for layer in detector.normality_.layers:
                place = self._backbone.place(layer.selection.layer, detector.config.kind)
                units = np.sort(layer.selection.units).tobytes()
                searches.setdefault((place, units), []).append((detector, layer))
        self._searches = [_Search(place, members, store) for (place, _), members in searches.items()]
        self._fine_to_coarse: dict[tuple[PatchGrid, PatchGrid], Tensor] = {}
        texts = [text for detector in self.detectors if (text := detector.normality_.text) is not None]
        self._direction = None  # the same for all detectors, which have one object name and one backbone
        if texts and self._backbone.joint_place is not None:
            self._joint_place = self._backbone.joint_place
            directions = texts[0].directions
            self._direction = (directions.anomalous - directions.normal).to(self._backbone.device)

    @torch.inference_mode()
    def ask(self, acts: dict[Place, Tensor], placements: Sequence[Placement]) -> list[Said]:
        """What each seat says of the pictures.

        Args:
            acts: Place -> (n_pictures, n_patches, n_units) from `Backbone.forward(..., stay=True)`.
            placements: Where each picture lies in the model's input.
        """
        visual: dict[Lake, Tensor] = {}
        for search in self._searches:
            for detector, layer, distance_ip in search.distances(acts[search.place]):
                normality = detector.normality_
                share = distance_ip[:, self._spread(normality.grid, layer.grid)]
                share = share / (layer.tau * len(normality.layers))
                visual[detector] = visual[detector] + share if detector in visual else share
        margin = None if self._direction is None else acts[self._joint_place] @ self._direction
        cross = self._cross_modal(margin)
        inside = {grid: self._inside(grid, placements) for grid in {seat.grid for seat in self.seats}}
        said = []
        for seat in self.seats:
            text = seat.detector.normality_.text
            if seat.zero_shot and text is not None and margin is not None:
                fused = margin[:, self._spread(seat.grid, text.grid)].double()
            else:
                fused = self._fused(seat, visual[seat.detector], cross)
            said.append(self._said(seat, fused, inside[seat.grid]))
        return said

    def _cross_modal(self, margin: Tensor | None) -> dict[Lake, Tensor]:
        """C of each detector that has a text part; the margins are the same for all of them."""
        found: dict[Lake, Tensor] = {}
        for detector in self.detectors:
            text = detector.normality_.text
            if text is not None and margin is not None:
                found[detector] = text.calibrated(margin)[:, self._spread(detector.normality_.grid, text.grid)]
        return found

    def _fused(self, seat: Seat, visual: Tensor, cross: dict[Lake, Tensor]) -> Tensor:
        weight = seat.detector.config.text_weight if seat.weight is None else seat.weight
        if seat.detector not in cross:
            return visual.double()
        return (1 - weight) * visual.double() + weight * cross[seat.detector].double()

    def _said(self, seat: Seat, fused: Tensor, inside: Tensor | None) -> Said:
        config = seat.detector.config
        if inside is None:
            top = fused.topk(min(config.top_q, fused.shape[1])).values
            return Said(top.mean(1), fused.float())
        top = fused.masked_fill(~inside, -torch.inf).topk(min(config.top_q, fused.shape[1])).values
        counts = torch.isfinite(top)
        scores = top.masked_fill(~counts, 0).sum(1) / counts.sum(1)
        return Said(scores, fused.float().masked_fill(~inside, torch.nan))

    def _inside(self, grid: PatchGrid, placements: Sequence[Placement]) -> Tensor | None:
        """(n_pictures, n_patches) bool, patches on their picture; None where all are."""
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
        members: Detectors with what they learned there; their selections hold the same units.
        store: Holds the normal pictures' activations.
    """

    def __init__(self, place: Place, members: Sequence[tuple[Lake, LayerNormality]], store: FeatureStore) -> None:
        backbone, config = store.backbone, members[0][0].config
        self.place = place
        self._members = members
        grid = members[0][1].grid
        units, device = np.sort(members[0][1].selection.units), backbone.device
        self._units = torch.from_numpy(units).to(device)
        pictures = {picture.sha256: picture for detector, _ in members for picture in detector.normals_}
        order = {sha256: i for i, sha256 in enumerate(pictures)}
        self._own = [
            torch.tensor([order[picture.sha256] for picture in detector.normals_], device=device)
            for detector, _ in members
        ]
        rows = [
            subspace(store.get(picture, place)[None].to(device), units, grid, config.smooth, config.normalise)[0][
                torch.from_numpy(grid.inside(backbone.placement(picture))).to(device)
            ]
            for picture in pictures.values()
        ]
        self._lengths = [len(row) for row in rows]
        kind = HalfGallery if device.type == "cuda" and backbone.precision != "fp32" else FloatGallery
        self._gallery: Gallery = kind(torch.cat(rows), grid, config.smooth, config.normalise)

    def distances(self, acts_ipu: Tensor) -> list[tuple[Lake, LayerNormality, Tensor]]:
        """Squared distance of each patch to each member's nearest normal patch, (n_pictures, n_patches) float32."""
        acts_ipk = acts_ipu if len(self._units) == acts_ipu.shape[2] else acts_ipu[:, :, self._units]
        at_once = max(1, _MAX_COMPARED * (32 if acts_ipu.is_cuda else 1) // sum(self._lengths))
        found = [self._nearest(patches) for patches in self._gallery.vectors(acts_ipk).split(at_once)]
        return [
            (detector, layer, torch.cat([part[i] for part in found]).view(acts_ipu.shape[:2]))
            for i, (detector, layer) in enumerate(self._members)
        ]

    def _nearest(self, patches: Vectors) -> list[Tensor]:
        """Distances of some patches for each member."""
        without_own_square = self._gallery.without_own_square(patches)
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
            picture = least[:, own].argmin(1, keepdim=True)
            found.append(self._gallery.distance(patches, row[:, own].gather(1, picture)[:, 0]))
        return found
