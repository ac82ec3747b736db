"""What the microscope shows of one scored image, as plain arrays."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lake_core.backbones.patch_grid import PatchGrid, Placement
from lake_core.data.images import InputImage


class PlacedImage(NamedTuple):
    """An image, and where it lies in the model's input."""

    image: InputImage
    placement: Placement


@dataclass(frozen=True, eq=False)
class LayerView:
    """The selected neurons of one layer at its patches, beside the nearest normal patch of each.

    What neuron u adds to the value of a patch is difference[patch, u]^2 / tau * weight.

    Attributes:
        layer: Layer number.
        in_score: Whether the layer takes part in the image's score.
        tau: The layer's calibration, > 0.
        weight: What distance / tau counts for; in a layer outside of the score, what it would count for.
        grid: The layer's own patches.
        neurons: (k,) int64, the selected neurons.
        ranks: (k,) int64, their ranks by sensitivity, from 1.
        n_neurons: How many neurons the layer has.
        patches: (n,) int64, the layer's patches that lie under the fused grid; the rows of the arrays below.
        here: (n, k) float32, activations as distances see them.
        difference: (n, k) float32, `here` minus the nearest normal patch.
        normal_image: (n,) int64, the nearest normal patch's image, an index into the normal images.
        normal_patch: (n,) int64, and its patch on the layer's own grid.
        under: (n_patches,) int64, for each patch of the fused grid the row that lies under it.
        own_map: (n_own_patches,) float32, distance / tau of every patch of the layer's own grid: its visual map if it
            were the only layer; NaN off the image.
    """

    layer: int
    in_score: bool
    tau: float
    weight: float
    grid: PatchGrid
    neurons: np.ndarray = field(repr=False)
    ranks: np.ndarray = field(repr=False)
    n_neurons: int
    patches: np.ndarray = field(repr=False)
    here: np.ndarray = field(repr=False)
    difference: np.ndarray = field(repr=False)
    normal_image: np.ndarray = field(repr=False)
    normal_patch: np.ndarray = field(repr=False)
    under: np.ndarray = field(repr=False)
    own_map: np.ndarray = field(repr=False)


class NeuronNote(NamedTuple):
    """What else is known of a neuron: its AUROC alone, 0 to 1, and a concept label; None where it is not known."""

    auroc: float | None = None
    label: str | None = None


@dataclass(frozen=True, eq=False)
class OtherImage:
    """A second image with the same neurons, to see which are active there too.

    Attributes:
        shown: The image.
        score: Its image score.
        is_anomalous: Whether that is above the threshold.
        inside: (n_patches,) bool, patches of the fused grid that lie on it.
        activations: By layer number, (n, k) float32, as `LayerView.here` has them.
    """

    shown: PlacedImage
    score: float
    is_anomalous: bool
    inside: np.ndarray = field(repr=False)
    activations: dict[int, np.ndarray] = field(repr=False)


@dataclass(frozen=True, eq=False)
class ScoredImage:
    """One scored image with all that the microscope shows of it.

    Attributes:
        shown: The image.
        grid: The fused grid.
        inside: (n_patches,) bool, patches that lie on the image.
        score_map, visual_map: (n_patches,) float32, the fused and the visual map.
        text_map: (n_patches,) float32, or None where the text part is left out.
        score: The image score.
        threshold: The decision threshold.
        is_anomalous: Whether the score is above the threshold.
        fusion_weight: Weight w of the text map.
        patches: (q,) int64, the patches that the image score is the mean of, the max-scoring one first.
        vmax: Last value of the colour scale that all images share.
        value_of_one: What 1 is on the visual and on the text map, as in "99th percentile".
        activation: How activations are made, in words.
        layers: The layers, in the order of the network.
        normals: The normal images.
        notes: (layer, neuron) -> what else is known of it.
        fixed: The patch that is fixed from the start, or None.
        other: A second image, or None.
        pending: Numbers of layers that are still being computed.
    """

    shown: PlacedImage
    grid: PatchGrid
    inside: np.ndarray = field(repr=False)
    score_map: np.ndarray = field(repr=False)
    visual_map: np.ndarray = field(repr=False)
    text_map: np.ndarray | None = field(repr=False)
    score: float
    threshold: float
    is_anomalous: bool
    fusion_weight: float
    patches: np.ndarray = field(repr=False)
    vmax: float
    value_of_one: str
    activation: str
    layers: tuple[LayerView, ...] = field(repr=False)
    normals: tuple[PlacedImage, ...] = field(repr=False)
    notes: dict[tuple[int, int], NeuronNote] = field(default_factory=dict, repr=False)
    fixed: int | None = None
    other: OtherImage | None = None
    pending: tuple[int, ...] = ()
