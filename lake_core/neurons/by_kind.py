"""Neurons across test images, at the patch that makes each image's score, and which differ between kinds of defect."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from lake_core.backbones.patch_grid import coarse_of_fine
from lake_core.data.datasets import Example
from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from lake_core.neurons.statistics import selection_of

GOOD, UNKNOWN = "good", "no label"


@dataclass(frozen=True, eq=False)
class AcrossImages:
    """Some neurons of a layer on several images.

    Attributes:
        neurons: (n,) int64.
        here_in: (n_images, n) float32, activations at the patch of the layer under each image's max-scoring patch.
        normal_in: The same at that patch's nearest normal patch; None where the layer takes no part in the score.
    """

    neurons: np.ndarray = field(repr=False)
    here_in: np.ndarray = field(repr=False)
    normal_in: np.ndarray | None = field(repr=False)


class Contrast(NamedTuple):
    """A kind of image against all the others, for each neuron.

    Attributes:
        difference: (n,) float64, mean over the kind's images less the mean over the others.
        standardised: (n,) float64, the same over the neuron's standard deviation over all images; 0 where that is 0.
        p_value: (n,) float64, share of random assignments of the kinds to the images in which some neuron of them
            differs as much, in either direction: corrected for the number of neurons (Westfall and Young, 1993).
    """

    difference: np.ndarray
    standardised: np.ndarray
    p_value: np.ndarray


def kind_of(example: Example) -> str:
    """What an image is grouped by: its kind of defect, else its label, else "no label"."""
    if example.label == "defective":
        return example.kind or example.label
    return GOOD if example.label == "good" else UNKNOWN


def across_images(lake: Lake, results: Sequence[ImageResult], layer: int, n: int) -> AcrossImages:
    """The neurons of a layer that contribute most to the images' scores, on each image, from stored activations.

    Args:
        lake: The detector that gave the results.
        results: At least one.
        layer: Any layer with the detector's site. Outside of the score its most sensitive neurons are taken.
        n: How many neurons, at most; only selected ones are taken.
    """
    backbone, store = lake.backbone, lake.store
    hook_point = backbone.hook_point(layer, lake.config.site)
    chosen = selection_of(lake, layer).neurons
    is_scored = layer in lake.selection_
    if is_scored:
        tables = [result.contributions() for result in results]
        added = np.mean([_of_layer(table, layer, chosen) for table in tables], axis=0)
        chosen = chosen[np.argsort(-added, kind="stable")]
    neurons = np.asarray(chosen[:n], dtype=np.int64)
    grid = backbone.grid(hook_point)
    here = []
    for result in results:
        patch = coarse_of_fine(result.patch_scores.grid, grid)[result.patch]
        here.append(store.get(result.image, hook_point)[patch].numpy()[neurons])
    if not is_scored:
        return AcrossImages(neurons, np.stack(here), None)
    normal = []
    for result in results:
        found = next(one for one in result.evidence() if one.layer == layer)
        normal.append(store.get(lake.normals_[found.normal_image], hook_point)[found.normal_patch].numpy()[neurons])
    return AcrossImages(neurons, np.stack(here), np.stack(normal))


def contrasts(values_in: np.ndarray, kinds: Sequence[str], n_draws: int = 999, seed: int = 0) -> dict[str, Contrast]:
    """Each kind of image against all the others; empty where there is one kind only.

    Args:
        values_in: (n_images, n_neurons).
        kinds: (n_images,).
        n_draws: Random assignments of the kinds.
    """
    names = list(dict.fromkeys(kinds))
    if len(names) < 2:
        return {}
    values = np.asarray(values_in, dtype=np.float64)
    deviation = values.std(0)
    scaled = np.divide(values - values.mean(0), deviation, out=np.zeros_like(values), where=deviation > 0)
    rng = np.random.default_rng(seed)
    shuffles = np.stack([rng.permutation(len(values)) for _ in range(n_draws)])
    found = {}
    for name in names:
        is_own = np.array([kind == name for kind in kinds])
        weights = np.where(is_own, 1 / is_own.sum(), -1 / (~is_own).sum())
        standardised = weights @ scaled
        greatest = np.abs(weights[shuffles] @ scaled).max(1)
        n_as_great = (greatest[:, None] >= np.abs(standardised) - 1e-9).sum(0)
        found[name] = Contrast(weights @ values, standardised, (1 + n_as_great) / (1 + n_draws))
    return found


def _of_layer(table: pd.DataFrame, layer: int, neurons: np.ndarray) -> np.ndarray:
    """(n,) contributions of a layer's neurons, in their order."""
    own = table[table["layer"] == layer].set_index("neuron")["contribution"]
    return own.loc[neurons].to_numpy(np.float64)
