"""A selection that forms, as the plain values that the replay in the browser draws, and as a table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from dashboard.plots.template import CUT, ENTERED, LEFT, REST, SELECTED
from lake_core.criteria import criteria
from lake_core.detector.selection import Selection
from lake_core.experiments.formation import FormationStep
from lake_core.sentences import quantity

ROOM, FEWEST = 1.25, 5
"""Ranks shown, at least: a multiple of the greatest K, and so many beyond it."""


@dataclass(frozen=True)
class Scene:
    """One step on screen.

    Attributes:
        name, tick: Its name, in words and on an axis.
        says: What has changed, in a sentence or two.
        k: Where the ranking is cut.
        curve: Index of its ranked curve.
        entered, left: The neurons that enter and leave, each with neuron, rank (from 1) and value.
        share, chance: What the strip below shows, with the same by chance; None for nothing.
    """

    name: str
    tick: str
    says: str
    k: int
    curve: int
    entered: list[dict[str, float]]
    left: list[dict[str, float]]
    share: float | None
    chance: float


@dataclass(frozen=True)
class Replay:
    """What the browser draws.

    Attributes:
        layer: Layer number.
        axis: What the sensitivity is.
        slider: What the steps count, for screen readers.
        strip: Title of the strip of shares.
        n_ranks, peak: Ranks shown, and the greatest value.
        curves: Ranked values, n_ranks of them each.
        steps: In order.
        images: Each image's name and address, those that arrive; empty where none are shown.
    """

    layer: int
    axis: str
    slider: str
    strip: str
    n_ranks: int
    peak: float
    curves: list[list[float]]
    steps: list[Scene]
    images: list[dict[str, str]]

    def data(self) -> dict[str, Any]:
        """Plain values for JSON, with the colours of all figures."""
        colours = {"selected": SELECTED, "rest": REST, "entered": ENTERED, "left": LEFT, "cut": CUT}
        return asdict(self) | {"colours": colours}


def arriving(steps: Sequence[FormationStep], images: Sequence[dict[str, str]] = ()) -> Replay:
    """The replay of normal images that arrive.

    Args:
        steps: From `Formation.arriving`.
        images: Name and address of each, if there are as many as steps.
    """
    scenes = [
        _scene(step, (quantity(step.n_normals, "normal image"), str(step.n_normals)), _arrived(step, steps[-1]), place)
        for place, step in enumerate(steps)
    ]
    strip = "Share of the neurons that are kept from one step to the next; dotted: two random selections of this size"
    return _replay(steps, scenes, strip, list(images))


def growing(steps: Sequence[FormationStep]) -> Replay:
    """The replay of a growing K, from `Formation.growing`."""
    scenes = [
        replace(_scene(step, (f"K = {step.k}", str(step.k)), _grown(step), 0), share=step.selection.share_kept)
        for step in steps
    ]
    strip = "Share of the layer's sensitivity that is kept; dotted: as many random neurons, on average"
    return _replay(steps, scenes, strip, [])


def table(steps: Sequence[FormationStep]) -> pd.DataFrame:
    """One row per step, with the numbers of all neurons that enter and leave."""
    return pd.DataFrame(
        {
            "normal images": [step.n_normals for step in steps],
            "K": [step.k for step in steps],
            "kept": [step.share_kept for step in steps],
            "kept by chance": [step.by_chance for step in steps],
            "in the last selection": [step.share_final for step in steps],
            "enter": [", ".join(map(str, step.entered)) for step in steps],
            "leave": [", ".join(map(str, step.left)) for step in steps],
        }
    )


def _replay(steps: Sequence[FormationStep], scenes: list[Scene], strip: str, images: list[dict[str, str]]) -> Replay:
    selection = steps[-1].selection
    n_curves = 1 + max(scene.curve for scene in scenes)
    ranked = [step.selection.sensitivity[step.selection.order] for step in steps[:n_curves]]
    lowest = max((int(one["rank"]) for scene in scenes for one in scene.left), default=0)
    greatest = max(scene.k for scene in scenes)
    n_ranks = min(max(lowest, round(ROOM * greatest), greatest + FEWEST), selection.n_neurons)
    return Replay(
        selection.layer,
        criteria()[selection.criterion].statistic,
        "Step",
        strip,
        n_ranks,
        float(max(values.max() for values in ranked)) or 1.0,
        [[float(f"{value:.4g}") for value in values[:n_ranks]] for values in ranked],
        scenes,
        images,
    )


def _scene(step: FormationStep, names: tuple[str, str], says: str, curve: int) -> Scene:
    entered, left = (_listed(step.selection, neurons) for neurons in (step.entered, step.left))
    return Scene(*names, says, step.k, curve, entered, left, step.share_kept, step.by_chance)


def _listed(selection: Selection, neurons: np.ndarray) -> list[dict[str, float]]:
    return [
        {"neuron": int(one), "rank": selection.rank_of(one), "value": float(f"{selection.sensitivity[one]:.4g}")}
        for one in neurons
    ]


def _arrived(step: FormationStep, last: FormationStep) -> str:
    if step.share_kept is None:
        return f"The first normal image selects {step.k} of the layer's {step.selection.n_neurons} neurons."
    n, m = len(step.entered), len(step.left)
    changed = f"{n} enter{'s' * (n == 1)} and {m} leave{'s' * (m == 1)}" if n else "None enters or leaves"
    kept = f"{step.share_kept:.0%} of the previous selection is kept ({step.by_chance:.0%} by chance)."
    if step is last:
        return f"{changed}: {kept}"
    n_final = round(step.share_final * step.k)
    return f"{changed}: {kept} {n_final} of the {step.k} are also selected from all {last.n_normals} images."


def _grown(step: FormationStep) -> str:
    share = f"{step.selection.share_kept:.0%} of the layer's sensitivity"
    added = f"{quantity(len(step.entered), 'neuron')} more, and none leaves: " if step.share_kept is not None else ""
    return (
        f"{added}{step.k} of {quantity(step.selection.n_neurons, 'neuron')} have {share}; as many random ones have "
        f"{step.by_chance:.0%} on average."
    )
