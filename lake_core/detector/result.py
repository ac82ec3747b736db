"""One image's result: its score, its maps, and what the score is made of (docs/method.md, sections 4 and 5)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import torch

from lake_core.backbones.patch_grid import Placement
from lake_core.data.images import InputImage
from lake_core.detector.layer_matches import Evidence, LayerMatches
from lake_core.detector.microscope import scored_image
from lake_core.detector.scoring import PatchScores, fused_maps, pooled
from lake_core.errors import LakeError, writing
from lake_core.metrics.decision import is_anomalous
from lake_core.visualization.microscope.html import notebook, page
from lake_core.visualization.microscope.payload import encode
from lake_core.visualization.microscope.view import NeuronNote, PlacedImage

Level = Literal["neuron", "layer", "part"]


class Split(NamedTuple):
    """The three numbers of an image: score = (1 - w) * visual + w * text."""

    score: float
    visual: float
    text: float


class Reference(NamedTuple):
    """What a result is shown beside.

    Attributes:
        images: The normal images, as `Evidence.normal_image` counts them.
        placement: Where an image lies in the model's input.
        value_of_one: Which of the normal patches' values 1 is on the visual and on the text map, as in "99th
            percentile".
    """

    images: tuple[InputImage, ...] = ()
    placement: Callable[[InputImage], Placement] | None = None
    value_of_one: str = "calibration quantile"

    @property
    def normals(self) -> tuple[PlacedImage, ...]:
        """The normal images with their places."""
        place = self.placement
        return () if place is None else tuple(PlacedImage(image, place(image)) for image in self.images)


NO_REFERENCE = Reference()


class ImageResult:
    """One image's score, its maps and its contributions.

    Attributes:
        score: The image score; higher is more anomalous; 1 is about the calibration quantile (default 0.99) of the
            normal patches.
        visual: V at the max-scoring patch (mean over the top q).
        text: T there; 0 where the text part is left out. score = (1 - w) * visual + w * text.
        fusion_weight: w as used: 0 where the text part is left out.
        patch: The max-scoring patch, an index into the flattened map.
        patches: The top q patches; `patch` is the first.
        threshold: The decision threshold.
        patch_scores: The two maps before they were weighed.
        reference: The normal images that it is shown beside.
    """

    def __init__(
        self,
        patch_scores: PatchScores,
        fusion_weight: float,
        top_q: int,
        threshold: float,
        reference: Reference = NO_REFERENCE,
    ) -> None:
        self.patch_scores = patch_scores
        self.reference = reference
        self.fusion_weight = fusion_weight if patch_scores.text is not None else 0.0
        self.threshold = threshold
        text = None if patch_scores.text is None else torch.from_numpy(patch_scores.text)
        fused = fused_maps(torch.from_numpy(patch_scores.visual), text, self.fusion_weight)
        inside = torch.from_numpy(patch_scores.inside)
        best = pooled(fused, inside, top_q if top_q == 1 else min(top_q, int(inside.sum())))
        self._fused = fused.numpy()
        self.patches = best.patches.numpy()
        self.patch = int(self.patches[0])
        self.score = float(best.score)
        self.visual = float(patch_scores.visual[self.patches].mean(dtype=np.float64))
        self.text = 0.0 if patch_scores.text is None else float(patch_scores.text[self.patches].mean(dtype=np.float64))

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
        """T, (rows, cols) float32, or None where the text part is left out."""
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
        """The exact additive decomposition of the image score, or of the fused value of any patch or region.

        Args:
            patch: Index into the flattened map; several decompose the mean of their fused values; None
                decomposes the image score (the mean of its top q patches).
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
            raise ValueError("a decomposition needs at least one patch")
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
        """The nearest normal patches in each layer, for a patch of the fused map (default: the max-scoring one).

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
        """The neurons of a layer that contribute most to the image score, or to the fused value of a patch.

        Args:
            patch: Index into the flattened map; None takes the patches of the image score (its top q) together.
            layer: Number of a layer that takes part.
            top: How many neurons at most.
        Returns:
            Columns neuron, here and normal (its values at the patch and at the nearest normal patch, as distances see
            them: smoothed and scaled; of several patches the means), and contribution (float64, as in
            `contributions`). Greatest first.
        Raises:
            ValueError: if the layer takes no part in the score or the patch is not on the image.
        """
        patches = self.patches if patch is None else np.array([patch])
        for index in patches:
            self.split(int(index))
        own, fine_to_layer = self._layer(layer)
        return own.top_neurons(fine_to_layer[patches], self._layer_weight, top)

    def contribution_map(self, layer: int, neuron: int) -> np.ndarray:
        """What one neuron contributes to the fused value of every patch; all neurons' maps and w T add up to `map`.

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

    def save_html(
        self,
        path: str | Path,
        watched: Sequence["ImageResult"] = (),
        notes: Mapping[tuple[int, int], NeuronNote] | None = None,
        other: "ImageResult | None" = None,
    ) -> Path:
        """Writes the microscope with this result as one HTML file that needs no server and no network.

        Args:
            path: Of the file, of at most 3 MB.
            watched: Results of the same image by detectors of other layers, whose layers are shown too.
            notes: (layer, neuron) -> AUROC and concept label, where they are known.
            other: Result of a second image by the same detector, a good one, say: its neurons are shown beside these.
        Returns:
            The path.
        Raises:
            LakeError: if the file cannot be written, or there is nothing to show: see `scored_image`.
        """
        normals = [normal.image for normal in self.reference.normals]
        if any([normal.image for normal in one.reference.normals] != normals for one in watched):
            raise LakeError("A watched result is of a detector that was fitted on other normal images.")
        maps = [one.patch_scores for one in watched]
        document = page(encode(scored_image(self, maps, notes, other=other)), f"{self.image.name} - LAKE Explorer")
        with writing(Path(path)):
            Path(path).write_text(document, encoding="utf-8")
        return Path(path)

    def _repr_html_(self) -> str:
        """The microscope in a notebook; a still image with its numbers where scripts are not trusted."""
        scored = scored_image(self)
        return notebook(scored, page(encode(scored), f"{self.image.name} - LAKE Explorer"))

    def _layer(self, number: int) -> tuple[LayerMatches, np.ndarray]:
        """A layer's matches, and its patch under each patch of the fused grid."""
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
