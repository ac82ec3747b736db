"""Image and pixel AUROC of a margin on the sets that choose (validation) and the five that are only reported."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from features import Tower, read, rows_of
from scipy.stats import rankdata
from torch import Tensor

NAMES = {"elpv": "solar cell", "neu": "steel surface", "hazelnut": "hazelnut", "deeppcb": "circuit board"}
FIVE = {
    "metal_plate": "metal plate",
    "cookie": "cookie",
    "magnetic_tile": "magnetic tile",
    "toothbrush": "toothbrush",
    "commutator": "commutator",
}


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    labels = np.asarray(labels, bool)
    n_bad = int(labels.sum())
    return float((rankdata(scores)[labels].sum() - n_bad * (n_bad + 1) / 2) / (n_bad * (len(labels) - n_bad)))


class Sets:
    """Sets to measure on: the final maps, labels and masks of their images."""

    def __init__(self, folder: Path, tower: Tower, shard: str, names: dict[str, str]) -> None:
        self.names = names
        self.maps, self.labels, self.masks = {}, {}, {}
        for source in names:
            rows = [row for row in rows_of(folder, shard) if row["source"] == source]
            images = [read(folder, row) for row in rows]
            self.maps[source] = torch.cat(
                [
                    tower([image.astype(np.uint8) for image, _ in images[start : start + 32]])
                    for start in range(0, len(images), 32)
                ]
            )
            self.labels[source] = np.array([row["label"] for row in rows])
            self.masks[source] = [_mask(row, mask) for row, (_, mask) in zip(rows, images, strict=True)]

    def measured(self, margin_of: Callable[[Tensor, str], Tensor]) -> dict[str, float]:
        """Image and pixel AUROC of the greatest margin; `margin_of(maps, name)` gives (n, 12, 12)."""
        found = {}
        for source, name in self.names.items():
            margins = margin_of(self.maps[source], name)
            labels = self.labels[source]
            if 0 < labels.sum() < len(labels):
                found[source] = auroc(margins.flatten(1).max(1).values.cpu().numpy(), labels)
            shown = (
                F.interpolate(margins[:, None], size=(96, 96), mode="bilinear", align_corners=False)[:, 0].cpu().numpy()
            )
            known = [number for number, mask in enumerate(self.masks[source]) if mask is not None or not labels[number]]
            truth = [
                np.zeros((96, 96), bool) if self.masks[source][number] is None else self.masks[source][number]
                for number in known
            ]
            if truth and np.concatenate(truth).any():
                found[source + "/pixel"] = auroc(shown[known].ravel(), np.concatenate(truth).ravel())
        return found


def _mask(row: dict, mask: np.ndarray | None) -> np.ndarray | None:
    if mask is None and "boxes" in row:
        mask = np.zeros((384, 384), np.uint8)
        for left, top, right, bottom in row["boxes"]:
            mask[int(top * 384) : int(bottom * 384), int(left * 384) : int(right * 384)] = 255
    return None if mask is None else cv2.resize(mask, (96, 96), interpolation=cv2.INTER_AREA) > 64


def mean_of(found: dict[str, float], ending: str, names: dict[str, str]) -> float:
    return float(np.mean([found[name + ending] for name in names if name + ending in found]))
