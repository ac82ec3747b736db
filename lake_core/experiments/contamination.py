"""Contaminated normals: what a defective image among the normal ones does to selection, threshold and scores."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.scoring import PatchScores
from lake_core.detector.selection import jaccard
from lake_core.errors import LakeError
from lake_core.experiments.controls import Labels
from lake_core.metrics.image_metrics import known_auroc
from lake_core.types import Progress


@dataclass(frozen=True, eq=False)
class LayerShift:
    """What changed in one layer.

    Attributes:
        layer: Layer number.
        jaccard: Overlap of the two selections, 0 to 1; 1 where no neuron changed.
        gained, lost: (n,) int64, neurons selected only after, or only before, most sensitive first.
        tau_before, tau_after: Calibration; a greater tau makes every distance count less. None where the layer is
            left out because nothing varies.
    """

    layer: int
    jaccard: float
    gained: np.ndarray
    lost: np.ndarray
    tau_before: float | None
    tau_after: float | None


@dataclass(frozen=True, eq=False)
class Contamination:
    """What adding images to the normal ones did.

    Attributes:
        added: The images that were added.
        after: The detector that learned from them too; the detector before is unchanged.
        layers: One per layer of the score.
        threshold_before, threshold_after: Decision thresholds.
        table: One row per test image that was not added: image (name), label (True, False or missing), before,
            after, change, anomalous_before, anomalous_after.
        auroc_before, auroc_after: Image AUROC over the labelled ones among them, or None without both labels.
    """

    added: tuple[InputImage, ...]
    after: Lake = field(repr=False)
    layers: tuple[LayerShift, ...]
    threshold_before: float
    threshold_after: float
    table: pd.DataFrame = field(repr=False)
    auroc_before: float | None
    auroc_after: float | None

    @property
    def n_missed(self) -> int:
        """Defective test images that were found before and are not any more."""
        table = self.table
        is_defective = table["label"].fillna(False).astype(bool)
        return int((is_defective & table["anomalous_before"] & ~table["anomalous_after"].astype(bool)).sum())

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        n_neurons = sum(len(shift.gained) for shift in self.layers)
        names = "one image" if len(self.added) == 1 else f"{len(self.added)} images"
        threshold = f"goes from {self.threshold_before:.2f} to {self.threshold_after:.2f}"
        if self.threshold_after == self.threshold_before:
            threshold = f"stays {self.threshold_before:.2f}"
        said = (
            f"With {names} more among the normal ones, {n_neurons or 'no'} selected "
            f"{'neuron is another' if n_neurons == 1 else 'neurons are others'} and the threshold "
            f"{threshold}"
        )
        if self.auroc_before is None or self.auroc_after is None:
            return f"{said}."
        return (
            f"{said}; the AUROC over the other test images goes from {self.auroc_before:.3f} to "
            f"{self.auroc_after:.3f}, and {self.n_missed or 'none'} of the defective ones found before now "
            "fall below the threshold."
        )


def contaminate(
    lake: Lake,
    added: Sequence[InputImage],
    tests: Sequence[InputImage] = (),
    labels: Labels | None = None,
    on_progress: Progress | None = None,
    computed: Sequence[PatchScores] | None = None,
) -> Contamination:
    """Learns again with further images among the normal ones, and compares.

    Images that were added are not scored as tests: a detector knows what it was shown.

    Args:
        lake: Fitted; it stays as it is.
        added: At least one image that is not among the normal ones yet, for instance a defective test image. One
            that is given twice counts once.
        tests: Test images; the added ones among them are passed over.
        labels: One per test image, or None.
        on_progress: Called after each test image with images done and in all; may raise to cancel.
        heard: `lake.compute_maps` of each test image, where the caller has it already.
    Raises:
        LakeError: if there is nothing to add, or it is among the normal images already.
    """
    lake.fitted()
    added = list({image.sha256: image for image in added}.values())
    normal = {image.sha256 for image in lake.normals_}
    for image in added:
        if image.sha256 in normal:
            raise LakeError(f"{image.name} is among the normal images already; add another one.")
    if not added:
        raise LakeError("There is no image to add to the normal ones; choose at least one.")
    if labels is not None and len(labels) != len(tests):
        raise ValueError(f"{len(labels)} labels for {len(tests)} test images")
    shown = {image.sha256 for image in added}
    kept = [place for place, image in enumerate(tests) if image.sha256 not in shown]
    known = [None if labels is None else labels[place] for place in kept]
    after = Lake(lake.backbone, lake.config, lake.store).fit([*lake.normals_, *added])
    after = after.with_threshold(lake.own_threshold)
    rows = []
    for n_done, (place, label) in enumerate(zip(kept, known, strict=True), start=1):
        image = tests[place]
        own = lake.explain(image) if computed is None else lake.aggregate(computed[place])
        other = after.explain(image)
        rows.append(
            (
                image.name,
                pd.NA if label is None else label,
                own.score,
                other.score,
                other.score - own.score,
                own.is_anomalous,
                other.is_anomalous,
            )
        )
        if on_progress is not None:
            on_progress(n_done, len(kept))
    names = ["image", "label", "before", "after", "change", "anomalous_before", "anomalous_after"]
    table = pd.DataFrame(rows, columns=names).astype({"label": "boolean"})
    return Contamination(
        tuple(added),
        after,
        tuple(_shift(lake, after, layer) for layer in sorted(lake.selection_.keys() | after.selection_.keys())),
        lake.threshold_,
        after.threshold_,
        table,
        known_auroc(known, table["before"].to_numpy()),
        known_auroc(known, table["after"].to_numpy()),
    )


def _shift(before: Lake, after: Lake, layer: int) -> LayerShift:
    own, other = _neurons(before, layer), _neurons(after, layer)
    return LayerShift(
        layer,
        jaccard(own, other),
        other[~np.isin(other, own)],
        own[~np.isin(own, other)],
        _tau(before, layer),
        _tau(after, layer),
    )


def _neurons(lake: Lake, layer: int) -> np.ndarray:
    return lake.selection_[layer].neurons if layer in lake.selection_ else np.zeros(0, dtype=np.int64)


def _tau(lake: Lake, layer: int) -> float | None:
    return next((one.tau for one in lake.memory_bank_.layers if one.selection.layer == layer), None)
