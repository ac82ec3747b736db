"""Scores and decisions with other normal images: each one left out in turn, and bootstrap draws of all.

Detectors are fitted again from stored activations; for images that were scored before, the network never runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from lake_core.data.images import InputImage
from lake_core.detector.batch import BatchScorer, Variant
from lake_core.detector.lake import Lake
from lake_core.detector.selection import jaccard
from lake_core.errors import LakeError
from lake_core.findings.normals import OtherNormalsFinding, Refits, RefitsFinding
from lake_core.metrics.decision import is_anomalous
from lake_core.metrics.image_metrics import known_auroc
from lake_core.types import Labels, Progress

N_DRAWS = 20
_DETECTORS, _IMAGES = 4, 8
"""Detectors that search at once, and images that they score at once: bounds on memory, and on the wait to cancel."""
_QUANTILES = {"q05": 0.05, "median": 0.5, "q95": 0.95}
_REFITS = ["refits", "what", "n_normals", "threshold", "n_changed", "n_changed_at_kept", "auroc", "jaccard"]
_IMAGE = ["image", "label", "score", "is_anomalous", "refits", "n_refits", "lowest", *_QUANTILES, "highest"]
_IMAGE += ["n_changed", "n_changed_at_kept"]

Chosen = tuple[int, ...]
"""Normal images by their indices, ascending, each once."""


@dataclass(frozen=True, eq=False)
class OtherNormals:
    """What other normal images would have said of the test images.

    A decision has changed where it differs from that of the detector of all normal images. Each detector decides by its
    own threshold; "at kept" it decides by the threshold from all normal images. (A threshold that was set by hand is
    kept in any case.)

    Attributes:
        refits: One row for each detector: refits ("leave one out" or "bootstrap"), what (the image left out, or the
            number of the draw), n_normals (different normal images it learned from), threshold, n_changed and
            n_changed_at_kept (test images whose decision has changed), auroc (image AUROC over the labelled test
            images; NaN without both labels), jaccard (overlap of its selection with that from all, mean over layers).
        images: One row for each test image and kind of refits: image (name), label (True, False or missing), score and
            is_anomalous (from all normal images), refits, n_refits, lowest, q05, median, q95, highest (of the scores
            over the refits), n_changed and n_changed_at_kept (refits in which the decision has changed).
        finding: The same in few numbers.
    """

    refits: pd.DataFrame = field(repr=False)
    images: pd.DataFrame = field(repr=False)
    finding: OtherNormalsFinding


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What the detector of some normal images says: scores (n_images,) float64, threshold, neurons of each layer."""

    scores: np.ndarray
    threshold: float
    neurons: dict[int, np.ndarray]


def other_normals(
    lake: Lake,
    images: Sequence[InputImage],
    labels: Labels | None = None,
    n_draws: int = N_DRAWS,
    on_progress: Progress | None = None,
) -> OtherNormals:
    """Fits again without each one of the normal images, and with bootstrap draws of them, and scores test images.

    A draw takes as many images as there are, with replacement (Efron, 1979), by the configuration's seed; an image that
    is drawn twice counts once, as it does when fitting. So a draw learns from about two thirds of the images, and also
    shows what fewer images do. Of a single normal image nothing can be said, and both tables are empty.

    Args:
        lake: Fitted; one with ablated neurons is fitted again with all of them.
        images: Test images, at least one.
        labels: One per image, or None.
        n_draws: Bootstrap draws, at least 1.
        on_progress: Called with images scored and in all, over all detectors; may raise to cancel.
    Raises:
        LakeError: if there is no test image.
    """
    lake.fitted()
    if n_draws < 1:
        raise ValueError(f"n_draws is {n_draws}, not at least 1")
    if not images:
        raise LakeError("There is no test image whose decision could change; add at least one.")
    known: Labels = [None] * len(images) if labels is None else labels
    everyone = tuple(range(len(lake.normals_)))
    plans = _plans(lake, n_draws)
    sets = list(dict.fromkeys([everyone, *(chosen for plan in plans.values() for chosen in plan.values())]))
    outcomes = _outcomes(lake, images, sets, on_progress)
    whole = outcomes[everyone]
    refits, rows, found = [], [], []
    for kind, plan in plans.items():
        fitted = {what: (len(chosen), outcomes[chosen]) for what, chosen in plan.items() if chosen in outcomes}
        table = _refits_table(kind, fitted, whole, known)
        refits.append(table)
        rows.append(_images_table(kind, [one for _, one in fitted.values()], whole, images, known))
        found.append(_finding(kind, table, rows[-1], n_failed=len(plan) - len(fitted)))
    finding = OtherNormalsFinding(len(everyone), len(images), known_auroc(known, whole.scores), tuple(found))
    return OtherNormals(_joined(refits, _REFITS), _joined(rows, _IMAGE), finding)


def n_refits(n_normals: int, n_draws: int = N_DRAWS) -> int:
    """Detectors that `other_normals` fits, at most: sets that are drawn twice are fitted once."""
    return 1 if n_normals == 1 else 1 + n_normals + n_draws


def _plans(lake: Lake, n_draws: int) -> dict[Refits, dict[str, Chosen]]:
    """For each kind of refits what they are and the normal images that they get; none with a single one."""
    n = len(lake.normals_)
    if n == 1:
        return {}
    rng = np.random.default_rng(lake.config.seed)
    draws = [tuple(np.unique(rng.integers(0, n, n)).tolist()) for _ in range(n_draws)]
    return {
        "leave one out": {
            f"without {i + 1}: {lake.normals_[i].name}": tuple(j for j in range(n) if j != i) for i in range(n)
        },
        "bootstrap": {f"draw {i + 1}": draw for i, draw in enumerate(draws)},
    }


def _outcomes(
    lake: Lake, images: Sequence[InputImage], sets: Sequence[Chosen], on_progress: Progress | None
) -> dict[Chosen, _Outcome]:
    """Of each set of normal images, but for those in which nothing varies."""
    found: dict[Chosen, _Outcome] = {}
    n_done, n_all = 0, len(sets) * len(images)

    def report(n_scored: int) -> None:
        nonlocal n_done
        n_done += n_scored
        if on_progress is not None:
            on_progress(n_done, n_all)

    for start in range(0, len(sets), _DETECTORS):
        group = sets[start : start + _DETECTORS]
        fitted = {chosen: other for chosen in group if (other := _fit(lake, chosen)) is not None}
        scores = _scores(list(fitted.values()), images, report)
        if len(fitted) < len(group):
            report((len(group) - len(fitted)) * len(images))
        for (chosen, other), own in zip(fitted.items(), scores, strict=True):
            neurons = {layer: selection.neurons for layer, selection in other.selection_.items()}
            found[chosen] = _Outcome(own, other.threshold_, neurons)
    return found


def _fit(lake: Lake, chosen: Chosen) -> Lake | None:
    """The detector of some of the normal images, or None where nothing varies in them."""
    try:
        other = Lake(lake.backbone, lake.config, lake.store).fit([lake.normals_[i] for i in chosen])
    except LakeError:
        return None
    return other.with_threshold(lake.own_threshold)


def _scores(detectors: Sequence[Lake], images: Sequence[InputImage], report: Callable[[int], None]) -> np.ndarray:
    """(n_detectors, n_images) float64, from stored activations."""
    if not detectors:
        return np.zeros((0, len(images)))
    store, hook_points = detectors[0].store, detectors[0].hook_points
    scorer = BatchScorer([Variant(one) for one in detectors], store)
    found = []
    for start in range(0, len(images), _IMAGES):
        batch = images[start : start + _IMAGES]
        acts = {one: store.patches(batch, one).acts_ipn.to(store.backbone.device) for one in hook_points}
        scored = scorer.score(acts, [store.backbone.placement(image) for image in batch])
        found.append(torch.stack([one.scores for one in scored]).cpu().numpy())
        report(len(batch) * len(detectors))
    return np.concatenate(found, axis=1)


def _refits_table(
    kind: Refits, fitted: dict[str, tuple[int, _Outcome]], whole: _Outcome, labels: Labels
) -> pd.DataFrame:
    decided = is_anomalous(whole.scores, whole.threshold)
    rows = []
    for what, (n_normals, one) in fitted.items():
        auroc = known_auroc(labels, one.scores)
        rows.append(
            (
                kind,
                what,
                n_normals,
                one.threshold,
                int((is_anomalous(one.scores, one.threshold) != decided).sum()),
                int((is_anomalous(one.scores, whole.threshold) != decided).sum()),
                np.nan if auroc is None else auroc,
                _mean_jaccard(one.neurons, whole.neurons),
            )
        )
    return pd.DataFrame(rows, columns=_REFITS)


def _mean_jaccard(neurons: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> float:
    """Overlap of two selections, mean over the layers that either has; 0 for one that only one of them has."""
    none = np.zeros(0, dtype=np.int64)
    layers = neurons.keys() | other.keys()
    return float(np.mean([jaccard(neurons.get(layer, none), other.get(layer, none)) for layer in layers]))


def _images_table(
    kind: Refits, outcomes: Sequence[_Outcome], whole: _Outcome, images: Sequence[InputImage], labels: Labels
) -> pd.DataFrame:
    if not outcomes:
        return pd.DataFrame(columns=_IMAGE)
    scores_ri = np.stack([one.scores for one in outcomes])
    own_ri = np.stack([is_anomalous(one.scores, one.threshold) for one in outcomes])
    decided = is_anomalous(whole.scores, whole.threshold)
    table = {
        "image": [image.name for image in images],
        "label": pd.array(list(labels), dtype="boolean"),
        "score": whole.scores,
        "is_anomalous": decided,
        "refits": kind,
        "n_refits": len(outcomes),
        "lowest": scores_ri.min(0),
        "highest": scores_ri.max(0),
        "n_changed": (own_ri != decided).sum(0),
        "n_changed_at_kept": (is_anomalous(scores_ri, whole.threshold) != decided).sum(0),
    }
    table |= {name: np.quantile(scores_ri, q, axis=0) for name, q in _QUANTILES.items()}
    return pd.DataFrame(table, columns=_IMAGE)


def _finding(kind: Refits, refits: pd.DataFrame, images: pd.DataFrame, n_failed: int) -> RefitsFinding:
    aurocs = refits["auroc"].dropna()
    return RefitsFinding(
        kind,
        n_refits=len(refits),
        n_failed=n_failed,
        n_with_change=int((refits["n_changed"] > 0).sum()),
        n_changed=int(refits["n_changed"].sum()),
        n_changed_at_kept=int(refits["n_changed_at_kept"].sum()),
        n_images_changed=int((images["n_changed"] > 0).sum()),
        auroc=(float(aurocs.min()), float(aurocs.max())) if len(aurocs) else None,
        mean_jaccard=float(refits["jaccard"].mean()) if len(refits) else None,
    )


def _joined(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    kept = [table for table in tables if len(table)]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=list(columns))
