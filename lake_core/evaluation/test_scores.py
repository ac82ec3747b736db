"""A panel of detectors asked about all test pictures of a data set, in one pass of the network."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.hooks import Place
from lake_core.detector.batch import Panel, Said
from lake_core.evaluation.loading import Batch
from lake_core.evaluation.maps import MapFile
from lake_core.evaluation.reading import Loaded


@dataclass(frozen=True, eq=False)
class Heard:
    """What all seats of a panel said of all pictures.

    Attributes:
        pictures: Those that could be read.
        problems: One sentence for each file that could not be used.
        scores: For each seat (n_pictures,) float64.
        n_detectors: How many searched; some seats share one.
        seconds: Of searching, without the network. On a GPU that is the time it took to ask for it.
    """

    pictures: tuple[Loaded, ...]
    problems: tuple[str, ...]
    scores: tuple[np.ndarray, ...] = field(repr=False)
    n_detectors: int
    seconds: float


def ask_all(
    panel: Panel,
    batches: Iterable[Batch],
    places: frozenset[Place],
    maps: MapFile | None,
    report: Callable[[int], None],
) -> Heard:
    """Asks the panel about each batch and lets the pictures go.

    On a GPU the answers to one batch are fetched while it works on the next.

    Args:
        panel: Who is asked.
        batches: From `load_ahead`.
        places: What the detectors read.
        maps: Where the maps of all seats are kept; None keeps only the scores.
        report: Called with the number of pictures done after each batch; whatever it raises ends the work.
    """
    at_once = 2 if panel.store.backbone.device.type == "cuda" else 1
    pictures: list[Loaded] = []
    problems: list[str] = []
    scores: list[np.ndarray] = []
    under_way: deque[tuple[_Answer, int]] = deque()
    seconds, n_done = 0.0, 0

    def finish() -> None:
        """Waits for the oldest answer and keeps what it says."""
        nonlocal n_done
        answer, n_pictures = under_way.popleft()
        answer.wait()
        scores.append(answer.scores.copy())  # on a GPU they are in memory that is needed again
        if maps is not None:
            maps.append(answer.maps)
        n_done += n_pictures
        report(n_done)

    for batch in batches:
        problems.extend(batch.problems)
        pictures.extend(batch.pictures)
        if batch.pictures:
            acts = _activations(batch, panel.store, places)
            started = time.perf_counter()
            answer = _Answer(panel.ask(acts, batch.placements), maps is not None)
            seconds += time.perf_counter() - started
            under_way.append((answer, batch.n_entries))
        else:
            n_done += batch.n_entries
        while len(under_way) >= at_once:
            finish()
    while under_way:
        finish()
    return Heard(
        tuple(pictures),
        tuple(problems),
        tuple(np.concatenate(scores or [np.zeros((len(panel.seats), 0))], axis=1)),
        len(panel.detectors),
        seconds,
    )


class _Answer:
    """What all seats said of one batch, on its way from the device."""

    def __init__(self, said: Sequence[Said], keep_maps: bool) -> None:
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
        """(n_seats, n_pictures) float64."""
        return self._scores.numpy()

    @property
    def maps(self) -> np.ndarray:
        """(n_pictures, n_patches of all seats one after the other) float32; no columns where maps are not kept."""
        return self._maps.numpy()


def _to_host(values: Tensor) -> Tensor:
    if not values.is_cuda:
        return values
    return torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)


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
    dtypes = {place: rows.dtype for place, rows in found.items()}
    return {
        place: torch.stack(
            [
                found[place][rows_of[i]] if rows is None else rows[place].to(backbone.device, dtypes.get(place))
                for i, rows in enumerate(held)
            ]
        )
        for place in places
    }
