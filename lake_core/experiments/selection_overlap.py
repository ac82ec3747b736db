"""Overlap of selections: how many neurons stay when the selection is made from fewer of the normal images.

Selections depend on the normal images' activations alone, so nothing is scored here and no network
runs. What becomes of scores and decisions is another question: see `lake_core.experiments.other_normals`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lake_core.backbones.feature_store import Patches
from lake_core.criteria import criteria
from lake_core.detector.lake import Lake
from lake_core.detector.selection import Selection, jaccard, select
from lake_core.findings.normals import SelectionOverlapFinding
from lake_core.types import Progress, counted

COUNTS = (1, 2, 4)
"""Numbers of normal images that are tried, beside all of them."""


@dataclass(frozen=True, eq=False)
class SelectionOverlap:
    """How selections from fewer normal images overlap with that from all.

    Attributes:
        runs: One row per run and layer: what ("leave one out" or "fewer"), n_normals used, left_out (index of the
            normal image, missing for "fewer"), seed (missing for "leave one out"), layer, jaccard (overlap with the
            selection from all normal images).
        neurons: One row per layer and neuron that was selected at least once when one image was left out, or from all:
            layer, neuron, selected (from all images), share (of the leave-one-out runs that select it), always (share
            is 1; the others are in sometimes). Greatest share first within a layer. Empty with one normal image.
        mean_jaccard: Mean of the leave-one-out overlaps over layers and runs; None with a single normal image.
        finding: The same in few numbers.
    """

    runs: pd.DataFrame = field(repr=False)
    neurons: pd.DataFrame = field(repr=False)
    mean_jaccard: float | None
    finding: SelectionOverlapFinding


def selection_overlap(lake: Lake, n_seeds: int = 3, on_progress: Progress | None = None) -> SelectionOverlap:
    """Selects neurons again from fewer of the fitted normal images and compares with the full selection.

    Each normal image is left out in turn; and for 1, 2 and 4 images (as far as there are more than that),
    `n_seeds` random choices are made, the same at every call. Controls such as "random" and "all" do not look at the
    images: their overlap is always 1. A great overlap does not say that scores or decisions stay.

    Args:
        lake: Fitted.
        n_seeds: Random choices of images for each number of images.
        on_progress: Called after each choice of images (all layers); may raise to cancel.
    """
    lake.fitted()
    n_normals = len(lake.normals_)
    plan = fewer_normals(n_normals, n_seeds)
    patches = {layer: lake.normal_patches(layer) for layer in lake.selection_}
    rows: list[dict[str, object]] = []
    left_out_neurons: dict[int, list[np.ndarray]] = {layer: [] for layer in patches}
    for images, left_out, seed in counted(plan, on_progress):
        for layer, full in lake.selection_.items():
            found = _select(lake, patches[layer].of(images), full)
            rows.append(
                {
                    "what": "fewer" if left_out is None else "leave one out",
                    "n_normals": len(images),
                    "left_out": pd.NA if left_out is None else left_out,
                    "seed": pd.NA if seed is None else seed,
                    "layer": layer,
                    "jaccard": jaccard(found, full.neurons),
                }
            )
            if left_out is not None:
                left_out_neurons[layer].append(found)
    runs = pd.DataFrame(rows, columns=["what", "n_normals", "left_out", "seed", "layer", "jaccard"])
    runs = runs.astype({"n_normals": int, "left_out": "Int64", "seed": "Int64", "layer": int, "jaccard": float})
    neurons = _shares(lake.selection_, left_out_neurons)
    overlaps = runs.loc[runs["what"] == "leave one out", "jaccard"]
    mean = float(overlaps.mean()) if len(overlaps) else None
    return SelectionOverlap(runs, neurons, mean, _finding(lake, mean, neurons))


def _select(lake: Lake, patches: Patches, full: Selection) -> np.ndarray:
    config = lake.config
    return select(*patches, full.layer, full.site, full.criterion, config.k_of(full.layer), config.seed).neurons


def fewer_normals(n_normals: int, n_seeds: int) -> list[tuple[list[int], int | None, int | None]]:
    """For each run, the normal images it gets, which one is left out, and the seed that drew them."""
    everyone = range(n_normals)
    plan: list[tuple[list[int], int | None, int | None]] = []
    if n_normals > 1:
        plan += [([i for i in everyone if i != left_out], left_out, None) for left_out in everyone]
    for n_used in COUNTS:
        if n_used < n_normals:
            for seed in range(n_seeds):
                chosen = np.random.default_rng([seed, n_used]).permutation(n_normals)[:n_used]
                plan.append((sorted(int(i) for i in chosen), None, seed))
    return plan


def _shares(selections: dict[int, Selection], found: dict[int, list[np.ndarray]]) -> pd.DataFrame:
    def of_layer(layer: int, full: Selection) -> Iterator[dict[str, object]]:
        n_runs = len(found[layer])
        if n_runs == 0:
            return
        n_times = np.bincount(np.concatenate(found[layer]), minlength=full.n_neurons)
        candidates = np.union1d(np.flatnonzero(n_times), full.neurons)
        for neuron in candidates[np.argsort(-n_times[candidates], kind="stable")]:
            yield {
                "layer": layer,
                "neuron": int(neuron),
                "selected": neuron in full.neurons,
                "share": float(n_times[neuron]) / n_runs,
                "always": bool(n_times[neuron] == n_runs),
            }

    rows = [row for layer, full in selections.items() for row in of_layer(layer, full)]
    table = pd.DataFrame(rows, columns=["layer", "neuron", "selected", "share", "always"])
    return table.astype({"layer": int, "neuron": int, "selected": bool, "share": float, "always": bool})


def _finding(lake: Lake, mean: float | None, neurons: pd.DataFrame) -> SelectionOverlapFinding:
    criterion = lake.config.criterion
    return SelectionOverlapFinding(
        criterion,
        not criteria()[criterion].is_control,
        len(lake.normals_),
        int(neurons["selected"].sum()),
        int((neurons["always"] & neurons["selected"]).sum()),
        mean,
    )
