"""A few normal patches that stand for all: greedy k-center, as in PatchCore.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022, arXiv 2106.08265, algorithm 1; distances
are exact, where the paper's are of random projections.
"""

import numpy as np
import torch
from torch import Tensor

from lake_core.types import Progress, counted


def coreset(rows: Tensor, image: Tensor, size: int, seed: int) -> Tensor:
    """Which normal patches are kept, of two images at least where there are two.

    Args:
        rows: (m, k) float32.
        image: (m,) int64, which image each is of.
        size: How many are kept, at least 2; all where there are no more.
        seed: Picks the first of them.
    Returns:
        (n,) int64, in ascending order; fewer than asked for only where patches are equal.
    """
    if size >= len(rows):
        return torch.arange(len(rows), device=rows.device)
    first = int(np.random.default_rng(seed).integers(len(rows)))
    kept = k_center(rows, size, first)
    others = (image != image[first]).nonzero()[:, 0]
    if len(others) and bool((image[kept] == image[first]).all()):
        # Without its own image, that image's patches would have nothing to be compared with.
        distance = torch.cdist(rows[others], rows[kept[:-1]]).amin(1)
        kept[-1] = others[distance.argmax()]
    distinct: Tensor = kept.unique()
    return distinct


def k_center(points: Tensor, n: int, first: int, on_progress: Progress | None = None) -> Tensor:
    """A greedy coreset: from the first point on, always the point farthest from those chosen so far.

    Args:
        points: (m, k) float32.
        n: How many to choose, 1 to m.
        first: Index of the first one.
        on_progress: Called after each choice.
    Returns:
        (n,) int64, in the order of choice; of points equally far the one with the lower index.
    """
    centred = points - points.mean(0)
    squared = centred.square().sum(1)
    least = torch.full_like(squared, torch.inf)
    newest = torch.tensor([first], device=points.device)
    chosen = []
    for _ in counted(range(n), on_progress):
        chosen.append(newest)
        distance = torch.addmv(squared, centred, centred.index_select(0, newest)[0], alpha=-2.0) + squared[newest]
        least = torch.minimum(least, distance)
        newest = least.argmax(0, keepdim=True)
    return torch.cat(chosen)
