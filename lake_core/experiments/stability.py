"""Whether another normal photo would change the story: selections from fewer normal pictures beside the full one.

Selections depend on the normal pictures' activations alone, so nothing is scored here and no network runs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lake_core.backbones.feature_store import Progress
from lake_core.backbones.hooks import Place
from lake_core.detector.lake import Lake
from lake_core.detector.selection import Selection, jaccard, select

STEADY = 0.8
"""Mean Jaccard from which a selection counts as steady: of two selections of one size, 89 % of the units are shared."""
SHAKY = 0.5
"""Mean Jaccard below which it counts as shaky: 67 % of the units are shared, or fewer."""
COUNTS = (1, 2, 4)
"""Numbers of normal pictures that are tried, beside all of them."""


@dataclass(frozen=True, eq=False)
class Stability:
    """How much the selection depends on which normal pictures there were.

    Attributes:
        runs: One row per run and layer: what ("leave one out" or "fewer"), n_normals used, left_out (index of the
            normal picture, missing for "fewer"), seed (missing for "leave one out"), layer, jaccard (overlap with the
            selection from all normal pictures).
        units: One row per layer and unit that was selected at least once when one picture was left out, or from all:
            layer, unit, selected (from all pictures), share (of the leave-one-out runs that select it), always (share
            is 1; the others are in sometimes). Greatest share first within a layer. Empty with one normal picture.
        mean_jaccard: Mean of the leave-one-out overlaps over layers and runs; None with a single normal picture.
        would_change: Whether another normal photo would change the story: "hardly", "partly", "much", or "unknown".
        sentence: The same in words.
    """

    runs: pd.DataFrame = field(repr=False)
    units: pd.DataFrame = field(repr=False)
    mean_jaccard: float | None
    would_change: str
    sentence: str


def stability(lake: Lake, n_seeds: int = 3, on_progress: Progress | None = None) -> Stability:
    """Selects units again from fewer of the fitted normal pictures and compares with the full selection.

    Each normal picture is left out in turn; and for 1, 2 and 4 pictures (as far as there are more than that),
    `n_seeds` random choices are made, the same at every call. The comparison of n - 1 with n pictures stands for that
    of n with n + 1: mean Jaccard of at least 0.8 is "hardly", below 0.5 "much". The controls "random" and "all" do not
    look at the pictures and are always "hardly".

    Args:
        lake: Fitted.
        n_seeds: Random choices of pictures for each number of pictures.
        on_progress: Called after each choice of pictures (all layers); may raise to cancel.
    """
    lake._fitted()
    n_normals = len(lake.normals_)
    plan = fewer_normals(n_normals, n_seeds)
    patches = {layer: normal_patches(lake, layer) for layer in lake.selection_}
    rows: list[dict[str, object]] = []
    left_out_units: dict[int, list[np.ndarray]] = {layer: [] for layer in patches}
    for n_done, (pictures, left_out, seed) in enumerate(plan, start=1):
        for layer, full in lake.selection_.items():
            found = _select(lake, stacked(patches[layer], pictures), full)
            rows.append(
                {
                    "what": "fewer" if left_out is None else "leave one out",
                    "n_normals": len(pictures),
                    "left_out": pd.NA if left_out is None else left_out,
                    "seed": pd.NA if seed is None else seed,
                    "layer": layer,
                    "jaccard": jaccard(found, full.units),
                }
            )
            if left_out is not None:
                left_out_units[layer].append(found)
        if on_progress is not None:
            on_progress(n_done, len(plan))
    runs = pd.DataFrame(rows, columns=["what", "n_normals", "left_out", "seed", "layer", "jaccard"])
    runs = runs.astype({"n_normals": int, "left_out": "Int64", "seed": "Int64", "layer": int, "jaccard": float})
    units = _shares(lake.selection_, left_out_units)
    overlaps = runs.loc[runs["what"] == "leave one out", "jaccard"]
    mean = float(overlaps.mean()) if len(overlaps) else None
    return Stability(runs, units, mean, _verdict(lake, mean), _sentence(lake, mean, units))


def left_out_selections(lake: Lake, layer: int) -> list[np.ndarray]:
    """The units of any layer that are selected when one normal picture is left out, for each in turn.

    Returns:
        One (k,) int64 per normal picture, most sensitive first; with a single normal picture one, from all of it.
    """
    config, patches = lake.config, normal_patches(lake, layer)
    n_normals = len(patches)
    choices = [[i for i in range(n_normals) if i != left_out] for left_out in range(n_normals)]
    return [
        select(stacked(patches, kept), layer, config.kind, config.criterion, config.top_k, config.seed).units
        for kept in (choices if n_normals > 1 else [[0]])
    ]


def normal_patches(lake: Lake, layer: int) -> list[Tensor]:
    """For each fitted normal picture, (n_patches on the picture, n_units) float32."""
    place = Place(layer, lake.config.kind)
    grid = lake.backbone.grid(place)
    return [
        lake.store.get(picture, place)[torch.from_numpy(grid.inside(lake.backbone.placement(picture)))]
        for picture in lake.normals_
    ]


def stacked(patches: Sequence[Tensor], pictures: Iterable[int]) -> Tensor:
    """(n_patches, n_units) float32 of the pictures with these indices."""
    return torch.cat([patches[picture] for picture in pictures])


def _select(lake: Lake, acts_nu: Tensor, full: Selection) -> np.ndarray:
    config = lake.config
    return select(acts_nu, full.layer, full.kind, full.criterion, config.top_k, config.seed).units


def fewer_normals(n_normals: int, n_seeds: int) -> list[tuple[list[int], int | None, int | None]]:
    """Which normal pictures each run sees, which one is left out, which seed chose them."""
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
        n_times = np.bincount(np.concatenate(found[layer]), minlength=full.n_units)
        candidates = np.union1d(np.flatnonzero(n_times), full.units)
        for unit in candidates[np.argsort(-n_times[candidates], kind="stable")]:
            yield {
                "layer": layer,
                "unit": int(unit),
                "selected": unit in full.units,
                "share": float(n_times[unit]) / n_runs,
                "always": bool(n_times[unit] == n_runs),
            }

    rows = [row for layer, full in selections.items() for row in of_layer(layer, full)]
    table = pd.DataFrame(rows, columns=["layer", "unit", "selected", "share", "always"])
    return table.astype({"layer": int, "unit": int, "selected": bool, "share": float, "always": bool})


def _verdict(lake: Lake, mean: float | None) -> str:
    if lake.config.criterion in ("random", "all"):
        return "hardly"
    if mean is None:
        return "unknown"
    return "hardly" if mean >= STEADY else "partly" if mean >= SHAKY else "much"


def _sentence(lake: Lake, mean: float | None, units: pd.DataFrame) -> str:
    if lake.config.criterion in ("random", "all"):
        return f"The control {lake.config.criterion!r} does not look at the pictures: another photo changes no neuron."
    verdict = _verdict(lake, mean)
    if mean is None:
        return "With one normal photo nobody can tell whether another would change the selection; add a second one."
    n_always, n_selected = int((units["always"] & units["selected"]).sum()), int(units["selected"].sum())
    story = {
        "hardly": "Another normal photo would hardly change the story",
        "partly": "Another normal photo would change a part of the story",
        "much": "Another normal photo could change the story: add some before you trust single neurons",
    }[verdict]
    return (
        f"{story}. Whichever of the {len(lake.normals_)} is left out, {n_always} of the {n_selected} selected neurons "
        f"stay; the overlap (Jaccard) is {mean:.2f} on average."
    )
