"""One layer of an image: its patches, the nearest normal patch of each, and the neurons that tell the two apart."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lake_core.detector.memory_bank import LearnedLayer


class Evidence(NamedTuple):
    """A normal patch near a patch, in one layer; `normal_image` is its index among `Lake.normals_`."""

    layer: int
    patch: int
    normal_image: int
    normal_patch: int
    distance: float
    tau: float


@dataclass(frozen=True, eq=False)
class LayerMatches:
    """One layer's patches of an image, and the nearest normal patch of each.

    Attributes:
        memory_bank: What was learned of the layer.
        patches: (n_patches, k) float32, as distances see them.
        distance: (n_patches,) float32 >= 0, squared distance to the nearest normal patch.
        neighbour: (n_patches,) int64, its row of the layer's memory bank.
    """

    memory_bank: LearnedLayer
    patches: Tensor = field(repr=False)
    distance: Tensor = field(repr=False)
    neighbour: Tensor = field(repr=False)

    def shares(self, patches: np.ndarray) -> np.ndarray:
        """(k,) float64: each selected neuron's share of the patches' mean distance / tau, as in `selection.neurons`.

        Args:
            patches: (n,) int64, n >= 1, patches of the layer; one that is named twice counts twice.
        """
        index = torch.from_numpy(patches)
        difference = self.patches[index] - self.memory_bank.bank[self.neighbour[index]]
        mean: np.ndarray = np.mean(difference.numpy().astype(np.float64) ** 2, axis=0)
        return mean / self.memory_bank.tau

    def shares_of_neuron(self, neuron: int) -> np.ndarray:
        """(n_patches,) float64 >= 0: a selected neuron's share of each patch's distance / tau.

        Raises:
            ValueError: if the neuron is not selected.
        """
        learned = self.memory_bank
        column = np.flatnonzero(learned.selection.neurons == neuron)
        if not len(column):
            raise ValueError(f"neuron {neuron} of layer {learned.selection.layer} is not selected")
        difference = self.patches[:, int(column[0])] - learned.bank[self.neighbour, int(column[0])]
        squares: np.ndarray = difference.numpy().astype(np.float64) ** 2
        return squares / learned.tau

    def evidence(self, patch: int, n: int) -> list[Evidence]:
        """The n nearest normal patches of a patch of the layer, nearest first, each with its exact distance."""
        learned = self.memory_bank
        nearest = int(self.neighbour[patch])
        rows, distances = [nearest], self.distance[patch : patch + 1]
        if n > 1:
            squared = (learned.bank - self.patches[patch]).square().sum(1)
            order = squared.argsort(stable=True)
            # The nearest stays first even where rounding makes another one equal: the score is computed from it.
            others = order[order != nearest][: n - 1]
            rows += others.tolist()
            distances = torch.cat([distances, squared[others]])
        return [
            Evidence(
                learned.selection.layer,
                patch,
                int(learned.bank_image[row]),
                int(learned.bank_patch[row]),
                distance,
                learned.tau,
            )
            for row, distance in zip(rows, distances.tolist(), strict=True)
        ]

    def top_neurons(self, patches: np.ndarray, weight: float, top: int) -> pd.DataFrame:
        """The neurons that carry most of the patches' mean distance; see `ImageResult.top_neurons`."""
        shares, index = self.shares(patches), torch.from_numpy(patches)
        order = np.argsort(-shares, kind="stable")[:top]
        return pd.DataFrame(
            {
                "neuron": self.memory_bank.selection.neurons[order],
                "here": self.patches[index].mean(0).numpy()[order],
                "normal": self.memory_bank.bank[self.neighbour[index]].mean(0).numpy()[order],
                "contribution": shares[order] * weight,
            }
        )
