"""The three maps of a picture, the image score, and its ledger (METHOD, sections 2 to 5).

`Witnesses` holds what depends on the picture and on what was learned; `ImageScore` adds how the two witnesses are
weighed. Changing the weight makes a new `ImageScore` from the same `Witnesses`, which costs next to nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lake_core.backbones.patch_grid import PatchGrid, Placement, coarse_of_fine
from lake_core.config import ResolvedConfig
from lake_core.data.images import Picture
from lake_core.detector.layer_matches import Evidence, LayerWitness
from lake_core.detector.memory_bank import Normality, margins, nearest_normal, subspace
from lake_core.metrics.decision import is_anomalous

Level = Literal["unit", "layer", "part"]


@dataclass(frozen=True, eq=False)
class Witnesses:
    """What the visual and the cross-modal witness say of one picture, before they are weighed.

    Attributes:
        picture: The picture.
        placement: Where it lies in the model's input.
        grid: The fused grid.
        inside: (n_patches,) bool, patches of the fused grid that lie on the picture.
        layers: One per layer that takes part.
        fine_to_layer: For each of `layers`, (n_patches,) int64: the layer's patch under each patch of the fused grid.
        visual: (n_patches,) float32, V on the fused grid; 1 is the calibration quantile (default 0.99) of the normal
            patches, each measured without its own picture.
        cross_modal: (n_patches,) float32, C on the fused grid, or None where the cross-modal part is left out.
        margin: (n_joint_patches,) float32, cos(patch, anomalous) - cos(patch, normal) on the joint grid, or None.
        image_probability: softmax probability of "anomalous" for the whole image, or None; never part of a score.
    """

    picture: Picture
    placement: Placement
    grid: PatchGrid
    inside: np.ndarray = field(repr=False)
    layers: tuple[LayerWitness, ...] = field(repr=False)
    fine_to_layer: tuple[np.ndarray, ...] = field(repr=False)
    visual: np.ndarray = field(repr=False)
    cross_modal: np.ndarray | None = field(repr=False)
    margin: np.ndarray | None = field(repr=False)
    image_probability: float | None


class Split(NamedTuple):
    """The three numbers of an image: score = (1 - w) * visual + w * cross_modal."""

    score: float
    visual: float
    cross_modal: float


def visual_map(normality: Normality, distances: Mapping[int, Tensor]) -> np.ndarray:
    """V on the fused grid: the mean over layers of distance / tau.

    Args:
        normality: What was learned.
        distances: Layer number -> (..., n_patches of the layer) float32.
    Returns:
        (..., n_patches of the fused grid) float32.
    """
    total: Tensor | None = None
    for layer in normality.layers:
        fine_to_coarse = torch.from_numpy(coarse_of_fine(normality.grid, layer.grid))
        share = distances[layer.selection.layer][..., fine_to_coarse] / (layer.tau * len(normality.layers))
        total = share if total is None else total + share
    if total is None:
        raise ValueError("no layer takes part")
    return total.numpy()


def cross_modal_map(normality: Normality, margin: Tensor) -> np.ndarray:
    """C on the fused grid, (..., n_patches) float32 >= 0, from margins (..., n_joint_patches)."""
    if normality.text is None:
        raise ValueError("the cross-modal part is left out")
    fine_to_coarse = torch.from_numpy(coarse_of_fine(normality.grid, normality.text.grid))
    return normality.text.calibrated(margin)[..., fine_to_coarse].numpy()


def measure(
    picture: Picture,
    placement: Placement,
    normality: Normality,
    config: ResolvedConfig,
    acts: Mapping[int, Tensor],
    joint: Tensor | None,
    image_probability: float | None,
) -> Witnesses:
    """What both witnesses say of a picture.

    Args:
        picture: The picture.
        placement: Where it lies in the model's input.
        normality: What was learned.
        config: Parameters.
        acts: Layer number -> (n_patches, n_units) float32 of the picture.
        joint: (n_joint_patches, joint) float32 patch directions of length 1, or None.
        image_probability: Passed through.
    """
    witnesses = []
    for layer in normality.layers:
        selection = layer.selection
        patches = subspace(acts[selection.layer][None], selection.units, layer.grid, config.smooth, config.normalise)[0]
        found = nearest_normal(patches, layer.gallery)
        witnesses.append(LayerWitness(layer, patches, found.distance, found.row))
    margin = None if joint is None or normality.text is None else margins(joint, normality.text.directions)
    return Witnesses(
        picture=picture,
        placement=placement,
        grid=normality.grid,
        inside=normality.grid.inside(placement),
        layers=tuple(witnesses),
        fine_to_layer=tuple(coarse_of_fine(normality.grid, layer.grid) for layer in normality.layers),
        visual=visual_map(normality, {w.normality.selection.layer: w.distance for w in witnesses}),
        cross_modal=None if margin is None else cross_modal_map(normality, margin),
        margin=None if margin is None else margin.numpy(),
        image_probability=image_probability,
    )


def fused_map(visual: np.ndarray, cross_modal: np.ndarray | None, text_weight: float) -> np.ndarray:
    """F = (1 - w) V + w C, and V alone where the cross-modal part is left out; float64."""
    if cross_modal is None:
        return visual.astype(np.float64)
    return (1 - text_weight) * visual.astype(np.float64) + text_weight * cross_modal.astype(np.float64)


def top_patches(fused: np.ndarray, inside: np.ndarray, top_q: int) -> np.ndarray:
    """The q patches on the picture with the greatest fused value, greatest first; ties go to the lower index.

    Args:
        fused: (..., n_patches), one or several maps of the picture.
        inside: (n_patches,) bool.
        top_q: q; fewer where fewer lie on the picture.
    Returns:
        (..., q) int64.
    """
    order = np.argsort(-np.where(inside, fused, -np.inf), kind="stable")
    return order[..., : min(top_q, int(inside.sum()))]


class ImageScore:
    """One picture's score, its maps and its account.

    Attributes:
        picture: The picture.
        score: The image score; higher is more anomalous; 1 is about the calibration quantile (default 0.99) of the
            normal patches.
        visual: V at the deciding patch (mean over the top q).
        cross_modal: C there; 0 where the cross-modal part is left out. score = (1 - w) * visual + w * cross_modal.
        text_weight: w as used: 0 where the cross-modal part is left out.
        patch: The deciding patch, an index into the flattened map.
        patches: The top q patches; `patch` is the first.
        threshold: The decision threshold.
        witnesses: What both witnesses said before they were weighed.
    """

    def __init__(self, witnesses: Witnesses, text_weight: float, top_q: int, threshold: float) -> None:
        self.witnesses = witnesses
        self.text_weight = text_weight if witnesses.cross_modal is not None else 0.0
        self.threshold = threshold
        self._fused = fused_map(witnesses.visual, witnesses.cross_modal, self.text_weight)
        self.patches = top_patches(self._fused, witnesses.inside, top_q)
        self.patch = int(self.patches[0])
        splits = [self.split(int(patch)) for patch in self.patches]
        self.score, self.visual, self.cross_modal = (float(np.mean(values)) for values in zip(*splits, strict=True))

    def __repr__(self) -> str:
        return f"ImageScore({self.picture.name!r}, score={self.score:.4f}, threshold={self.threshold:.4f})"

    @property
    def picture(self) -> Picture:
        return self.witnesses.picture

    @property
    def is_anomalous(self) -> bool:
        """Whether the score is above the threshold."""
        return is_anomalous(self.score, self.threshold)

    @property
    def map(self) -> np.ndarray:
        """F, (rows, cols) float32; NaN where a patch is not on the picture."""
        return self._on_grid(self._fused)

    @property
    def visual_map(self) -> np.ndarray:
        """V, (rows, cols) float32; NaN where a patch is not on the picture."""
        return self._on_grid(self.witnesses.visual)

    @property
    def cross_modal_map(self) -> np.ndarray | None:
        """C, (rows, cols) float32, or None where the cross-modal part is left out."""
        return None if self.witnesses.cross_modal is None else self._on_grid(self.witnesses.cross_modal)

    def split(self, patch: int) -> Split:
        """The fused value of a patch and its two parts.

        Raises:
            ValueError: if the patch is not on the picture.
        """
        if not (0 <= patch < len(self._fused) and self.witnesses.inside[patch]):
            raise ValueError(f"patch {patch} is not on the picture {self.picture.name}")
        cross = 0.0 if self.witnesses.cross_modal is None else float(self.witnesses.cross_modal[patch])
        return Split(float(self._fused[patch]), float(self.witnesses.visual[patch]), cross)

    def ledger(self, patch: int | Sequence[int] | None = None, level: Level = "unit") -> pd.DataFrame:
        """The exact additive account of the image score, or of the fused value of any patch or region.

        Args:
            patch: Index into the flattened map; several account for the mean of their fused values; None accounts
                for the image score (the mean of its top q patches).
            level: "unit" has a row per layer and unit, "layer" a row per layer, "part" one row per part.
        Returns:
            Columns part ("visual" or "cross_modal"), layer, unit (missing where they do not apply) and contribution
            (float64); the contributions add up to the score, to float32 rounding. Greatest first within a layer.
        Raises:
            ValueError: if a patch is not on the picture, or there is none, or the level is another.
        """
        if level not in get_args(Level):
            raise ValueError(f"level is {level!r}; choose from {', '.join(get_args(Level))}")
        patches = self.patches if patch is None else np.atleast_1d(np.asarray(patch, dtype=np.int64))
        if not len(patches):
            raise ValueError("an account needs at least one patch")
        for index in patches:
            self.split(int(index))
        w = self.witnesses
        numbers, units, contributions = [], [], []
        for layer, fine_to_layer in zip(w.layers, w.fine_to_layer, strict=True):
            selection = layer.normality.selection
            terms = layer.terms(fine_to_layer[patches])
            order = np.argsort(-terms, kind="stable")
            numbers.append(np.full(len(order), selection.layer))
            units.append(selection.units[order])
            contributions.append(terms[order] * self._layer_weight)
        n_visual = sum(map(len, units))
        has_text = w.cross_modal is not None
        if w.cross_modal is not None:
            contributions.append(np.array([self.text_weight * np.mean(w.cross_modal[patches], dtype=np.float64)]))
        missing = np.arange(n_visual + has_text) >= n_visual
        table = pd.DataFrame(
            {
                "part": np.where(missing, "cross_modal", "visual"),
                "layer": pd.arrays.IntegerArray(_padded(numbers, has_text), missing),
                "unit": pd.arrays.IntegerArray(_padded(units, has_text), missing.copy()),
                "contribution": np.concatenate(contributions),
            }
        )
        if level == "unit":
            return table
        keys = ["part", "layer"] if level == "layer" else ["part"]
        return table.groupby(keys, sort=False, dropna=False)["contribution"].sum().reset_index()

    def evidence(self, patch: int | None = None, n: int = 1) -> list[Evidence]:
        """The nearest normal patches in each layer, for a patch of the fused map (default: the deciding one).

        A layer whose units are all switched off has none: to it every patch is equally near.

        Args:
            patch: Index into the flattened map.
            n: How many in each layer, layer by layer, nearest first; fewer where the gallery is smaller. The first
                is the one that the score is computed from.
        """
        if n < 1:
            raise ValueError(f"n is {n}; it must be at least 1")
        index = self.patch if patch is None else patch
        self.split(index)
        return [
            found
            for layer, fine_to_layer in zip(self.witnesses.layers, self.witnesses.fine_to_layer, strict=True)
            if len(layer.normality.selection.units)
            for found in layer.evidence(int(fine_to_layer[index]), n)
        ]

    def carriers(self, patch: int | None, layer: int, top: int = 5) -> pd.DataFrame:
        """The units of a layer that carry most of a patch's distance to its nearest normal patch.

        Args:
            patch: Index into the flattened map; None takes the deciding one.
            layer: Number of a layer that takes part.
            top: How many units at most.
        Returns:
            Columns unit, here and normal (its values at the patch and at the nearest normal patch, as distances see
            them: smoothed and scaled), and contribution (float64, as in the patch's ledger). Greatest first.
        Raises:
            ValueError: if the layer takes no part in the score or the patch is not on the picture.
        """
        index = self.patch if patch is None else patch
        self.split(index)
        own, fine_to_layer = self._layer(layer)
        return own.carriers(int(fine_to_layer[index]), self._layer_weight, top)

    def contribution_map(self, layer: int, unit: int) -> np.ndarray:
        """What one unit contributes to the fused value of every patch; all units' maps and w C add up to `map`.

        Args:
            layer: Number of a layer that takes part.
            unit: One of its selected units.
        Returns:
            (rows, cols) float32 >= 0, each value as in the patch's ledger; NaN where a patch is not on the picture.
        Raises:
            ValueError: if the layer takes no part in the score or the unit is not selected.
        """
        own, fine_to_layer = self._layer(layer)
        return self._on_grid(own.terms_of_unit(unit)[fine_to_layer] * self._layer_weight)

    def _layer(self, number: int) -> tuple[LayerWitness, np.ndarray]:
        """What a layer says, and its patch under each patch of the fused grid."""
        for own, fine_to_layer in zip(self.witnesses.layers, self.witnesses.fine_to_layer, strict=True):
            if own.normality.selection.layer == number:
                return own, fine_to_layer
        raise ValueError(f"layer {number} takes no part in the score")

    @property
    def _layer_weight(self) -> float:
        """What a layer's distance / tau counts for in the fused value."""
        return (1 - self.text_weight) / len(self.witnesses.layers)

    def _on_grid(self, values: np.ndarray) -> np.ndarray:
        grid = self.witnesses.grid
        return np.where(self.witnesses.inside, values, np.nan).astype(np.float32).reshape(grid.rows, grid.cols)


def _padded(columns: list[np.ndarray], by_one: bool) -> np.ndarray:
    return np.concatenate([*columns, np.zeros(int(by_one))]).astype(np.int64)
