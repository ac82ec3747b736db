"""A batch scorer of detectors asked about all test images of a data set, in one pass of the network."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.feature_store import FeatureStore
from lake_core.detector.batch import BatchScorer, BatchScores
from lake_core.evaluation.loading import Batch
from lake_core.evaluation.maps import MapFile
from lake_core.evaluation.reading import Loaded
from lake_core.types import HookPoint


@dataclass(frozen=True, eq=False)
class TestScores:
    """What all variants of a batch scorer said of all images.

    Attributes:
        images: Those that could be read.
        problems: One sentence for each file that could not be used.
        scores: For each variant (n_images,) float64.
        n_detectors: How many searched; some variants share one.
        seconds: Of searching, without the network. On a GPU that is the time it took to ask for it.
    """

    images: tuple[Loaded, ...]
    problems: tuple[str, ...]
    scores: tuple[np.ndarray, ...] = field(repr=False)
    n_detectors: int
    seconds: float


def score_tests(
    scorer: BatchScorer,
    batches: Iterable[Batch],
    hook_points: frozenset[HookPoint],
    maps: MapFile | None,
    report: Callable[[int], None],
) -> TestScores:
    """Asks the batch scorer about each batch and lets the images go.

    On a GPU the answers to one batch are fetched while it works on the next.

    Args:
        batch scorer: Who is asked.
        batches: From `load_ahead`.
        places: What the detectors read.
        maps: Where the maps of all variants are kept; None keeps only the scores.
        report: Called with the number of images done after each batch; whatever it raises ends the work.
    """
    at_once = 2 if scorer.store.backbone.device.type == "cuda" else 1
    images: list[Loaded] = []
    problems: list[str] = []
    scores: list[np.ndarray] = []
    under_way: deque[tuple[_Answer, int]] = deque()
    seconds, n_done = 0.0, 0

    def finish() -> None:
        """Waits for the oldest answer and keeps what it says."""
        nonlocal n_done
        answer, n_images = under_way.popleft()
        answer.wait()
        scores.append(answer.scores.copy())  # on a GPU they are in memory that is needed again
        if maps is not None:
            maps.append(answer.maps)
        n_done += n_images
        report(n_done)

    for batch in batches:
        problems.extend(batch.problems)
        images.extend(batch.images)
        if batch.images:
            acts = _activations(batch, scorer.store, hook_points)
            started = time.perf_counter()
            answer = _Answer(scorer.score(acts, batch.placements), maps is not None)
            seconds += time.perf_counter() - started
            under_way.append((answer, batch.n_entries))
        else:
            n_done += batch.n_entries
        while len(under_way) >= at_once:
            finish()
    while under_way:
        finish()
    return TestScores(
        tuple(images),
        tuple(problems),
        tuple(np.concatenate(scores or [np.zeros((len(scorer.variants), 0))], axis=1)),
        len(scorer.detectors),
        seconds,
    )


class _Answer:
    """What all variants said of one batch, on its way from the device."""

    def __init__(self, said: Sequence[BatchScores], keep_maps: bool) -> None:
        scores = torch.stack([one.scores for one in said])
        maps = torch.cat([one.maps for one in said], dim=1) if keep_maps else scores.new_zeros(scores.shape[1], 0)
        self._sent = torch.cuda.Event() if scores.is_cuda else None
        self._scores, self._maps = _to_host(scores), _to_host(maps)
        if self._sent is not None:
            self._sent.record(torch.cuda.current_stream(scores.device))

    def wait(self) -> None:
        """Until everything is here."""
        if self._sent is not None:
            self._sent.synchronize()

    @property
    def scores(self) -> np.ndarray:
        """(n_seats, n_images) float64."""
        return self._scores.numpy()

    @property
    def maps(self) -> np.ndarray:
        """(n_images, n_patches of all variants one after the other) float32; no columns where maps are not kept."""
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
