"""All test images of a category scored by all methods, in one pass of the network."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.feature_store import FeatureStore
from lake_core.detector.batch import BatchScores
from lake_core.evaluation.loading import Batch
from lake_core.evaluation.maps import MapFile
from lake_core.evaluation.reading import Loaded
from lake_core.evaluation.scorers import Lap, Scorers
from lake_core.types import HookPoint


@dataclass(frozen=True, eq=False)
class TestScores:
    """The scores of all runs for all images.

    Attributes:
        images: Those that could be read.
        problems: One sentence for each file that could not be used.
        scores: For each run (n_images,) float64.
        seconds: (n_runs,) float64, what the search of each took, without the network; detectors share theirs equally.
    """

    images: tuple[Loaded, ...]
    problems: tuple[str, ...]
    scores: tuple[np.ndarray, ...] = field(repr=False)
    seconds: np.ndarray = field(repr=False)

    @property
    def is_defective(self) -> list[bool]:
        """(n_images,), by label."""
        return [image.entry.label == "defective" for image in self.images]


def score_tests(
    scorers: Scorers,
    batches: Iterable[Batch],
    hook_points: frozenset[HookPoint],
    maps: MapFile | None,
    report: Callable[[int], None],
) -> TestScores:
    """Scores each batch and lets its images go.

    On a GPU the scores of one batch are fetched while it works on the next.

    Args:
        scorers: Of all runs.
        batches: From `load_ahead`.
        hook_points: What they read.
        maps: Where the maps of all runs are kept; None keeps only the scores.
        report: Called with the number of images done after each batch; whatever it raises ends the work.
    """
    at_once = 2 if scorers.store.backbone.device.type == "cuda" else 1
    images: list[Loaded] = []
    problems: list[str] = []
    scores: list[np.ndarray] = []
    under_way: deque[tuple[_Pending, int]] = deque()
    seconds, n_done = np.zeros(len(scorers)), 0

    def finish() -> None:
        """Waits for the oldest batch and keeps its scores and maps."""
        nonlocal n_done, seconds
        pending, n_images = under_way.popleft()
        pending.wait()
        seconds = seconds + pending.seconds
        scores.append(pending.scores.copy())  # on a GPU they are in memory that is needed again
        if maps is not None:
            maps.append(pending.maps)
        n_done += n_images
        report(n_done)

    for batch in batches:
        problems.extend(batch.problems)
        images.extend(batch.images)
        if batch.images:
            acts = _activations(batch, scorers.store, hook_points)
            pending = _Pending(*scorers.score(acts, batch.placements), maps is not None)
            under_way.append((pending, batch.n_entries))
        else:
            n_done += batch.n_entries
        while len(under_way) >= at_once:
            finish()
    while under_way:
        finish()
    return TestScores(
        tuple(images),
        tuple(problems),
        tuple(np.concatenate(scores or [np.zeros((len(scorers), 0))], axis=1)),
        seconds,
    )


class _Pending:
    """The scores and maps of all runs for one batch, on their way from the device."""

    def __init__(self, scored: Sequence[BatchScores], laps: Sequence[Lap], keep_maps: bool) -> None:
        self._laps = laps
        scores = torch.stack([one.scores for one in scored]) if scored else torch.zeros(0, 0)
        maps = torch.cat([one.maps for one in scored], dim=1) if keep_maps else scores.new_zeros(scores.shape[1], 0)
        self._sent = torch.cuda.Event() if scores.is_cuda else None  # type: ignore[no-untyped-call, unused-ignore]
        self._scores, self._maps = _to_host(scores), _to_host(maps)
        if self._sent is not None:
            self._sent.record(torch.cuda.current_stream(scores.device))

    def wait(self) -> None:
        """Until everything is here."""
        if self._sent is not None:
            self._sent.synchronize()

    @property
    def seconds(self) -> np.ndarray:
        """(n_runs,) float64, what the search of each took."""
        return np.array([lap.seconds for lap in self._laps])

    @property
    def scores(self) -> np.ndarray:
        """(n_runs, n_images) float64."""
        return self._scores.numpy()

    @property
    def maps(self) -> np.ndarray:
        """(n_images, n_patches of all runs one after the other) float32; no columns where maps are not kept."""
        return self._maps.numpy()


def _to_host(values: Tensor) -> Tensor:
    if not values.is_cuda:
        return values
    return torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)


def _activations(batch: Batch, store: FeatureStore, hook_points: frozenset[HookPoint]) -> dict[HookPoint, Tensor]:
    """Activations of a batch on the backbone's device; those of images also learned from are taken from the store."""
    backbone = store.backbone
    held = [store.held(image.sha256, hook_points) for image in batch.images]
    fresh = [i for i, rows in enumerate(held) if rows is None]
    found: dict[HookPoint, Tensor] = {}
    if fresh:
        canvases = batch.canvases if len(fresh) == len(held) else batch.canvases[fresh]
        pixels = backbone.pixels(canvases, [batch.images[i].placement for i in fresh])
        found = backbone.forward(pixels, hook_points, stay=True)
    if len(fresh) == len(held):
        return found
    rows_of = {i: row for row, i in enumerate(fresh)}
    dtypes = {hook_point: rows.dtype for hook_point, rows in found.items()}
    return {
        hook_point: torch.stack(
            [
                found[hook_point][rows_of[i]]
                if rows is None
                else rows[hook_point].to(backbone.device, dtypes.get(hook_point))
                for i, rows in enumerate(held)
            ]
        )
        for hook_point in hook_points
    }
