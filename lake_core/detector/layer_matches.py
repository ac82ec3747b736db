"""What one layer says of a picture: its patches, the nearest normal patch of each, and the units between them."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lake_core.detector.memory_bank import LayerNormality


class Evidence(NamedTuple):
    """A normal patch near a patch, in one layer; `normal_picture` is its place among the fitted pictures."""

    layer: int
    patch: int
    normal_picture: int
    normal_patch: int
    distance: float
    tau: float


@dataclass(frozen=True, eq=False)
class LayerWitness:
    """One layer's patches of a picture, and the nearest normal patch of each.

    Attributes:
        normality: What was learned of the layer.
        patches: (n_patches, k) float32, as distances see them.
        distance: (n_patches,) float32 >= 0, squared distance to the nearest normal patch.
        neighbour: (n_patches,) int64, its row of the layer's gallery.
    """

    normality: LayerNormality
    patches: Tensor = field(repr=False)
    distance: Tensor = field(repr=False)
    neighbour: Tensor = field(repr=False)

    def terms(self, patches: np.ndarray) -> np.ndarray:
        """(k,) float64: each selected unit's share of the patches' mean distance / tau, as in `selection.units`.

        Args:
            patches: (n,) int64, n >= 1, patches of the layer; one that is named twice counts twice.
        """
        index = torch.from_numpy(patches)
        difference = self.patches[index] - self.normality.gallery[self.neighbour[index]]
        mean: np.ndarray = np.mean(difference.numpy().astype(np.float64) ** 2, axis=0)
        return mean / self.normality.tau

    def terms_of_unit(self, unit: int) -> np.ndarray:
        """(n_patches,) float64 >= 0: a selected unit's share of each patch's distance / tau.

        Raises:
            ValueError: if the unit is not selected.
        """
        learned = self.normality
        column = np.flatnonzero(learned.selection.units == unit)
        if not len(column):
            raise ValueError(f"unit {unit} of layer {learned.selection.layer} is not selected")
        difference = self.patches[:, int(column[0])] - learned.gallery[self.neighbour, int(column[0])]
        squares: np.ndarray = difference.numpy().astype(np.float64) ** 2
        return squares / learned.tau

    def evidence(self, patch: int, n: int) -> list[Evidence]:
        """The n nearest normal patches of a patch of the layer, nearest first, each with its exact distance."""
        learned = self.normality
        nearest = int(self.neighbour[patch])
        rows, distances = [nearest], self.distance[patch : patch + 1]
        if n > 1:
            squared = (learned.gallery - self.patches[patch]).square().sum(1)
            order = squared.argsort(stable=True)
            # The nearest stays first even where rounding puts another level with it: the score is made from it.
            others = order[order != nearest][: n - 1]
            rows += others.tolist()
            distances = torch.cat([distances, squared[others]])
        return [
            Evidence(
                learned.selection.layer,
                patch,
                int(learned.gallery_picture[row]),
                int(learned.gallery_patch[row]),
                distance,
                learned.tau,
            )
            for row, distance in zip(rows, distances.tolist(), strict=True)
        ]

    def carriers(self, patch: int, weight: float, top: int) -> pd.DataFrame:
        """The units that carry most of a patch's distance; see `ImageScore.carriers`."""
        terms = self.terms(np.array([patch]))
        order = np.argsort(-terms, kind="stable")[:top]
        return pd.DataFrame(
            {
                "unit": self.normality.selection.units[order],
                "here": self.patches[patch].numpy()[order],
                "normal": self.normality.gallery[self.neighbour[patch]].numpy()[order],
                "contribution": terms[order] * weight,
            }
        )
