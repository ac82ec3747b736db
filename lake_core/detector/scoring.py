"""The three maps of a image, the image score, and its contributions (METHOD, sections 2 to 5).

`PatchScores` holds what depends on the image and on what was learned; `ImageResult` adds how the two witnesses are
weighed. Changing the weight makes a new `ImageResult` from the same `PatchScores`, which costs next to nothing.
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
from lake_core.data.images import InputImage
from lake_core.detector.layer_matches import Evidence, LayerMatches
from lake_core.detector.memory_bank import MemoryBank, margins, nearest_normal, subspace
from lake_core.metrics.decision import is_anomalous

Level = Literal["neuron", "layer", "part"]


@dataclass(frozen=True, eq=False)
class PatchScores:
    """What the visual and the text witness say of one image, before they are weighed.

    Attributes:
        image: The image.
        placement: Where it lies in the model's input.
        grid: The fused grid.
        inside: (n_patches,) bool, patches of the fused grid that lie on the image.
        layers: One per layer that takes part.
        fine_to_layer: For each of `layers`, (n_patches,) int64: the layer's patch under each patch of the fused grid.
        visual: (n_patches,) float32, V on the fused grid; 1 is the calibration quantile (default 0.99) of the normal
            patches, each measured without its own image.
        text: (n_patches,) float32, C on the fused grid, or None where the text part is left out.
        margin: (n_joint_patches,) float32, cos(patch, anomalous) - cos(patch, normal) on the joint grid, or None.
        image_probability: softmax probability of "anomalous" for the whole image, or None; never part of a score.
    """

    image: InputImage
    placement: Placement
    grid: PatchGrid
    inside: np.ndarray = field(repr=False)
    layers: tuple[LayerMatches, ...] = field(repr=False)
    fine_to_layer: tuple[np.ndarray, ...] = field(repr=False)
    visual: np.ndarray = field(repr=False)
    text: np.ndarray | None = field(repr=False)
    margin: np.ndarray | None = field(repr=False)
    image_probability: float | None


class Split(NamedTuple):
    """The three numbers of an image: score = (1 - w) * visual + w * text."""

    score: float
    visual: float
    text: float


def visual_map(memory_bank: MemoryBank, distances: Mapping[int, Tensor]) -> np.ndarray:
    """V on the fused grid: the mean over layers of distance / tau.

    Args:
        normality: What was learned.
        distances: Layer number -> (..., n_patches of the layer) float32.
    Returns:
        (..., n_patches of the fused grid) float32.
    """
    total: Tensor | None = None
    for layer in memory_bank.layers:
        fine_to_coarse = torch.from_numpy(coarse_of_fine(memory_bank.grid, layer.grid))
        share = distances[layer.selection.layer][..., fine_to_coarse] / (layer.tau * len(memory_bank.layers))
        total = share if total is None else total + share
    if total is None:
        raise ValueError("no layer takes part")
    return total.numpy()


def text_map(memory_bank: MemoryBank, margin: Tensor) -> np.ndarray:
    """C on the fused grid, (..., n_patches) float32 >= 0, from margins (..., n_joint_patches)."""
    if memory_bank.text is None:
        raise ValueError("the text part is left out")
    fine_to_coarse = torch.from_numpy(coarse_of_fine(memory_bank.grid, memory_bank.text.grid))
    return memory_bank.text.calibrated(margin)[..., fine_to_coarse].numpy()


def measure(
    image: InputImage,
    placement: Placement,
    memory_bank: MemoryBank,
    config: ResolvedConfig,
    acts: Mapping[int, Tensor],
    joint: Tensor | None,
    image_probability: float | None,
) -> PatchScores:
    """What both witnesses say of a image.

    Args:
        image: The image.
        placement: Where it lies in the model's input.
        normality: What was learned.
        config: Parameters.
        acts: Layer number -> (n_patches, n_neurons) float32 of the image.
        joint: (n_joint_patches, joint) float32 patch directions of length 1, or None.
        image_probability: Passed through.
    """
    patch_scores = []
    for layer in memory_bank.layers:
        selection = layer.selection
        patches = subspace(acts[selection.layer][None], selection.neurons, layer.grid, config.smooth, config.normalise)[
            0
        ]
        found = nearest_normal(patches, layer.bank)
        patch_scores.append(LayerMatches(layer, patches, found.distance, found.row))
    margin = None if joint is None or memory_bank.text is None else margins(joint, memory_bank.text.directions)
    return PatchScores(
        image=image,
        placement=placement,
        grid=memory_bank.grid,
        inside=memory_bank.grid.inside(placement),
        layers=tuple(patch_scores),
        fine_to_layer=tuple(coarse_of_fine(memory_bank.grid, layer.grid) for layer in memory_bank.layers),
        visual=visual_map(memory_bank, {w.memory_bank.selection.layer: w.distance for w in patch_scores}),
        text=None if margin is None else text_map(memory_bank, margin),
        margin=None if margin is None else margin.numpy(),
        image_probability=image_probability,
    )


def fused_map(visual: np.ndarray, text: np.ndarray | None, fusion_weight: float) -> np.ndarray:
    """F = (1 - w) V + w C, and V alone where the text part is left out; float64."""
    if text is None:
        return visual.astype(np.float64)
    return (1 - fusion_weight) * visual.astype(np.float64) + fusion_weight * text.astype(np.float64)


def top_patches(fused: np.ndarray, inside: np.ndarray, top_q: int) -> np.ndarray:
    """The q patches on the image with the greatest fused value, greatest first; ties go to the lower index.

    Args:
        fused: (..., n_patches), one or several maps of the image.
        inside: (n_patches,) bool.
        top_q: q; fewer where fewer lie on the image.
    Returns:
        (..., q) int64.
    """
    order = np.argsort(-np.where(inside, fused, -np.inf), kind="stable")
    return order[..., : min(top_q, int(inside.sum()))]


class ImageResult:
    """One image's score, its maps and its account.

    Attributes:
        image: The image.
        score: The image score; higher is more anomalous; 1 is about the calibration quantile (default 0.99) of the
            normal patches.
        visual: V at the max-scoring patch (mean over the top q).
        text: C there; 0 where the text part is left out. score = (1 - w) * visual + w * text.
        fusion_weight: w as used: 0 where the text part is left out.
        patch: The max-scoring patch, an index into the flattened map.
        patches: The top q patches; `patch` is the first.
        threshold: The decision threshold.
        witnesses: What both witnesses said before they were weighed.
    """

    def __init__(self, patch_scores: PatchScores, fusion_weight: float, top_q: int, threshold: float) -> None:
        self.patch_scores = patch_scores
        self.fusion_weight = fusion_weight if patch_scores.text is not None else 0.0
        self.threshold = threshold
        self._fused = fused_map(patch_scores.visual, patch_scores.text, self.fusion_weight)
        self.patches = top_patches(self._fused, patch_scores.inside, top_q)
        self.patch = int(self.patches[0])
        splits = [self.split(int(patch)) for patch in self.patches]
        self.score, self.visual, self.text = (float(np.mean(values)) for values in zip(*splits, strict=True))

    def __repr__(self) -> str:
        return f"ImageResult({self.image.name!r}, score={self.score:.4f}, threshold={self.threshold:.4f})"

    @property
    def image(self) -> InputImage:
        return self.patch_scores.image

    @property
    def is_anomalous(self) -> bool:
        """Whether the score is above the threshold."""
        return is_anomalous(self.score, self.threshold)

    @property
    def map(self) -> np.ndarray:
        """F, (rows, cols) float32; NaN where a patch is not on the image."""
        return self._on_grid(self._fused)

    @property
    def visual_map(self) -> np.ndarray:
        """V, (rows, cols) float32; NaN where a patch is not on the image."""
        return self._on_grid(self.patch_scores.visual)

    @property
    def text_map(self) -> np.ndarray | None:
        """C, (rows, cols) float32, or None where the text part is left out."""
        return None if self.patch_scores.text is None else self._on_grid(self.patch_scores.text)

    def split(self, patch: int) -> Split:
        """The fused value of a patch and its two parts.

        Raises:
            ValueError: if the patch is not on the image.
        """
        if not (0 <= patch < len(self._fused) and self.patch_scores.inside[patch]):
            raise ValueError(f"patch {patch} is not on the image {self.image.name}")
        text_part = 0.0 if self.patch_scores.text is None else float(self.patch_scores.text[patch])
        return Split(float(self._fused[patch]), float(self.patch_scores.visual[patch]), text_part)

    def contributions(self, patch: int | Sequence[int] | None = None, level: Level = "neuron") -> pd.DataFrame:
        """The exact additive account of the image score, or of the fused value of any patch or region.

        Args:
            patch: Index into the flattened map; several account for the mean of their fused values; None accounts
                for the image score (the mean of its top q patches).
            level: "neuron" has a row per layer and neuron, "layer" a row per layer, "part" one row per part.
        Returns:
            Columns part ("visual" or "text"), layer, neuron (missing where they do not apply) and contribution
            (float64); the contributions add up to the score, to float32 rounding. Greatest first within a layer.
        Raises:
            ValueError: if a patch is not on the image, or there is none, or the level is another.
        """
        if level not in get_args(Level):
            raise ValueError(f"level is {level!r}; choose from {', '.join(get_args(Level))}")
        patches = self.patches if patch is None else np.atleast_1d(np.asarray(patch, dtype=np.int64))
        if not len(patches):
            raise ValueError("an account needs at least one patch")
        for index in patches:
            self.split(int(index))
        w = self.patch_scores
        numbers, neurons, contributions = [], [], []
        for layer, fine_to_layer in zip(w.layers, w.fine_to_layer, strict=True):
            selection = layer.memory_bank.selection
            shares = layer.shares(fine_to_layer[patches])
            order = np.argsort(-shares, kind="stable")
            numbers.append(np.full(len(order), selection.layer))
            neurons.append(selection.neurons[order])
            contributions.append(shares[order] * self._layer_weight)
        n_visual = sum(map(len, neurons))
        has_text = w.text is not None
        if w.text is not None:
            contributions.append(np.array([self.fusion_weight * np.mean(w.text[patches], dtype=np.float64)]))
        missing = np.arange(n_visual + has_text) >= n_visual
        table = pd.DataFrame(
            {
                "part": np.where(missing, "text", "visual"),
                "layer": pd.arrays.IntegerArray(_padded(numbers, has_text), missing),
                "neuron": pd.arrays.IntegerArray(_padded(neurons, has_text), missing.copy()),
                "contribution": np.concatenate(contributions),
            }
        )
        if level == "neuron":
            return table
        keys = ["part", "layer"] if level == "layer" else ["part"]
        return table.groupby(keys, sort=False, dropna=False)["contribution"].sum().reset_index()

    def evidence(self, patch: int | None = None, n: int = 1) -> list[Evidence]:
        """The nearest normal patches in each layer, for a patch of the fused map (default: the deciding one).

        A layer whose neurons are all ablated has none: to it every patch is equally near.

        Args:
            patch: Index into the flattened map.
            n: How many in each layer, layer by layer, nearest first; fewer where the memory bank is smaller. The first
                is the one that the score is computed from.
        """
        if n < 1:
            raise ValueError(f"n is {n}; it must be at least 1")
        index = self.patch if patch is None else patch
        self.split(index)
        return [
            found
            for layer, fine_to_layer in zip(self.patch_scores.layers, self.patch_scores.fine_to_layer, strict=True)
            if len(layer.memory_bank.selection.neurons)
            for found in layer.evidence(int(fine_to_layer[index]), n)
        ]

    def top_neurons(self, patch: int | None, layer: int, top: int = 5) -> pd.DataFrame:
        """The neurons of a layer that carry most of a patch's distance to its nearest normal patch.

        Args:
            patch: Index into the flattened map; None takes the deciding one.
            layer: Number of a layer that takes part.
            top: How many neurons at most.
        Returns:
            Columns neuron, here and normal (its values at the patch and at the nearest normal patch, as distances see
            them: smoothed and scaled), and contribution (float64, as in the patch's contributions). Greatest first.
        Raises:
            ValueError: if the layer takes no part in the score or the patch is not on the image.
        """
        index = self.patch if patch is None else patch
        self.split(index)
        own, fine_to_layer = self._layer(layer)
        return own.top_neurons(int(fine_to_layer[index]), self._layer_weight, top)

    def contribution_map(self, layer: int, neuron: int) -> np.ndarray:
        """What one neuron contributes to the fused value of every patch; all neurons' maps and w C add up to `map`.

        Args:
            layer: Number of a layer that takes part.
            neuron: One of its selected neurons.
        Returns:
            (rows, cols) float32 >= 0, each value as in the patch's contributions; NaN where a patch is not on the
            image.
        Raises:
            ValueError: if the layer takes no part in the score or the neuron is not selected.
        """
        own, fine_to_layer = self._layer(layer)
        return self._on_grid(own.shares_of_neuron(neuron)[fine_to_layer] * self._layer_weight)

    def _layer(self, number: int) -> tuple[LayerMatches, np.ndarray]:
        """What a layer says, and its patch under each patch of the fused grid."""
        for own, fine_to_layer in zip(self.patch_scores.layers, self.patch_scores.fine_to_layer, strict=True):
            if own.memory_bank.selection.layer == number:
                return own, fine_to_layer
        raise ValueError(f"layer {number} takes no part in the score")

    @property
    def _layer_weight(self) -> float:
        """What a layer's distance / tau counts for in the fused value."""
        return (1 - self.fusion_weight) / len(self.patch_scores.layers)

    def _on_grid(self, values: np.ndarray) -> np.ndarray:
        grid = self.patch_scores.grid
        return np.where(self.patch_scores.inside, values, np.nan).astype(np.float32).reshape(grid.rows, grid.cols)


def _padded(columns: list[np.ndarray], by_one: bool) -> np.ndarray:
    return np.concatenate([*columns, np.zeros(int(by_one))]).astype(np.int64)
