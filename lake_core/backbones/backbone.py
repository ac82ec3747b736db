"""A backbone: an open_clip model with its layers, neurons and patches, and its text tower."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lake_core.backbones.adapters import adapter_of
from lake_core.backbones.adapters.base import Adapter, Ceiling
from lake_core.backbones.batch_size import BATCH_ON_CPU, BATCH_ON_GPU, BatchSize
from lake_core.backbones.devices import checked_precision, convert_weights, exact_convolutions
from lake_core.backbones.folding import fold_batch_norms
from lake_core.backbones.hooks import Hooks
from lake_core.backbones.loading import Loaded
from lake_core.backbones.patch_grid import Frame, PatchGrid, Placement
from lake_core.backbones.preprocessing import normalised
from lake_core.backbones.texts import text_embeddings
from lake_core.config import Recommended
from lake_core.data.images import InputImage
from lake_core.errors import BackboneError
from lake_core.types import SITES, HookPoint, Site

if TYPE_CHECKING:
    from lake_core.backbones.opening import Opening

Change = Callable[[Tensor], None]
"""Overwrites a hook point's maps (batch, neurons, rows, cols): the tower's own, without class tokens."""

FORWARD_LOCK = threading.Lock()
"""One forward pass at a time in a process: two at once on busy cores are many times slower than one after the other."""

_SMALL_INPUT = (64, 64)
_TEXT_BATCH = 64
_TEXTS_KEPT = 4096


@dataclass(frozen=True)
class Layer:
    """One block of the image tower.

    Attributes:
        number: From 1 at the input.
        grid: Its patches.
        n_neurons: Number of neurons at each site that the layer has.
    """

    number: int
    grid: PatchGrid
    n_neurons: dict[Site, int]


class Backbone:
    """A model that is open. Make one with `open_backbone`.

    Attributes:
        spec: What was opened.
        opening: What was asked for, with the device "auto" resolved.
        device: Where it runs.
        precision: Of the image tower's numbers; activations are float32 whatever it is.
        key: Identifies everything that an image's features depend on; the same key means the same features.
        family: Family of the image tower.
        input_size: (height, width) of the model's input in pixels.
        frame: The model's input as images are laid into it.
        layers: The image tower's layers, first at the input.
        joint_grid: Grid of the patch directions in the joint space, or None if the tower has none.
        joint_width: Dimension of the joint space.
        logit_scale: Factor on cosines before the softmax, as trained.
        batch_size: How many images are fastest in one pass.
        recommended: Layers, site and distance that suit the model where the user has not chosen.
        is_tuned: Whether these were measured; else they follow a rule of ours.
        notes: Sentences worth showing.
    """

    def __init__(self, opening: "Opening", loaded: Loaded, input_size: tuple[int, int]) -> None:
        self.opening = opening
        self.spec = opening.spec
        self.device = torch.device(opening.device)
        self.precision = opening.precision
        self._dtype = checked_precision(opening.precision)
        self.resize = opening.resize
        self.notes = loaded.notes
        self._model = loaded.model
        self.adapter = adapter_of(loaded.model)
        if self._dtype == torch.float32:  # folded, half precision would round what stays float32 apart
            size = _SMALL_INPUT if self.takes_any_size else input_size
            fold_batch_norms(self._model.visual, torch.zeros(1, 3, *size))
        self._model.to(self.device)
        convert_weights(self._model.visual, self._dtype)
        self._tokenize = loaded.tokenize
        self._preprocess = loaded.preprocess
        self._text_rows: dict[str, Tensor] = {}
        self._model.visual.to(memory_format=self.adapter.memory_format)
        self.input_size = input_size
        self.frame = Frame(*input_size, opening.resize, loaded.preprocess.get("interpolation", "bicubic"))
        on_cpu = self.device.type == "cpu"
        self.batch_size = BatchSize(BATCH_ON_CPU, 1, 8) if on_cpu else BatchSize(*3 * [BATCH_ON_GPU])
        self._hooks = Hooks(self.adapter.hooks(), self.adapter.patches)
        self.family = self.adapter.family
        self.layers, self.joint_grid, self.joint_width = self._probe()
        scale = getattr(loaded.model, "logit_scale", None)
        self.logit_scale = float(scale.exp()) if scale is not None else 100.0
        self.is_tuned = loaded.hints is not None
        self.recommended = loaded.hints.recommended() if loaded.hints else _rule_of_thumb(self.layers)
        self.key = "|".join((self.spec, "x".join(map(str, input_size)), opening.resize, self.device.type))
        if self.precision != "fp32":
            self.key += f"|{self.precision}"

    def __repr__(self) -> str:
        return f"Backbone({self.spec!r}, {self.family}, {len(self.layers)} layers, input {self.input_size})"

    @property
    def network(self) -> nn.Module:
        """The open_clip model itself, to look at; changing it would change every result."""
        return self._model  # type: ignore[no-any-return]

    @property
    def weight_bytes(self) -> int:
        """Memory of both towers' weights."""
        return sum(weight.numel() * weight.element_size() for weight in self._model.parameters())

    def layer(self, number: int) -> Layer:
        """The layer of that number.

        Raises:
            BackboneError: if there is none.
        """
        if not 1 <= number <= len(self.layers):
            raise BackboneError(f"{self.spec} has no layer {number}; its layers are 1 to {len(self.layers)}.")
        return self.layers[number - 1]

    def layers_with(self, site: Site) -> tuple[int, ...]:
        """Numbers of the layers that have neurons at a site."""
        return tuple(layer.number for layer in self.layers if site in layer.n_neurons)

    def hook_point(self, layer: int, site: Site) -> HookPoint:
        """The hook point of a layer and site.

        Raises:
            BackboneError: if the layer does not exist or has no neurons there.
        """
        if site not in self.layer(layer).n_neurons:
            having = ", ".join(str(number) for number in self.layers_with(site)) or "none"
            raise BackboneError(f"Layer {layer} of {self.spec} has no {site} neurons; layers that have: {having}.")
        return HookPoint(layer, site)

    @property
    def takes_any_size(self) -> bool:
        """Whether the input size can be chosen freely (convolutional towers)."""
        return self.adapter.sizes == "any"

    @property
    def hook_points(self) -> frozenset[HookPoint]:
        """All hook points whose activations `forward` can give."""
        return self._hooks.hook_points | self.text_hook_points

    @property
    def text_hook_points(self) -> frozenset[HookPoint]:
        """Those of the joint space: the whole image and, if the tower has them, the patch directions."""
        joint = self.joint_hook_point
        return frozenset({self.image_hook_point} if joint is None else {self.image_hook_point, joint})

    @property
    def joint_hook_point(self) -> HookPoint | None:
        """The hook point of the patch directions, or None if the tower has none."""
        return HookPoint(len(self.layers), "joint") if self.joint_grid is not None else None

    @property
    def image_hook_point(self) -> HookPoint:
        """The hook point of the whole-image vector."""
        return HookPoint(len(self.layers), "image")

    def grid(self, hook_point: HookPoint) -> PatchGrid:
        """The patch grid of a hook point; for the whole image, one patch."""
        if hook_point.site == "image":
            return PatchGrid(1, 1, *self.input_size)
        if hook_point.site == "joint":
            if self.joint_grid is None:
                raise BackboneError(f"{self.spec} has no patch directions in the joint space.")
            return self.joint_grid
        return self.layer(hook_point.layer).grid

    def n_neurons(self, hook_point: HookPoint) -> int:
        """Number of neurons at a hook point; in the joint space its dimension."""
        if hook_point.site == "joint" or hook_point.site == "image":
            return self.joint_width
        return self.layer(hook_point.layer).n_neurons[hook_point.site]

    def ceiling(self, hook_point: HookPoint) -> Ceiling | None:
        """The greatest value that neurons of a hook point can take, or None if their activation function has none."""
        if hook_point.site != "mlp_hidden":
            return None
        return self.adapter.ceiling(self.adapter.blocks()[hook_point.layer - 1])

    def check_neurons(self, hook_point: HookPoint, neurons: Iterable[int]) -> None:
        """Raises a BackboneError for a neuron that the hook point does not have."""
        n_neurons = self.n_neurons(hook_point)
        for neuron in neurons:
            if not 0 <= neuron < n_neurons:
                raise BackboneError(
                    f"Layer {hook_point.layer} of {self.spec} has no {hook_point.site} neuron {neuron}; choose 0 to "
                    f"{n_neurons - 1}."
                )

    def check_patches(self, hook_point: HookPoint, patches: Iterable[int]) -> None:
        """Raises a BackboneError for a patch that the grid of the hook point does not have."""
        grid = self.grid(hook_point)
        for patch in patches:
            if not 0 <= patch < grid.n_patches:
                raise BackboneError(
                    f"Layer {hook_point.layer} of {self.spec} has no patch {patch}; choose 0 to "
                    f"{grid.n_patches - 1} ({grid.rows} x {grid.cols})."
                )

    def placement(self, image: InputImage) -> Placement:
        """Where the image lies in the model's input."""
        return self.frame.placement(image)

    def inside(self, images: Sequence[InputImage], hook_point: HookPoint) -> Tensor:
        """(n_images, n_patches) bool: which patches of a hook point's grid lie on each image."""
        grid = self.grid(hook_point)
        return torch.from_numpy(np.stack([grid.inside(self.placement(image)) for image in images]))

    def prepare(self, image: InputImage) -> Tensor:
        """The image as the model's input, (3, height, width) float32, preprocessed as the model was trained."""
        canvas = torch.from_numpy(self.frame.canvas(image))
        return self._normalised(canvas[None], [self.placement(image)])[0]

    def pixels(self, canvases: Tensor, placements: Sequence[Placement]) -> Tensor:
        """The model's input from canvases, on the backbone's device: on the CPU equal to what `prepare` gives.

        Args:
            canvases: (batch, height, width, 3) uint8 from `frame.canvas`; copied to a GPU while other work goes on if
                they are pinned.
            placements: Where each image lies.
        Returns:
            (batch, 3, height, width) float32.
        """
        return self._normalised(canvases.to(self.device, non_blocking=True), placements)

    def _normalised(self, canvases: Tensor, placements: Sequence[Placement]) -> Tensor:
        return normalised(canvases, placements, tuple(self._preprocess["mean"]), tuple(self._preprocess["std"]))

    @torch.inference_mode()
    def forward(
        self,
        pixels: Tensor,
        hook_points: Iterable[HookPoint],
        changes: Mapping[HookPoint, Change] | None = None,
        stay: bool = False,
    ) -> dict[HookPoint, Tensor]:
        """Activations at the hook points, in one pass through the image tower.

        Args:
            pixels: (batch, 3, height, width) float32 from `prepare` or `pixels`.
            hook_points: Any of `self.hook_points`; only these are kept and copied.
            changes: What to change inside the network in this pass. For each hook point at one of SITES a function
                that is given a copy of the patch tokens as maps (batch, neurons, rows, cols) and writes into it; class
                tokens stay. The rows and cols are the tower's own, which in the first blocks of a convolutional tower
                are a whole multiple of the patch grid's. What is collected there and later is what was written.
            stay: Leave the activations on the backbone's device and in its precision; on a GPU the work may then
                still be under way.
        Returns:
            Hook point -> (batch, n_patches, n_neurons), float32 on the CPU unless they stay. Rows of "joint" and
            "image" have length 1, and are always float32.
        Raises:
            KeyError: if nothing can be changed at a hook point.
        """
        wanted = frozenset(hook_points)
        replacements = {key: self._replacement(key, change) for key, change in (changes or {}).items()}
        exactly = exact_convolutions() if self.device.type == "cuda" and self.precision == "fp32" else nullcontext()
        collecting = self._hooks.collecting(wanted - self.text_hook_points)
        with FORWARD_LOCK, exactly, self._hooks.replacing(replacements), collecting as found:
            laid_out = pixels.to(self.device, self._dtype).contiguous(memory_format=self.adapter.memory_format)
            image, directions = self.adapter.forward(laid_out)
            maps = dict(found)
            if directions is not None and self.joint_hook_point is not None and self.joint_hook_point in wanted:
                maps[self.joint_hook_point] = F.normalize(directions.float(), dim=1)
            if self.image_hook_point in wanted:
                maps[self.image_hook_point] = F.normalize(image.float(), dim=1)[:, :, None, None]
            rows = {key: value.flatten(2).transpose(1, 2).contiguous() for key, value in maps.items()}
            return rows if stay else {key: value.float().cpu() for key, value in rows.items()}

    def with_tower(self, adapter: Adapter) -> "Backbone":
        """The same backbone that computes with another copy of its image tower, which gets hooks of its own."""
        other = copy(self)
        other.adapter, other._hooks = adapter, Hooks(adapter.hooks(), adapter.patches)
        return other

    def _replacement(self, hook_point: HookPoint, change: Change) -> Callable[[Tensor], Tensor]:
        def replacement(raw: Tensor) -> Tensor:
            changed = raw.clone()
            # Maps are views of the tower's own tensor in every family, so writing to them writes to `changed`.
            change(self.adapter.maps(changed, hook_point))
            return changed

        return replacement

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings of texts in the joint space, (n, joint) float32 on the CPU, each of length 1.

        Each text runs through the text tower once; its embedding is kept (the latest few thousand).
        """
        with FORWARD_LOCK:
            new = [text for text in dict.fromkeys(texts) if text not in self._text_rows]
            for start in range(0, len(new), _TEXT_BATCH):
                batch = new[start : start + _TEXT_BATCH]
                self._text_rows.update(zip(batch, self._encode(batch), strict=True))
            rows = torch.stack([self._text_rows[text] for text in texts])
            for text in list(self._text_rows)[: max(0, len(self._text_rows) - _TEXTS_KEPT)]:
                del self._text_rows[text]
        return rows

    @torch.inference_mode()
    def _encode(self, texts: list[str]) -> Tensor:
        tokens = self._tokenize(texts).to(self.device)
        return text_embeddings(self._model, tokens).float().cpu().clone()

    def _probe(self) -> tuple[tuple[Layer, ...], PatchGrid | None, int]:
        """The layers, and grid and width of the joint space, read off one forward pass of an empty image."""
        height, width = self.input_size
        with torch.inference_mode(), self._hooks.collecting(self._hooks.hook_points) as found:
            image, directions = self.adapter.forward(
                torch.zeros(1, 3, height, width, device=self.device, dtype=self._dtype)
            )
        layers = []
        for number in range(1, self.adapter.n_layers + 1):
            maps: dict[str, Tensor] = {key.site: value for key, value in found.items() if key.layer == number}
            grid = self._grid(*maps["residual_channel"].shape[-2:])
            layers.append(Layer(number, grid, {site: maps[site].shape[1] for site in SITES if site in maps}))
        joint_grid = None if directions is None else self._grid(*directions.shape[-2:])
        return tuple(layers), joint_grid, image.shape[1]

    def _grid(self, rows: int, cols: int) -> PatchGrid:
        patch = self.adapter.patch_size()
        if patch is None:
            return PatchGrid(rows, cols, *self.input_size)
        # A large grid was averaged; what it covers follows from the tower's own patches.
        height, width = (size // side * side for size, side in zip(self.input_size, patch, strict=True))
        return PatchGrid(rows, cols, height, width)


def _rule_of_thumb(layers: Sequence[Layer]) -> Recommended:
    """For models that nobody measured: the block two thirds up, its hidden neurons if it has them."""
    number = max(1, round(len(layers) * 2 / 3))
    return Recommended((number,), "mlp_hidden" if "mlp_hidden" in layers[number - 1].n_neurons else "residual_channel")
