"""FeatureStore: activations of pictures, each computed once, kept in bounded memory.

The only door to the network's forward pass. Everything after it reads from here, so that moving a slider never runs
the model again.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.hooks import Place
from lake_core.data.images import Picture

DEFAULT_MAX_BYTES = 2 * 1024**3
Progress = Callable[[int, int], None]
"""Called with the number of pictures done and the number in all; it may raise to cancel."""


class FeatureStore:
    """Patch activations of pictures for one backbone.

    Thread-safe. When the bound is reached the pictures used longest ago are forgotten; asking for one again runs the
    model again, so the bound costs time, never correctness.

    Args:
        backbone: Whose activations.
        max_bytes: Bound on the activations held.
        batch_size: Pictures in one forward pass.
        on_device: Keep activations on the backbone's device, for detectors that are only fitted and asked by a panel.

    Attributes:
        n_forwards: Pictures that ran through the network so far.
        forward_seconds: Time that they took, with the waiting for other threads' forward passes.
    """

    def __init__(
        self,
        backbone: Backbone,
        max_bytes: int = DEFAULT_MAX_BYTES,
        batch_size: int = 4,
        on_device: bool = False,
    ) -> None:
        self.backbone = backbone
        self._on_device = on_device
        self.max_bytes = max_bytes
        self.batch_size = batch_size
        self.n_forwards = 0
        self.forward_seconds = 0.0
        self._held: OrderedDict[str, dict[Place, Tensor]] = OrderedDict()
        self._n_bytes = 0
        self._lock = threading.RLock()

    @property
    def n_bytes(self) -> int:
        """Bytes of activations held now."""
        return self._n_bytes

    def bytes_per_picture(self, places: Iterable[Place]) -> int:
        """Bytes that the places of one picture take."""
        return sum(4 * self.backbone.grid(place).n_patches * self._n_units(place) for place in places)

    def places_that_fit(self, n_pictures: int, needed: Iterable[Place]) -> frozenset[Place]:
        """All places of the backbone if those of n pictures fit into the bound, else only the needed ones."""
        everything = self.backbone.places
        fits = n_pictures * self.bytes_per_picture(everything) <= self.max_bytes
        return everything if fits else frozenset(needed)

    def missing(self, pictures: Iterable[Picture], places: Iterable[Place]) -> list[Picture]:
        """The pictures for which at least one of the places is not held, each once."""
        wanted = set(places)
        with self._lock:
            lacking = {p.sha256: p for p in pictures if not wanted <= self._held.get(p.sha256, {}).keys()}
        return list(lacking.values())

    def ensure(self, pictures: Sequence[Picture], places: Iterable[Place], on_progress: Progress | None = None) -> None:
        """Computes what is not held yet, in batches.

        Args:
            pictures: Any number; those with the same bytes are computed once.
            places: Places of the backbone.
            on_progress: Called after each batch; whatever it raises ends the work, what is done stays.
        """
        wanted = frozenset(places)
        todo = self.missing(pictures, wanted)
        for start in range(0, len(todo), self.batch_size):
            self._compute(todo[start : start + self.batch_size], wanted)
            if on_progress is not None:
                on_progress(min(start + self.batch_size, len(todo)), len(todo))

    def get(self, picture: Picture, place: Place) -> Tensor:
        """Activations of one picture at one place, (n_patches, n_units) float32; computed if not held."""
        with self._lock:
            held = self._held.get(picture.sha256)
            if held is not None and place in held:
                self._held.move_to_end(picture.sha256)
                return held[place]
        return self._compute([picture], frozenset({place}))[0][place]

    def held(self, sha256: str, places: Iterable[Place]) -> dict[Place, Tensor] | None:
        """Activations of the picture with that hash, or None if one of the places is not held; nothing is computed."""
        wanted = set(places)
        with self._lock:
            found = self._held.get(sha256, {})
            return {place: found[place] for place in wanted} if wanted <= found.keys() else None

    def stack(self, pictures: Sequence[Picture], place: Place) -> Tensor:
        """Activations of several pictures at one place, (n_pictures, n_patches, n_units) float32."""
        return torch.stack([self.get(picture, place) for picture in pictures])

    def _n_units(self, place: Place) -> int:
        if place.kind == "joint" or place.kind == "image":
            return self.backbone.joint_width
        return self.backbone.layer(place.layer).n_units[place.kind]

    def _compute(self, pictures: Sequence[Picture], places: frozenset[Place]) -> list[dict[Place, Tensor]]:
        started = time.perf_counter()
        pixels = torch.stack([self.backbone.prepare(picture) for picture in pictures])
        found = self.backbone.forward(pixels, places, stay=self._on_device)
        rows = [
            {place: tensor[i].to(torch.float32, copy=True) for place, tensor in found.items()}
            for i in range(len(pictures))
        ]
        with self._lock:
            self.n_forwards += len(pictures)
            self.forward_seconds += time.perf_counter() - started
            for picture, row in zip(pictures, rows, strict=True):
                held = self._held.setdefault(picture.sha256, {})
                self._n_bytes += sum(_n_bytes(row[place]) for place in row.keys() - held.keys())
                held.update(row)
                self._held.move_to_end(picture.sha256)
            while self._n_bytes > self.max_bytes and len(self._held) > 1:
                _, forgotten = self._held.popitem(last=False)
                self._n_bytes -= sum(_n_bytes(tensor) for tensor in forgotten.values())
        return rows


def _n_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
