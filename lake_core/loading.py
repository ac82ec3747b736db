"""Pictures of a data set read, decoded and laid into the model's input by a few threads, ahead of the network."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones import Backbone
from lake_core.datasets import Entry, united_mask
from lake_core.errors import ImageError
from lake_core.geometry import Placement
from lake_core.images import Picture, read_picture

MAX_PIXEL_SIDE = 256
N_AHEAD = 3
"""Batches that may wait for the network, so that memory is bounded whichever side is faster."""
_MAX_THREADS = 16


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask reduced for comparison, (h, w) bool, and where its picture lies in the model's input."""

    defect: np.ndarray = field(repr=False)
    placement: Placement


@dataclass(frozen=True, eq=False)
class Loaded:
    """What stays of a picture once it is laid into the model's input; `mask` is None where none can be compared."""

    entry: Entry
    sha256: str
    placement: Placement
    mask: Mask | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures for one forward pass.

    Attributes:
        pictures: Those that could be read.
        canvases: (n_pictures, height, width, 3) uint8, in pinned memory where the backbone is on a GPU.
        n_entries: How many were to be read.
        problems: One sentence for each that could not, and for each mask that could not.
    """

    pictures: tuple[Loaded, ...]
    canvases: Tensor = field(repr=False)
    n_entries: int
    problems: tuple[str, ...] = ()

    @property
    def placements(self) -> list[Placement]:
        return [picture.placement for picture in self.pictures]


def load_ahead(
    entries: Sequence[Entry], backbone: Backbone, batch_size: int, with_masks: bool, n_threads: int | None = None
) -> Iterator[Batch]:
    """Batches of pictures in the order of the entries, read while the caller works on those before.

    Args:
        entries: Labelled test pictures.
        backbone: Whose input they are laid into.
        batch_size: Pictures in a batch; one that cannot be read leaves its batch smaller.
        with_masks: Also read and reduce masks.
        n_threads: Threads that read; None takes one beside a network on the CPU, and what there is beside a GPU.
    """
    on_gpu = backbone.device.type == "cuda"
    starts = deque(range(0, len(entries), batch_size))
    waiting: deque[tuple[int, Tensor, list[Future[tuple[Loaded | None, str]]]]] = deque()
    pool = ThreadPoolExecutor(n_threads or (_n_cores() if on_gpu else 1), thread_name_prefix="lake-read")

    def submit() -> None:
        start = starts.popleft()
        of_batch = entries[start : start + batch_size]
        canvases = torch.empty((len(of_batch), *backbone.input_size, 3), dtype=torch.uint8, pin_memory=on_gpu)
        rows = canvases.numpy()
        jobs = [pool.submit(_load, entry, backbone, rows[i], with_masks) for i, entry in enumerate(of_batch)]
        waiting.append((len(of_batch), canvases, jobs))

    try:
        while starts or waiting:
            while starts and len(waiting) < N_AHEAD:
                submit()
            n_entries, canvases, jobs = waiting.popleft()
            found = [job.result() for job in jobs]
            good = [i for i, (picture, _) in enumerate(found) if picture is not None]
            yield Batch(
                tuple(picture for picture, _ in found if picture is not None),
                canvases if len(good) == n_entries else canvases[good],
                n_entries,
                tuple(problem for _, problem in found if problem),
            )
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def reduced_mask(mask: np.ndarray | None, picture: Picture, placement: Placement) -> Mask:
    """A mask at the size of comparison; None stands for an empty one.

    The picture's size is divided by the least whole factor that brings its longest side to MAX_PIXEL_SIDE or below; a
    reduced pixel is defect if any of its pixels is.
    """
    factor = -(-max(picture.size) // MAX_PIXEL_SIDE)
    if mask is None:
        return Mask(np.zeros((-(-picture.height // factor), -(-picture.width // factor)), dtype=bool), placement)
    for axis in (0, 1) if factor > 1 else ():
        mask = np.logical_or.reduceat(mask, np.arange(0, mask.shape[axis], factor), axis=axis)
    return Mask(mask, placement)


def _load(entry: Entry, backbone: Backbone, canvas: np.ndarray, with_mask: bool) -> tuple[Loaded | None, str]:
    """A picture laid into `canvas`, and what there is to say."""
    try:
        picture = read_picture(entry.path, entry.name)
    except ImageError as error:
        return None, str(error)
    canvas[...] = backbone.canvas(picture)
    placement = backbone.placement(picture)
    mask, problem = None, ""
    if with_mask and entry.label == "good":
        mask = reduced_mask(None, picture, placement)
    elif with_mask and entry.masks:
        try:
            mask = reduced_mask(united_mask(entry.masks, picture.size), picture, placement)
        except ImageError as error:
            problem = f"{entry.name} is compared without its mask: {error}"
    return Loaded(entry, picture.sha256, placement, mask), problem


def _n_cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MAX_THREADS, cores))
