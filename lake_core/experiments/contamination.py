"""Reference-set contamination: what a defective image among the normal ones does to selection, threshold and scores."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.result import ImageResult
from lake_core.detector.selection import jaccard
from lake_core.errors import LakeError
from lake_core.experiments.comparison import ScoreComparison, checked_labels, compare_scores
from lake_core.findings.normals import ContaminationFinding
from lake_core.types import Labels, Progress
from lake_core.visualization.notebook import as_sentence


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
        scores: Of the test images that were not added, before and after.
    """

    added: tuple[InputImage, ...]
    after: Lake = field(repr=False)
    layers: tuple[LayerShift, ...]
    scores: ScoreComparison

    _repr_html_ = as_sentence

    @property
    def finding(self) -> ContaminationFinding:
        scores = self.scores
        return ContaminationFinding(
            len(self.added),
            sum(len(shift.gained) for shift in self.layers),
            scores.threshold_before,
            scores.threshold_after,
            scores.auroc_before,
            scores.auroc_after,
            scores.n_missed,
        )


def contaminate(
    lake: Lake,
    added: Sequence[InputImage],
    results: Sequence[ImageResult] = (),
    labels: Labels | None = None,
    on_progress: Progress | None = None,
) -> Contamination:
    """Fits again with further images among the normal ones, and compares.

    Images that were added are not scored as tests: the detector has learned that they are normal.

    Args:
        lake: Fitted; it stays as it is.
        added: At least one image that is not among the normal ones yet, for instance a defective test image. One
            that is given twice counts once.
        results: What `lake` found on test images; the added ones among them are passed over.
        labels: One per test image, or None.
        on_progress: Called after each test image with images done and in all; may raise to cancel.
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
    after = Lake(lake.backbone, lake.config, lake.store).fit([*lake.normals_, *added])
    after = after.with_threshold(lake.own_threshold)
    shown = {image.sha256 for image in added}
    pairs = zip(results, checked_labels(results, labels), strict=True)
    kept = [(result, label) for result, label in pairs if result.image.sha256 not in shown]
    return Contamination(
        tuple(added),
        after,
        tuple(_shift(lake, after, layer) for layer in sorted(lake.selection_.keys() | after.selection_.keys())),
        compare_scores(lake, after, [result for result, _ in kept], [label for _, label in kept], on_progress),
    )


def _shift(before: Lake, after: Lake, layer: int) -> LayerShift:
    old, new = _neurons(before, layer), _neurons(after, layer)
    return LayerShift(
        layer,
        jaccard(old, new),
        new[~np.isin(new, old)],
        old[~np.isin(old, new)],
        _tau(before, layer),
        _tau(after, layer),
    )


def _neurons(lake: Lake, layer: int) -> np.ndarray:
    return lake.selection_[layer].neurons if layer in lake.selection_ else np.zeros(0, dtype=np.int64)


def _tau(lake: Lake, layer: int) -> float | None:
    return next((one.tau for one in lake.memory_bank_.layers if one.selection.layer == layer), None)
