"""FeatureStore: activations of images, each computed once, kept in bounded memory.

The only door to the network's forward pass. Everything after it reads from here, so that moving a slider never runs
the model again.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.budget import BoundedStore, MemoryBudget
from lake_core.data.images import InputImage
from lake_core.types import HookPoint, Progress


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
        budget: Bound on the activations held, which other stores may share; by default one of its own.
        batch_size: Images in one forward pass.
        on_device: Keep activations on the backbone's device, for detectors that are only fitted and asked by a batch
            scorer.

    Attributes:
        n_forwards: Images that went through the network so far.
        forward_seconds: Time that this took, waiting for other threads' forward passes included.
    """

    def __init__(
        self, backbone: Backbone, budget: MemoryBudget | None = None, batch_size: int = 4, on_device: bool = False
    ) -> None:
        self.backbone = backbone
        self.budget = budget if budget is not None else MemoryBudget()
        self.batch_size = batch_size
        self.n_forwards = 0
        self.forward_seconds = 0.0
        self._on_device = on_device
        self._images: BoundedStore[str, dict[HookPoint, Tensor]] = BoundedStore(self.budget)
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    @property
    def n_bytes(self) -> int:
        """Bytes of activations held now."""
        return self._images.n_bytes

    def bytes_per_image(self, hook_points: Iterable[HookPoint]) -> int:
        """Bytes that one image's activations at the hook points take."""
        return sum(
            4 * self.backbone.grid(hook_point).n_patches * self.backbone.n_neurons(hook_point)
            for hook_point in hook_points
        )

    def hook_points_that_fit(self, n_images: int, needed: Iterable[HookPoint]) -> frozenset[HookPoint]:
        """All of the backbone's hook points if n images fit into the budget with them, else only the needed ones."""
        everything = self.backbone.hook_points
        fits = n_images * self.bytes_per_image(everything) <= self.budget.max_bytes
        return everything if fits else frozenset(needed)

    def missing(self, images: Iterable[InputImage], hook_points: Iterable[HookPoint]) -> list[InputImage]:
        """The images for which at least one of the hook points is not held, each once."""
        wanted = set(hook_points)
        lacking = {image.sha256: image for image in images if self.held(image.sha256, wanted) is None}
        return list(lacking.values())

    def ensure(
        self, images: Sequence[InputImage], hook_points: Iterable[HookPoint], on_progress: Progress | None = None
    ) -> None:
        """Computes what is not held yet, in batches.

        Args:
            images: Any number; those with the same bytes are computed once.
            hook_points: Hook points of the backbone.
            on_progress: Called after each batch; whatever it raises ends the work, what is done stays.
        """
        wanted = frozenset(hook_points)
        todo = self.missing(images, wanted)
        for start in range(0, len(todo), self.batch_size):
            with self._turn:  # what another thread has computed by then is not computed again
                batch = self.missing(todo[start : start + self.batch_size], wanted)
                if batch:
                    self._compute(batch, wanted)
            if on_progress is not None:
                on_progress(min(start + self.batch_size, len(todo)), len(todo))

    def get(self, image: InputImage, hook_point: HookPoint) -> Tensor:
        """Activations of one image at one hook point, (n_patches, n_neurons) float32; computed if not held."""
        held = self._images.get(image.sha256)
        if held is not None and hook_point in held:
            return held[hook_point]
        return self._compute([image], frozenset({hook_point}))[0][hook_point]

    def held(self, sha256: str, hook_points: Iterable[HookPoint]) -> dict[HookPoint, Tensor] | None:
        """Activations of the image with that hash, or None if one is not held; nothing is computed."""
        wanted = set(hook_points)
        found = self._images.peek(sha256) or {}
        return {hook_point: found[hook_point] for hook_point in wanted} if wanted <= found.keys() else None

    def patches(self, images: Sequence[InputImage], hook_point: HookPoint) -> Patches:
        """Activations of several images at one hook point, with the patches that lie on them; computed if not held."""
        self.ensure(images, {hook_point})
        return Patches(self.stack(images, hook_point), self.backbone.inside(images, hook_point))

    def stack(self, images: Sequence[InputImage], hook_point: HookPoint) -> Tensor:
        """Activations of several images at one hook point, (n_images, n_patches, n_neurons) float32."""
        return torch.stack([self.get(image, hook_point) for image in images])

    def _compute(
        self, images: Sequence[InputImage], hook_points: frozenset[HookPoint]
    ) -> list[dict[HookPoint, Tensor]]:
        started = time.perf_counter()
        pixels = torch.stack([self.backbone.prepare(image) for image in images])
        found = self.backbone.forward(pixels, hook_points, stay=self._on_device)
        rows = [
            {hook_point: tensor[i].to(torch.float32, copy=True) for hook_point, tensor in found.items()}
            for i in range(len(images))
        ]
        with self._lock:  # what another thread has computed of the same image meanwhile is joined, not lost
            self.n_forwards += len(images)
            self.forward_seconds += time.perf_counter() - started
            for image, row in zip(images, rows, strict=True):
                joined = (self._images.peek(image.sha256) or {}) | row
                self._images.keep(image.sha256, joined, sum(map(_n_bytes, joined.values())))
        return rows


def _n_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
