"""How a selection forms: which neurons enter and leave it as normal images arrive one by one, and as K grows.

Rankings depend on the normal images' activations alone, so nothing is scored here and no network runs. They do not
depend on K, so that K can be moved without ranking anything again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lake_core.criteria import criteria
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.reselection import would_select
from lake_core.detector.selection import Selection
from lake_core.errors import LakeError
from lake_core.experiments.controls import log_scale
from lake_core.findings.normals import FormationFinding
from lake_core.types import Progress, counted

MOST_STEPS = 24
"""More normal images than that arrive several at a time."""


@dataclass(frozen=True, eq=False)
class FormationStep:
    """The selection of a layer at one step, and what has changed since the step before.

    Attributes:
        n_normals: Number of normal images that it is made from.
        selection: The selection.
        entered: (n,) int64, the neurons that the step before did not select, most sensitive first; empty at the first.
        left: (n,) int64, the neurons that only the step before selected, most sensitive first.
        share_kept: Share of the neurons of the step before that are still selected, 0 to 1; None at the first step.
        share_final: Share of this step's neurons that the last step selects too, 0 to 1.
    """

    n_normals: int
    selection: Selection = field(repr=False)
    entered: np.ndarray
    left: np.ndarray
    share_kept: float | None
    share_final: float

    @property
    def k(self) -> int:
        """Number of neurons selected."""
        return len(self.selection.neurons)

    @property
    def by_chance(self) -> float:
        """What `share_kept` would be on average if this step's neurons were drawn at random: K / n_neurons."""
        return self.k / self.selection.n_neurons


@dataclass(frozen=True, eq=False)
class Formation:
    """A layer's rankings from the first normal image, from the first two, and so on.

    Attributes:
        n_normals: Numbers of normal images, ascending; the last one is all of them.
        rankings: For each of these numbers the selection from so many images, the first ones.
    """

    n_normals: tuple[int, ...]
    rankings: tuple[Selection, ...] = field(repr=False)

    def arriving(self, top_k: int) -> tuple[FormationStep, ...]:
        """The selections of the K most sensitive neurons as normal images arrive, one step for each number of them."""
        return _steps(self.n_normals, [ranking.cut(top_k) for ranking in self.rankings])

    def growing(self, ks: Iterable[int]) -> tuple[FormationStep, ...]:
        """The selections from all normal images for several K, ascending, each at least 1.

        Nothing can leave, since the ranking is one and the same.
        """
        cuts = [self.rankings[-1].cut(k) for k in sorted(ks)]
        different = list({len(cut.neurons): cut for cut in cuts}.values())
        return _steps(self.n_normals[-1:] * len(different), different)

    def finding(self, top_k: int) -> FormationFinding:
        """What the last step has changed."""
        last = self.arriving(top_k)[-1]
        selection = last.selection
        n_before = self.n_normals[-2] if len(self.n_normals) > 1 else None
        reads_images = not criteria()[selection.criterion].is_control
        return FormationFinding(
            selection.criterion,
            reads_images,
            selection.layer,
            last.n_normals,
            n_before,
            len(last.entered),
            last.k,
            selection.n_neurons,
        )


def formation(lake: Lake, layer: int, normals: Sequence[InputImage], on_progress: Progress | None = None) -> Formation:
    """Ranks a layer's neurons from the first normal image, from the first two, and so on to all.

    Args:
        lake: Its criterion, seed, site and store are used; it need not be fitted.
        layer: Any layer that has the detector's site.
        normals: At least one, in the order in which they arrive; images with the same bytes count once. Beyond 24 they
            arrive in 24 steps or fewer, evenly spaced on a log scale.
        on_progress: Called after each step; may raise to cancel.
    Raises:
        LakeError: if there is no image.
    """
    images = list({image.sha256: image for image in normals}.values())
    if not images:
        raise LakeError("There is no normal image to select from; give at least one.")
    n = len(images)
    numbers = tuple(range(1, n + 1)) if n <= MOST_STEPS else tuple(log_scale(n, MOST_STEPS))
    return Formation(numbers, tuple(would_select(lake, layer, images[:k]) for k in counted(numbers, on_progress)))


def _steps(n_normals: Sequence[int], selections: Sequence[Selection]) -> tuple[FormationStep, ...]:
    final, before = selections[-1].neurons, selections[0].neurons
    steps: list[FormationStep] = []
    for n, now in zip(n_normals, selections, strict=True):
        entered = now.neurons[~np.isin(now.neurons, before)]
        left = now.order[np.isin(now.order, before) & ~np.isin(now.order, now.neurons)]
        share_kept = None if not steps else 1 - len(left) / len(before)
        steps.append(FormationStep(n, now, entered, left, share_kept, float(np.isin(now.neurons, final).mean())))
        before = now.neurons
    return tuple(steps)
