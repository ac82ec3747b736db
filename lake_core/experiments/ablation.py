"""All experiments on a score as plain functions, with their random controls; the score-level ones live here.

Switching selected units off computes a score, a map and a decision anew from stored activations
(`lake_core.experiments.ablated`); the network never runs. So it tells what a score is made of, not what the network
would do: for that there are `ablate` and `patch_in`. `curve`, `faithfulness` and `occlusion` change the picture,
`contaminate` the normal pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lake_core.backbones.feature_store import Progress
from lake_core.data.images import Picture
from lake_core.detector.lake import Lake
from lake_core.detector.layer_matches import Evidence
from lake_core.detector.scoring import ImageScore, Witnesses
from lake_core.experiments.ablated import (
    all_selected,
    checked,
    selected_among,
    switched_off,
    top_of_ledger,
    whole_layer,
)
from lake_core.experiments.contamination import Contamination, contaminate
from lake_core.experiments.controls import Labels
from lake_core.experiments.deletion import Curve, Faithfulness, curve, faithfulness
from lake_core.experiments.occlusion import Occlusion, occlusion
from lake_core.experiments.patching import CausalChange, Source, ablate, deciding_patches, evidence_sources, patch_in
from lake_core.experiments.random_draws import N_DRAWS, Rank, Units, is_mixed, matched_draws, rank_among
from lake_core.metrics.decision import is_anomalous
from lake_core.metrics.image_metrics import known_auroc

__all__ = [
    "CausalChange",
    "Contamination",
    "Curve",
    "Faithfulness",
    "Occlusion",
    "Source",
    "SwitchOff",
    "SwitchOffControl",
    "SwitchOffTests",
    "ablate",
    "all_selected",
    "contaminate",
    "curve",
    "deciding_patches",
    "evidence_sources",
    "faithfulness",
    "occlusion",
    "patch_in",
    "selected_among",
    "switch_off",
    "switch_off_control",
    "switch_off_tests",
    "switched_off",
    "top_of_ledger",
    "whole_layer",
]


@dataclass(frozen=True, eq=False)
class SwitchOff:
    """What switching units off does to one picture.

    Attributes:
        units: Layer number -> units that are off, ascending.
        before, after: The picture's score with all units and without them: score, visual, cross_modal, map, patch,
            ledger() and evidence() of each; each with its own threshold.
        warnings: What could not be kept, one sentence each.
    """

    units: dict[int, np.ndarray]
    before: ImageScore
    after: ImageScore
    warnings: tuple[str, ...] = ()

    @property
    def n_units(self) -> int:
        return sum(len(chosen) for chosen in self.units.values())

    @property
    def change(self) -> float:
        """Score after less score before."""
        return self.after.score - self.before.score

    @property
    def map_change(self) -> np.ndarray:
        """(rows, cols) float32, fused map after less before; NaN where a patch is not on the picture."""
        return self.after.map - self.before.map

    @property
    def patch_moved(self) -> bool:
        """Whether another patch decides the score."""
        return self.after.patch != self.before.patch

    @property
    def evidence_before(self) -> list[Evidence]:
        """The nearest normal patches of the patch that decided before, in the layers that still have units."""
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
        neurons = "1 neuron" if self.n_units == 1 else f"{self.n_units} neurons"
        words = {True: "anomalous", False: "normal"}
        before, after = words[self.before.is_anomalous], words[self.after.is_anomalous]
        decision = f"stays {after}" if before == after else f"turns from {before} to {after}"
        threshold = f"{self.before.threshold:.2f}"
        if self.after.threshold != self.before.threshold:
            threshold += f", then {self.after.threshold:.2f}"
        return (
            f"Without {neurons} the score goes from {self.before.score:.2f} to {self.after.score:.2f} and the picture "
            f"{decision} (threshold {threshold})."
        )


def switch_off(lake: Lake, units: Units, picture: Picture, reduced: Lake | None = None) -> SwitchOff:
    """Switches units off for one picture.

    Args:
        lake: Fitted.
        units: Layer number -> selected units.
        picture: The picture.
        reduced: `switched_off(lake, units)`, where the caller has it already.
    Raises:
        ConfigError: if a unit is not selected.
    """
    off = checked(lake, units)
    without = switched_off(lake, off) if reduced is None else reduced
    new = tuple(said for said in without.normality_.warnings if said not in lake.normality_.warnings)
    return SwitchOff(off, lake.score(picture), without.score(picture), new)


@dataclass(frozen=True, eq=False)
class SwitchOffTests:
    """What switching units off does to many pictures.

    Attributes:
        table: One row per picture: picture (name), label (True, False or missing), before, after, change,
            anomalous_before, anomalous_after, anomalous_at_kept_threshold.
        auroc_before, auroc_after: Image AUROC over the labelled pictures, or None without both labels.
        threshold_before, threshold_after: Decision thresholds.
    """

    table: pd.DataFrame = field(repr=False)
    auroc_before: float | None
    auroc_after: float | None
    threshold_before: float
    threshold_after: float


def switch_off_tests(
    lake: Lake,
    units: Units,
    pictures: Sequence[Picture],
    labels: Labels | None = None,
    on_progress: Progress | None = None,
    reduced: Lake | None = None,
    heard: Sequence[Witnesses] | None = None,
) -> SwitchOffTests:
    """Switches units off for many pictures.

    Args:
        lake: Fitted.
        units: Layer number -> selected units.
        pictures: Any number.
        labels: One per picture, or None.
        on_progress: Called after each picture with pictures done and in all; may raise to cancel.
        reduced: `switched_off(lake, units)`, where the caller has it already.
        heard: `lake.measure` of each picture, where the caller has it already.
    """
    without = switched_off(lake, units) if reduced is None else reduced
    known = _labels(pictures, labels)
    rows = []
    for n_done, (picture, label) in enumerate(zip(pictures, known, strict=True), start=1):
        before = lake.score(picture) if heard is None else lake.fuse(heard[n_done - 1])
        after = without.score(picture)
        rows.append(
            (
                picture.name,
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
            on_progress(n_done, len(pictures))
    names = ["picture", "label", "before", "after", "change"]
    names += ["anomalous_before", "anomalous_after", "anomalous_at_kept_threshold"]
    table = pd.DataFrame(rows, columns=names).astype({"label": "boolean"})
    return SwitchOffTests(
        table,
        known_auroc(known, table["before"].to_numpy()),
        known_auroc(known, table["after"].to_numpy()),
        lake.threshold_,
        without.threshold_,
    )


# Beside random draws -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SwitchOffControl:
    """The same with random selected units.

    Attributes:
        draws: The units of each draw, from `matched_draws`.
        change: Change of the picture's score by the chosen units.
        changes: (n_draws,) float64, by each draw.
        rank: Of the change among them, by size.
        auroc_change: Change of the AUROC by the chosen units, or None without test pictures of both labels.
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


def switch_off_control(
    lake: Lake,
    units: Units,
    picture: Picture,
    pictures: Sequence[Picture] = (),
    labels: Labels | None = None,
    n_draws: int = N_DRAWS,
    seed: int = 0,
    on_progress: Progress | None = None,
    reduced: Lake | None = None,
    heard: Sequence[Witnesses] | None = None,
) -> SwitchOffControl:
    """Sets switching units off beside switching off as many random selected units.

    Args:
        lake: Fitted.
        units: Layer number -> selected units. Of a layer with more of its units chosen than left, nothing can be drawn.
        picture: The picture whose score is looked at.
        pictures: Test pictures for the AUROC; none leaves it out, which is about ten times as fast.
        labels: One per test picture.
        n_draws: Random draws.
        seed: Of the draws.
        on_progress: Called after each draw with draws done and in all; may raise to cancel.
        reduced: `switched_off(lake, units)`, where the caller has it already.
        heard: `lake.measure` of any of the pictures, where the caller has it already.
    """
    off = checked(lake, units)
    known = _labels(pictures, labels)
    before, auroc_before = _outcome(lake, picture, pictures, known, heard or ())

    def changes_by(without: Lake) -> tuple[float, float]:
        after, auroc_after = _outcome(without, picture, pictures, known)
        return after - before, 0.0 if auroc_before is None or auroc_after is None else auroc_after - auroc_before

    change, auroc_change = changes_by(switched_off(lake, off) if reduced is None else reduced)
    draws = matched_draws(off, all_selected(lake), n_draws, seed)
    found = []
    for n_done, draw in enumerate(draws, start=1):
        found.append(changes_by(switched_off(lake, draw)))
        if on_progress is not None:
            on_progress(n_done, len(draws))
    changes, auroc_changes = np.array(found, dtype=np.float64).reshape(-1, 2).T
    mixed = is_mixed(off, draws)
    if auroc_before is None:
        return SwitchOffControl(draws, change, changes, rank_among(change, changes, mixed))
    return SwitchOffControl(
        draws,
        change,
        changes,
        rank_among(change, changes, mixed),
        auroc_change,
        auroc_changes,
        rank_among(auroc_change, auroc_changes, mixed),
    )


def _outcome(
    lake: Lake, picture: Picture, pictures: Sequence[Picture], labels: Labels, heard: Sequence[Witnesses] = ()
) -> tuple[float, float | None]:
    """The score of a picture, and the AUROC over pictures or None without both labels; nothing is measured twice."""
    with_auroc = {True, False} <= set(labels)
    known = {found.picture.sha256: found for found in heard}
    wanted = {one.sha256: one for one in ([picture, *pictures] if with_auroc else [picture])}
    scores = {
        sha256: (lake.fuse(known[sha256]) if sha256 in known else lake.score(one)).score
        for sha256, one in wanted.items()
    }
    auroc = known_auroc(labels, [scores[one.sha256] for one in pictures]) if with_auroc else None
    return scores[picture.sha256], auroc


# What the parts above share ------------------------------------------------------------------------------------------


def _labels(pictures: Sequence[Picture], labels: Labels | None) -> Labels:
    if labels is not None and len(labels) != len(pictures):
        raise ValueError(f"{len(labels)} labels for {len(pictures)} pictures")
    return [None] * len(pictures) if labels is None else labels
