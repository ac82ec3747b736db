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

from lake_core import halves
from lake_core.capture import Place
from lake_core.detector import Lake
from lake_core.features import FeatureStore
from lake_core.geometry import PatchGrid, Placement, coarse_of_fine
from lake_core.normality import LayerNormality, scaled, smoothed

_MAX_COMPARED = 2**22
"""Distances that are held at once on the CPU; on a GPU 32 times as many."""
_MAX_NUMBERS = 2**23
"""Numbers of patch vectors that are worked on at once: 32 MB stay in the cache of a large GPU."""


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

    Where the network computes with 16-bit numbers on a GPU, so does the search for what is nearest.

    Args:
        place: Of the activations.
        members: Detectors with what they learned there; their selections hold the same units.
        store: Holds the normal pictures' activations.
    """

    def __init__(self, place: Place, members: Sequence[tuple[Lake, LayerNormality]], store: FeatureStore) -> None:
        backbone, config = store.backbone, members[0][0].config
        self.place = place
        self._members = members
        self._grid = members[0][1].grid
        units, device = np.sort(members[0][1].selection.units), backbone.device
        self._units = torch.from_numpy(units).to(device)
        self._smooth, self._normalise = config.smooth, config.normalise
        self._near: Tensor | None = None
        pictures = {picture.sha256: picture for detector, _ in members for picture in detector.normals_}
        order = {sha256: i for i, sha256 in enumerate(pictures)}
        self._own = [
            torch.tensor([order[picture.sha256] for picture in detector.normals_], device=device)
            for detector, _ in members
        ]
        rows = [
            self._compared(store.get(picture, place)[None].to(device))[0][
                torch.from_numpy(self._grid.inside(backbone.placement(picture))).to(device)
            ]
            for picture in pictures.values()
        ]
        self._lengths = [len(row) for row in rows]
        self._gallery = torch.cat(rows)
        # As in `nearest_normal`: distances do not depend on the origin, but their rounding does.
        self._origin = self._gallery.mean(0)
        self._centred = self._gallery - self._origin
        self._squared = self._centred.square().sum(1)
        in_halves = backbone.precision != "fp32" and device.type == "cuda"
        self._halves = halves.HalfGallery(self._gallery, self._origin) if in_halves else None

    def distances(self, acts_ipu: Tensor) -> list[tuple[Lake, LayerNormality, Tensor]]:
        """Squared distance of each patch to each member's nearest normal patch, (n_pictures, n_patches) float32."""
        pictures_at_once = max(1, _MAX_NUMBERS // (self._grid.n_patches * max(1, len(self._units))))
        patches_at_once = max(1, _MAX_COMPARED * (32 if acts_ipu.is_cuda else 1) // len(self._gallery))
        found = [
            self._nearest(patches)
            for pictures in acts_ipu.split(pictures_at_once)
            for patches in self._compared(pictures).flatten(0, 1).split(patches_at_once)
        ]
        return [
            (detector, layer, torch.cat([part[i] for part in found]).view(acts_ipu.shape[:2]))
            for i, (detector, layer) in enumerate(self._members)
        ]

    def _compared(self, acts_ipu: Tensor) -> Tensor:
        """As `subspace`: patch vectors as distances see them, (n_pictures, n_patches, k) float32."""
        acts_ipk = acts_ipu if len(self._units) == acts_ipu.shape[2] else acts_ipu[:, :, self._units]
        if self._smooth > 1 and acts_ipk.is_cuda and acts_ipk.dtype != torch.float32:
            if self._near is None:
                self._near = halves.neighbours(self._grid, self._smooth, acts_ipk)
            acts_ipk = halves.smoothed(acts_ipk, self._near)
        elif self._smooth > 1:
            acts_ipk = smoothed(acts_ipk.float(), self._grid, self._smooth)
        return scaled(acts_ipk.float(), self._normalise)

    def _nearest(self, patches: Tensor) -> list[Tensor]:
        """Distances of some patches for each member; as a sum of squares, so that they equal the ledger's."""
        if self._halves is None:
            without_own_square = torch.addmm(self._squared, patches - self._origin, self._centred.T, alpha=-2.0)
        else:
            without_own_square = self._halves.without_own_square(patches)
        if len(set(self._lengths)) == 1:
            least, row = without_own_square.unflatten(1, (len(self._lengths), -1)).min(2)
            row += torch.arange(0, len(self._gallery), self._lengths[0], device=row.device)
        else:
            parts = [part.min(1) for part in without_own_square.split(self._lengths, dim=1)]
            firsts = np.cumsum([0, *self._lengths[:-1]]).tolist()
            least = torch.stack([part.values for part in parts], dim=1)
            row = torch.stack([part.indices + first for part, first in zip(parts, firsts, strict=True)], dim=1)
        found = []
        for own in self._own:
            picture = least[:, own].argmin(1, keepdim=True)
            nearest = row[:, own].gather(1, picture)[:, 0]
            found.append((patches - self._gallery[nearest]).square().sum(1))
        return found
