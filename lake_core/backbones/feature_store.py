"""FeatureStore: activations of images, each computed once, kept in bounded memory.

The only door to the network's forward pass. Everything after it reads from here, so that moving a slider never runs
the model again.
"""

import math
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.budget import BoundedStore, MemoryBudget
from lake_core.backbones.spill import Spill
from lake_core.data.images import InputImage
from lake_core.types import HookPoint, Progress

_MAX_WAITING = 8
"""Images that may wait in memory for being written to the file."""


class Patches(NamedTuple):
    """Activations of several images at one hook point.

    Attributes:
        acts_ipn: (n_images, n_patches, n_neurons) float32.
        inside_ip: (n_images, n_patches) bool, patches that lie on the image.
    """

    acts_ipn: Tensor
    inside_ip: Tensor

    def of(self, images: Sequence[int]) -> "Patches":
        """Those of some of the images, by their indices."""
        return Patches(self.acts_ipn[images], self.inside_ip[images])

    def numpy(self) -> tuple[np.ndarray, np.ndarray]:
        """Both as arrays that share their memory."""
        return self.acts_ipn.numpy(), self.inside_ip.numpy()

    def on_image(self) -> Tensor:
        """(n, n_neurons) float32: the patches that lie on the images, image by image."""
        return self.acts_ipn[self.inside_ip]


class FeatureStore:
    """Patch activations of images for one backbone.

    Thread-safe. When its memory budget runs out the images used longest ago are dropped; asking for one again runs the
    network again, so the bound costs time, never correctness.

    Args:
        backbone: Whose activations.
        budget: Bound on the activations held in memory, which other stores may share; by default one of its own.
        batch_size: Images in one forward pass; None takes the size that the backbone is fastest with.
        on_device: Keep activations on the backbone's device, for detectors that are only fitted and asked by a batch
            scorer.
        disk: Bound on a temporary file for what `ensure` is asked to compute besides what is needed now, which other
            stores may share; None keeps everything in memory.

    Attributes:
        n_forwards: Images that went through the network so far.
        forward_seconds: Time that this took, waiting for other threads' forward passes included.
    """

    def __init__(
        self,
        backbone: Backbone,
        budget: MemoryBudget | None = None,
        batch_size: int | None = None,
        on_device: bool = False,
        disk: MemoryBudget | None = None,
    ) -> None:
        self.backbone = backbone
        self.budget = budget if budget is not None else MemoryBudget()
        self.n_forwards = 0
        self.forward_seconds = 0.0
        self._batch_size = batch_size
        self._on_device = on_device
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._images: BoundedStore[str, dict[HookPoint, Tensor]] = BoundedStore(self.budget)
        self._file = None if disk is None else _BehindFile(self._images, Spill(_shapes(backbone), disk), self._lock)

    @property
    def batch_size(self) -> int:
        """Images in the next forward pass."""
        return self.backbone.batch_size.next() if self._batch_size is None else self._batch_size

    @property
    def n_bytes(self) -> int:
        """Bytes of activations held in memory now."""
        return self._images.n_bytes

    def bytes_per_image(self, hook_points: Iterable[HookPoint]) -> int:
        """Bytes that one image's activations at the hook points take."""
        shapes = _shapes(self.backbone)
        return sum(4 * math.prod(shapes[hook_point]) for hook_point in hook_points)

    def hook_points_that_fit(self, n_images: int, needed: Iterable[HookPoint]) -> frozenset[HookPoint]:
        """All of the backbone's hook points if n images fit into the budget with them, else only the needed ones."""
        everything = self.backbone.hook_points
        room = self.budget.max_bytes if self._file is None else self._file.spill.budget.max_bytes
        return everything if n_images * self.bytes_per_image(everything) <= room else frozenset(needed)

    def missing(self, images: Iterable[InputImage], hook_points: Iterable[HookPoint]) -> list[InputImage]:
        """The images for which at least one of the hook points is not held, each once."""
        wanted = frozenset(hook_points)
        lacking = {image.sha256: image for image in images if not wanted <= self._held(image.sha256)}
        return list(lacking.values())

    def ensure(
        self,
        images: Sequence[InputImage],
        hook_points: Iterable[HookPoint],
        on_progress: Progress | None = None,
        besides: Iterable[HookPoint] = (),
    ) -> None:
        """Computes what is not held yet, in batches.

        Args:
            images: Any number; those with the same bytes are computed once.
            hook_points: Hook points of the backbone.
            on_progress: Called after each batch; whatever it raises ends the work, what is done stays.
            besides: Further hook points, which are not read soon.
        """
        needed = frozenset(hook_points)
        wanted = needed.union(besides)
        todo, done = self.missing(images, wanted), 0
        while done < len(todo):
            with self._turn:  # what another thread has computed by then is not computed again
                batch = todo[done : done + self.batch_size]
                lacking = self.missing(batch, wanted)
                if lacking:
                    self._compute(lacking, wanted, wanted - needed)
            done += len(batch)
            if on_progress is not None:
                on_progress(done, len(todo))

    def get(self, image: InputImage, hook_point: HookPoint) -> Tensor:
        """Activations of one image at one hook point, (n_patches, n_neurons) float32; computed if not held."""
        found = self._read(image.sha256, hook_point)
        return self._compute([image], frozenset({hook_point}))[0][hook_point] if found is None else found

    def held(self, sha256: str, hook_points: Iterable[HookPoint]) -> dict[HookPoint, Tensor] | None:
        """Activations of the image with that hash, or None if one is not held; nothing is computed."""
        found = {hook_point: self._read(sha256, hook_point) for hook_point in frozenset(hook_points)}
        complete = {hook_point: rows for hook_point, rows in found.items() if rows is not None}
        return complete if len(complete) == len(found) else None

    def _held(self, sha256: str) -> frozenset[HookPoint]:
        in_memory = frozenset(self._images.peek(sha256) or ())
        return in_memory if self._file is None else in_memory | self._file.spill.written(sha256)

    def _read(self, sha256: str, hook_point: HookPoint) -> Tensor | None:
        rows = (self._images.get(sha256) or {}).get(hook_point)
        return self._file.spill.read(sha256, hook_point) if rows is None and self._file is not None else rows

    def patches(self, images: Sequence[InputImage], hook_point: HookPoint) -> Patches:
        """Activations of several images at one hook point, with the patches that lie on them; computed if not held."""
        self.ensure(images, {hook_point})
        return Patches(self.stack(images, hook_point), self.backbone.inside(images, hook_point))

    def stack(self, images: Sequence[InputImage], hook_point: HookPoint) -> Tensor:
        """Activations of several images at one hook point, (n_images, n_patches, n_neurons) float32."""
        return torch.stack([self.get(image, hook_point) for image in images])

    def _compute(
        self,
        images: Sequence[InputImage],
        hook_points: frozenset[HookPoint],
        besides: frozenset[HookPoint] = frozenset(),
    ) -> list[dict[HookPoint, Tensor]]:
        pixels = torch.stack([self.backbone.prepare(image) for image in images])
        started = time.perf_counter()
        found = self.backbone.forward(pixels, hook_points, stay=self._on_device)
        seconds = time.perf_counter() - started
        rows = [
            {hook_point: tensor[i].to(torch.float32, copy=True) for hook_point, tensor in found.items()}
            for i in range(len(images))
        ]
        with self._lock:  # what another thread has computed of the same image meanwhile is joined, not lost
            self.backbone.batch_size.took(len(images), seconds)
            self.n_forwards += len(images)
            self.forward_seconds += seconds
            for image, row in zip(images, rows, strict=True):
                _keep(self._images, image.sha256, (self._images.peek(image.sha256) or {}) | row)
        if self._file is not None:
            for image, row in zip(images, rows, strict=True):
                self._file.move(image.sha256, row, besides)
        return rows


class _BehindFile:
    """Moves activations from memory into the file while the next images are computed."""

    def __init__(self, images: BoundedStore[str, dict[HookPoint, Tensor]], spill: Spill, lock: threading.Lock) -> None:
        self.spill = spill
        self._images, self._lock = images, lock
        self._writer = ThreadPoolExecutor(1, "lake-spill")
        self._places = threading.BoundedSemaphore(_MAX_WAITING)

    def move(self, sha256: str, rows: dict[HookPoint, Tensor], besides: frozenset[HookPoint]) -> None:
        """Writes rows of an image; those that are not needed soon leave memory when they are in the file."""
        self._places.acquire()
        self._writer.submit(self._moved, sha256, rows, besides).add_done_callback(lambda _: self._places.release())

    def _moved(self, sha256: str, rows: dict[HookPoint, Tensor], besides: frozenset[HookPoint]) -> None:
        if not self.spill.keep(sha256, rows):
            return
        with self._lock:
            held = self._images.peek(sha256)
            if held is not None:
                _keep(self._images, sha256, {one: tensor for one, tensor in held.items() if one not in besides})


def _keep(images: BoundedStore[str, dict[HookPoint, Tensor]], sha256: str, rows: dict[HookPoint, Tensor]) -> None:
    images.keep(sha256, rows, sum(tensor.numel() * tensor.element_size() for tensor in rows.values()))


def _shapes(backbone: Backbone) -> dict[HookPoint, tuple[int, int]]:
    return {one: (backbone.grid(one).n_patches, backbone.n_neurons(one)) for one in sorted(backbone.hook_points)}
