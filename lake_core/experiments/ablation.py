"""All experiments on a score as plain functions, with their random controls; the score-level ones live here.

Switching selected neurons off computes a score, a map and a decision anew from stored activations
(`lake_core.experiments.ablated`); the network never runs. So it tells what a score is made of, not what the network
would do: for that there are `causal_ablation` and `activation_patching`. `curve`, `faithfulness` and `occlusion` change
the image, `contaminate` the normal images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.layer_matches import Evidence
from lake_core.detector.result import ImageResult
from lake_core.detector.scoring import PatchScores
from lake_core.experiments.ablated import (
    ablated,
    all_selected,
    checked,
    selected_among,
    top_contributing_neurons,
    whole_layer,
)
from lake_core.experiments.contamination import Contamination, contaminate
from lake_core.experiments.controls import Labels
from lake_core.experiments.deletion import Curve, Faithfulness, curve, faithfulness
from lake_core.experiments.occlusion import Occlusion, occlusion
from lake_core.experiments.patching import (
    CausalChange,
    Source,
    activation_patching,
    evidence_sources,
    max_scoring_patches,
)
from lake_core.experiments.random_draws import N_DRAWS, Neurons, Rank, is_mixed, matched_draws, rank_among
from lake_core.findings import FitWarning
from lake_core.metrics.decision import is_anomalous
from lake_core.metrics.image_metrics import known_auroc
from lake_core.types import Progress

__all__ = [
    "CausalChange",
    "Contamination",
    "Curve",
    "Faithfulness",
    "Occlusion",
    "ScoreAblation",
    "ScoreAblationControl",
    "ScoreAblationTests",
    "Source",
    "ablate",
    "ablate_tests",
    "ablated",
    "ablation_control",
    "activation_patching",
    "all_selected",
    "contaminate",
    "curve",
    "evidence_sources",
    "faithfulness",
    "max_scoring_patches",
    "occlusion",
    "selected_among",
    "top_contributing_neurons",
    "whole_layer",
]


@dataclass(frozen=True, eq=False)
class ScoreAblation:
    """What switching neurons off does to one image.

    Attributes:
        neurons: Layer number -> neurons that are off, ascending.
        before, after: The image's score with all neurons and without them: score, visual, text, map, patch,
            contributions() and evidence() of each; each with its own threshold.
        warnings: What could not be kept, one sentence each.
    """

    neurons: dict[int, np.ndarray]
    before: ImageResult
    after: ImageResult
    warnings: tuple[FitWarning, ...] = ()

    @property
    def n_neurons(self) -> int:
        return sum(len(chosen) for chosen in self.neurons.values())

    @property
    def change(self) -> float:
        """Score after less score before."""
        return self.after.score - self.before.score

    @property
    def map_change(self) -> np.ndarray:
        """(rows, cols) float32, fused map after less before; NaN where a patch is not on the image."""
        return self.after.map - self.before.map

    @property
    def patch_moved(self) -> bool:
        """Whether another patch decides the score."""
        return self.after.patch != self.before.patch

    @property
    def evidence_before(self) -> list[Evidence]:
        """The nearest normal patches of the patch that decided before, in the layers that still have neurons."""
        left = {found.layer for found in self.evidence_after}
        return [found for found in self.before.evidence() if found.layer in left]

    @property
    def evidence_after(self) -> list[Evidence]:
        """The same patch's nearest normal patches now."""
        return self.after.evidence(self.before.patch)

    @property
    def is_anomalous_at_kept_threshold(self) -> bool:
        """The decision after, by the threshold from before."""
        return is_anomalous(self.after.score, self.before.threshold)

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        neurons = "1 neuron" if self.n_neurons == 1 else f"{self.n_neurons} neurons"
        words = {True: "anomalous", False: "normal"}
        before, after = words[self.before.is_anomalous], words[self.after.is_anomalous]
        decision = f"stays {after}" if before == after else f"turns from {before} to {after}"
        threshold = f"{self.before.threshold:.2f}"
        if self.after.threshold != self.before.threshold:
            threshold += f", then {self.after.threshold:.2f}"
        return (
            f"Without {neurons} the score goes from {self.before.score:.2f} to {self.after.score:.2f} and the image "
            f"{decision} (threshold {threshold})."
        )


def ablate(lake: Lake, neurons: Neurons, image: InputImage, reduced: Lake | None = None) -> ScoreAblation:
    """Switches neurons off for one image.

    Args:
        lake: Fitted.
        neurons: Layer number -> selected neurons.
        image: The image.
        reduced: `ablated(lake, neurons)`, where the caller has it already.
    Raises:
        ConfigError: if a neuron is not selected.
    """
    off = checked(lake, neurons)
    without = ablated(lake, off) if reduced is None else reduced
    new = tuple(said for said in without.memory_bank_.warnings if said not in lake.memory_bank_.warnings)
    return ScoreAblation(off, lake.explain(image), without.explain(image), new)


@dataclass(frozen=True, eq=False)
class ScoreAblationTests:
    """What switching neurons off does to many images.

    Attributes:
        table: One row per image: image (name), label (True, False or missing), before, after, change,
            anomalous_before, anomalous_after, anomalous_at_kept_threshold.
        auroc_before, auroc_after: Image AUROC over the labelled images, or None without both labels.
        threshold_before, threshold_after: Decision thresholds.
    """

    table: pd.DataFrame = field(repr=False)
    auroc_before: float | None
    auroc_after: float | None
    threshold_before: float
    threshold_after: float


def ablate_tests(
    lake: Lake,
    neurons: Neurons,
    images: Sequence[InputImage],
    labels: Labels | None = None,
    on_progress: Progress | None = None,
    reduced: Lake | None = None,
    computed: Sequence[PatchScores] | None = None,
) -> ScoreAblationTests:
    """Switches neurons off for many images.

    Args:
        lake: Fitted.
        neurons: Layer number -> selected neurons.
        images: Any number.
        labels: One per image, or None.
        on_progress: Called after each image with images done and in all; may raise to cancel.
        reduced: `ablated(lake, neurons)`, where the caller has it already.
        heard: `lake.compute_maps` of each image, where the caller has it already.
    """
    without = ablated(lake, neurons) if reduced is None else reduced
    known = _labels(images, labels)
    rows = []
    for n_done, (image, label) in enumerate(zip(images, known, strict=True), start=1):
        before = lake.explain(image) if computed is None else lake.aggregate(computed[n_done - 1])
        after = without.explain(image)
        rows.append(
            (
                image.name,
                pd.NA if label is None else label,
                before.score,
                after.score,
                after.score - before.score,
                before.is_anomalous,
                after.is_anomalous,
                is_anomalous(after.score, before.threshold),
            )
        )
        if on_progress is not None:
            on_progress(n_done, len(images))
    names = ["image", "label", "before", "after", "change"]
    names += ["anomalous_before", "anomalous_after", "anomalous_at_kept_threshold"]
    table = pd.DataFrame(rows, columns=names).astype({"label": "boolean"})
    return ScoreAblationTests(
        table,
        known_auroc(known, table["before"].to_numpy()),
        known_auroc(known, table["after"].to_numpy()),
        lake.threshold_,
        without.threshold_,
    )


# Beside random draws -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ScoreAblationControl:
    """The same with random selected neurons.

    Attributes:
        draws: The neurons of each draw, from `matched_draws`.
        change: Change of the image's score by the chosen neurons.
        changes: (n_draws,) float64, by each draw.
        rank: Of the change among them, by size.
        auroc_change: Change of the AUROC by the chosen neurons, or None without test images of both labels.
        auroc_changes: (n_draws,) float64, by each draw, or None.
        auroc_rank: Of the change of the AUROC, or None.
    """

    draws: list[dict[int, np.ndarray]] = field(repr=False)
    change: float
    changes: np.ndarray = field(repr=False)
    rank: Rank
    auroc_change: float | None = None
    auroc_changes: np.ndarray | None = field(default=None, repr=False)
    auroc_rank: Rank | None = None

    @property
    def sentence(self) -> str:
        """The ranks in words."""
        said = self.rank.sentence("changed the score")
        if self.auroc_rank is None or not self.auroc_rank.n_draws:
            return said
        return f"{said} {self.auroc_rank.sentence('changed the AUROC')}"


def ablation_control(
    lake: Lake,
    neurons: Neurons,
    image: InputImage,
    images: Sequence[InputImage] = (),
    labels: Labels | None = None,
    n_draws: int = N_DRAWS,
    seed: int = 0,
    on_progress: Progress | None = None,
    reduced: Lake | None = None,
    computed: Sequence[PatchScores] | None = None,
) -> ScoreAblationControl:
    """Sets switching neurons off beside ablating as many random selected neurons.

    Args:
        lake: Fitted.
        neurons: Layer number -> selected neurons. Of a layer with more of its neurons chosen than left, nothing can be
            drawn.
        image: The image whose score is looked at.
        images: Test images for the AUROC; none leaves it out, which is about ten times as fast.
        labels: One per test image.
        n_draws: Random draws.
        seed: Of the draws.
        on_progress: Called after each draw with draws done and in all; may raise to cancel.
        reduced: `ablated(lake, neurons)`, where the caller has it already.
        heard: `lake.compute_maps` of any of the images, where the caller has it already.
    """
    off = checked(lake, neurons)
    known = _labels(images, labels)
    before, auroc_before = _outcome(lake, image, images, known, computed or ())

    def changes_by(without: Lake) -> tuple[float, float]:
        after, auroc_after = _outcome(without, image, images, known)
        return after - before, 0.0 if auroc_before is None or auroc_after is None else auroc_after - auroc_before

    change, auroc_change = changes_by(ablated(lake, off) if reduced is None else reduced)
    draws = matched_draws(off, all_selected(lake), n_draws, seed)
    found = []
    for n_done, draw in enumerate(draws, start=1):
        found.append(changes_by(ablated(lake, draw)))
        if on_progress is not None:
            on_progress(n_done, len(draws))
    changes, auroc_changes = np.array(found, dtype=np.float64).reshape(-1, 2).T
    mixed = is_mixed(off, draws)
    if auroc_before is None:
        return ScoreAblationControl(draws, change, changes, rank_among(change, changes, mixed))
    return ScoreAblationControl(
        draws,
        change,
        changes,
        rank_among(change, changes, mixed),
        auroc_change,
        auroc_changes,
        rank_among(auroc_change, auroc_changes, mixed),
    )


def _outcome(
    lake: Lake, image: InputImage, images: Sequence[InputImage], labels: Labels, computed: Sequence[PatchScores] = ()
) -> tuple[float, float | None]:
    """The score of a image, and the AUROC over images or None without both labels; nothing is measured twice."""
    with_auroc = {True, False} <= set(labels)
    known = {found.image.sha256: found for found in computed}
    wanted = {one.sha256: one for one in ([image, *images] if with_auroc else [image])}
    scores = {
        sha256: (lake.aggregate(known[sha256]) if sha256 in known else lake.explain(one)).score
        for sha256, one in wanted.items()
    }
    auroc = known_auroc(labels, [scores[one.sha256] for one in images]) if with_auroc else None
    return scores[image.sha256], auroc


# What the parts above share ------------------------------------------------------------------------------------------


def _labels(images: Sequence[InputImage], labels: Labels | None) -> Labels:
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"{len(labels)} labels for {len(images)} images")
    return [None] * len(images) if labels is None else labels
