"""A panel of detectors asked about all test pictures of a data set, in one pass of the network."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from lake_core.capture import Place
from lake_core.features import FeatureStore
from lake_core.loading import Batch
from lake_core.panel import Panel, Said
from lake_core.reading import Loaded


@dataclass(frozen=True, eq=False)
class Heard:
    """What all seats of a panel said of all pictures.

    Attributes:
        pictures: Those that could be read.
        problems: One sentence for each file that could not be used.
        scores: For each seat (n_pictures,) float64.
        maps: For each seat (n_pictures, n_patches) float32; (n_pictures, 0) where maps were not kept.
        n_detectors: How many searched; some seats share one.
        seconds: Of searching, without the network. On a GPU that is the time it took to ask for it.
    """

    pictures: tuple[Loaded, ...]
    problems: tuple[str, ...]
    scores: tuple[np.ndarray, ...] = field(repr=False)
    maps: tuple[np.ndarray, ...] = field(repr=False)
    n_detectors: int
    seconds: float


def ask_all(
    panel: Panel, batches: Iterable[Batch], places: frozenset[Place], keep_maps: bool, report: Callable[[int], None]
) -> Heard:
    """Asks the panel about each batch and lets the pictures go.

    On a GPU the answers to one batch are fetched while it works on the next.

    Args:
        panel: Who is asked.
        batches: From `load_ahead`.
        places: What the detectors read.
        keep_maps: Keep the maps, not only the scores.
        report: Called with the number of pictures done after each batch; whatever it raises ends the work.
    """
    at_once = 2 if panel.store.backbone.device.type == "cuda" else 1
    pictures: list[Loaded] = []
    problems: list[str] = []
    answers: list[_Answer] = []
    under_way: deque[tuple[_Answer, int]] = deque()
    seconds, n_done = 0.0, 0
    for batch in batches:
        problems.extend(batch.problems)
        pictures.extend(batch.pictures)
        if batch.pictures:
            acts = _activations(batch, panel.store, places)
            started = time.perf_counter()
            answer = _Answer(panel.ask(acts, batch.placements), keep_maps)
            seconds += time.perf_counter() - started
            answers.append(answer)
            under_way.append((answer, batch.n_entries))
        else:
            n_done += batch.n_entries
        while len(under_way) >= at_once:
            n_done += _finished(under_way)
            report(n_done)
    while under_way:
        n_done += _finished(under_way)
        report(n_done)
    n_seats = len(panel.seats)
    return Heard(
        tuple(pictures),
        tuple(problems),
        tuple(np.concatenate([answer.scores(seat) for answer in answers] or [np.zeros(0)]) for seat in range(n_seats)),
        tuple(np.concatenate([answer.maps(seat) for answer in answers] or [np.zeros(0)]) for seat in range(n_seats)),
        len(panel.detectors),
        seconds,
    )


class _Answer:
    """What all seats said of one batch, on its way from the device."""

    def __init__(self, said: Sequence[Said], keep_maps: bool) -> None:
        starts = np.cumsum([0] + [one.maps.shape[1] if keep_maps else 0 for one in said])
        self._columns = [slice(first, last) for first, last in pairwise(starts)]
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

    def scores(self, seat: int) -> np.ndarray:
        return self._scores[seat].numpy()

    def maps(self, seat: int) -> np.ndarray:
        return self._maps[:, self._columns[seat]].numpy()


def _to_host(values: Tensor) -> Tensor:
    if not values.is_cuda:
        return values
    return torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)


def _finished(under_way: deque[tuple[_Answer, int]]) -> int:
    """Waits for the oldest answer; the number of pictures it was about."""
    answer, n_pictures = under_way.popleft()
    answer.wait()
    return n_pictures


def _activations(batch: Batch, store: FeatureStore, places: frozenset[Place]) -> dict[Place, Tensor]:
    """Activations of a batch on the backbone's device; those of pictures also learned from are taken from the store."""
    backbone = store.backbone
    held = [store.held(picture.sha256, places) for picture in batch.pictures]
    fresh = [i for i, rows in enumerate(held) if rows is None]
    found: dict[Place, Tensor] = {}
    if fresh:
        canvases = batch.canvases if len(fresh) == len(held) else batch.canvases[fresh]
        pixels = backbone.pixels(canvases, [batch.pictures[i].placement for i in fresh])
        found = backbone.forward(pixels, places, stay=True)
    if len(fresh) == len(held):
        return found
    rows_of = {i: row for row, i in enumerate(fresh)}
    return {
        place: torch.stack(
            [
                found[place][rows_of[i]] if rows is None else rows[place].to(backbone.device)
                for i, rows in enumerate(held)
            ]
        )
        for place in places
    }
