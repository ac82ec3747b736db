"""A backbone: an open_clip model opened for looking inside, with its layers, neurons, patches and text side."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lake_core.backbones.adapters import adapter_of
from lake_core.backbones.adapters.base import Adapter
from lake_core.backbones.devices import (
    Precision,
    checked_device,
    checked_precision,
    convert_weights,
    exact_convolutions,
)
from lake_core.backbones.hooks import Hooks
from lake_core.backbones.loading import DEFAULT_BACKBONE, Opened, open_spec, weights_mark
from lake_core.backbones.patch_grid import Frame, PatchGrid, Placement, Resize
from lake_core.backbones.preprocessing import normalised
from lake_core.config import Recommended
from lake_core.data.images import InputImage
from lake_core.errors import BackboneError
from lake_core.types import SITES, HookPoint, Site

Change = Callable[[Tensor], None]
"""Writes other values into (batch, neurons, rows, cols) maps of a place: the tower's own, without class tokens."""

FORWARD_LOCK = threading.Lock()
"""One forward pass at a time in a process: two at once on busy cores are many times slower than one after the other."""

_TEXT_BATCH = 64
_TEXTS_KEPT = 4096


@dataclass(frozen=True)
class Layer:
    """One block of the image tower.

    Attributes:
        number: From 1 at the input.
        grid: Its patches.
        n_neurons: Number of neurons of each kind that the layer has.
    """

    number: int
    grid: PatchGrid
    n_neurons: dict[Site, int]


class Backbone:
    """An opened model. Make one with `open_backbone`.

    Attributes:
        spec: What was opened.
        opening: What was asked for, with "auto" resolved.
        device: Where it runs.
        precision: Of the image tower's numbers; activations are float32 whatever it is.
        key: Identifies everything that the features of a image depend on; the same key means the same features.
        family: Family of the image tower.
        input_size: (height, width) of the model's input in pixels.
        frame: The model's input as images are laid into it.
        layers: The image tower's layers, first at the input.
        joint_grid: Grid of the patch directions in the joint space, or None if the tower has none.
        joint_width: Dimension of the joint space.
        logit_scale: Factor on cosines before the softmax, as trained.
        recommended: Layers, kind and distance that suit the model where the user has not chosen.
        notes: Sentences worth showing.
    """

    def __init__(
        self,
        spec: str,
        opened: Opened,
        size: int | None,
        resize: Resize,
        device: torch.device,
        precision: Precision = "fp32",
    ) -> None:
        self.spec = spec
        self.opening = Opening(spec, size, resize, str(device), precision)
        self.device = device
        self.precision = precision
        self._dtype = checked_precision(precision)
        self.resize = resize
        self.notes = opened.notes
        self._model = opened.model.to(device)
        convert_weights(self._model.visual, self._dtype)
        self._tokenize = opened.tokenize
        self._preprocess = opened.preprocess
        self._text_rows: dict[str, Tensor] = {}
        self.adapter = adapter_of(opened.model)
        self.input_size = _input_size(spec, self.adapter, opened, size)
        self.frame = Frame(*self.input_size, resize, opened.preprocess.get("interpolation", "bicubic"))
        self._hooks = Hooks(self.adapter.hooks(), self.adapter.patches)
        self.family = self.adapter.family
        self.layers, self.joint_grid, self.joint_width = self._probe()
        scale = getattr(opened.model, "logit_scale", None)
        self.logit_scale = float(scale.exp()) if scale is not None else 100.0
        self.recommended = opened.hints.recommended() if opened.hints else _rule_of_thumb(self.layers)
        height, width = self.input_size
        self.key = f"{spec}|{height}x{width}|{resize}|{device.type}" + f"|{precision}" * (precision != "fp32")

    def __repr__(self) -> str:
        return f"Backbone({self.spec!r}, {self.family}, {len(self.layers)} layers, input {self.input_size})"

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
        """Numbers of the layers that have neurons of a kind."""
        return tuple(layer.number for layer in self.layers if site in layer.n_neurons)

    def hook_point(self, layer: int, site: Site) -> HookPoint:
        """The place of a layer and kind.

        Raises:
            BackboneError: if the layer does not exist or has no such neurons.
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
        """All places whose activations can be asked of `forward`."""
        return self._hooks.hook_points | self.text_hook_points

    @property
    def text_hook_points(self) -> frozenset[HookPoint]:
        """The places of the joint space: the whole image and, if the tower has them, the patch directions."""
        last = len(self.layers)
        return frozenset(
            {HookPoint(last, "image")} | ({HookPoint(last, "joint")} if self.joint_grid is not None else set())
        )

    @property
    def joint_hook_point(self) -> HookPoint | None:
        """The place of the patch directions, or None."""
        return HookPoint(len(self.layers), "joint") if self.joint_grid is not None else None

    @property
    def image_hook_point(self) -> HookPoint:
        """The place of the whole-image vector."""
        return HookPoint(len(self.layers), "image")

    def grid(self, hook_point: HookPoint) -> PatchGrid:
        """The patch grid of a place; the whole image is one patch."""
        if hook_point.site == "image":
            return PatchGrid(1, 1, *self.input_size)
        if hook_point.site == "joint":
            if self.joint_grid is None:
                raise BackboneError(f"{self.spec} has no patch directions in the joint space.")
            return self.joint_grid
        return self.layer(hook_point.layer).grid

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
        """Activations at the places, in one pass through the image tower.

        Args:
            pixels: (batch, 3, height, width) float32 from `prepare` or `pixels`.
            places: Any of `self.hook_points`; only these are kept and copied.
            changes: What to change inside the network on the way, in this pass only. For each place ("channel" or
                "hidden") a function that is handed a copy of the patch tokens as maps (batch, neurons, rows, cols) and
                writes into it; class tokens stay. The rows and cols are the tower's own, which in the first blocks
                of a convolutional tower are a whole multiple of the patch grid's. What is collected there and later
                is what was written.
            stay: Leave the activations on the backbone's device and in its precision; on a GPU the work may then
                still be under way.
        Returns:
            Place -> (batch, n_patches, n_neurons), float32 on the CPU unless they stay. Rows of "joint" and "image"
            have length 1, and are float32 always.
        Raises:
            KeyError: if nothing can be changed at a place.
        """
        wanted = frozenset(hook_points)
        put = {key: self._written(key, change) for key, change in (changes or {}).items()}
        exactly = exact_convolutions() if self.device.type == "cuda" and self.precision == "fp32" else nullcontext()
        collecting = self._hooks.collecting(wanted - self.text_hook_points)
        with FORWARD_LOCK, exactly, self._hooks.replacing(put), collecting as found:
            image, directions = self.adapter.forward(pixels.to(self.device, self._dtype))
            maps = dict(found)
            if directions is not None and self.joint_hook_point in wanted:
                maps[HookPoint(len(self.layers), "joint")] = F.normalize(directions.float(), dim=1)
            if self.image_hook_point in wanted:
                maps[self.image_hook_point] = F.normalize(image.float(), dim=1)[:, :, None, None]
            rows = {key: value.flatten(2).transpose(1, 2).contiguous() for key, value in maps.items()}
            return rows if stay else {key: value.float().cpu() for key, value in rows.items()}

    def _written(self, key: HookPoint, change: Change) -> Callable[[Tensor], Tensor]:
        def put(raw: Tensor) -> Tensor:
            changed = raw.clone()
            # Maps are views of the tower's own tensor in every family, so writing to them writes to `changed`.
            change(self.adapter.maps(changed, key))
            return changed

        return put

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
        return self._model.encode_text(tokens, normalize=True).float().cpu().clone()

    def _probe(self) -> tuple[tuple[Layer, ...], PatchGrid | None, int]:
        """Layers, grid and width of the joint space, read off one forward pass of an empty image."""
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
        return PatchGrid(rows, cols, rows * patch[0], cols * patch[1])


@dataclass(frozen=True)
class Opening:
    """What `open_backbone` is asked for, to be carried to where the backbone is opened; see there."""

    spec: str = DEFAULT_BACKBONE
    image_size: int | None = None
    resize: Resize = "squash"
    device: str = "cpu"
    precision: Precision = "fp32"

    def key(self, device_type: str) -> str:
        """What results depend on, as a text: the same for the same request, wherever and by whatever it is answered.

        Args:
            device_type: "cpu" or "cuda", where the network runs; their results differ a little.
        """
        size = self.image_size or "own size"
        parts = (self.spec, size, self.resize, device_type, self.precision, weights_mark(self.spec))
        return "|".join(map(str, parts))

    def open(self) -> Backbone:
        """Opens it here."""
        return open_backbone(
            self.spec,
            image_size=self.image_size,
            resize=self.resize,
            device=self.device,
            precision=self.precision,
        )


def open_backbone(
    spec: str = DEFAULT_BACKBONE,
    *,
    image_size: int | None = None,
    resize: Resize = "squash",
    device: str = "cpu",
    precision: Precision = "fp32",
) -> Backbone:
    """Opens a backbone.

    Args:
        spec: "lake-cnn", "lake-vit", "NAME:TAG" (an open_clip model and tag), "hf-hub:ORG/REPO", "local-dir:PATH" or
            "checkpoint:WEIGHTS@CONFIG".
        image_size: Side of the square input in pixels; None takes the size that suits the model (lake-cnn: 384).
        resize: "squash" fills the input with the whole image, "letterbox" keeps its aspect. Nothing is cropped.
        device: "cpu", "cuda", "cuda:1" ... or "auto" (CUDA where there is one).
        precision: "fp32", or "bf16" or "fp16" for an image tower with weights of half the size; made for GPUs.
    Raises:
        BackboneError: one sentence with the spec, the reason and the remedy.
    """
    where = checked_device(device)
    checked_precision(precision)
    return Backbone(spec, open_spec(spec, image_size), image_size, resize, where, precision)


def _input_size(spec: str, adapter: Adapter, opened: Opened, asked: int | None) -> tuple[int, int]:
    own = opened.model.visual.image_size
    height, width = own if isinstance(own, (tuple, list)) else (own, own)
    if adapter.sizes != "any":
        if asked is not None and asked != height:
            raise BackboneError(f"{spec} takes images of {height} pixels only, not {asked}; leave the size out.")
        return int(height), int(width)
    size = asked or (opened.hints.image_size if opened.hints and opened.hints.image_size else int(height))
    if size % 32 or not 64 <= size <= 2048:
        raise BackboneError(f"{spec}: the size {size} is not usable; choose a multiple of 32 from 64 to 2048 pixels.")
    return size, size


def _rule_of_thumb(layers: Sequence[Layer]) -> Recommended:
    """For models nobody measured: the block two thirds up, its hidden neurons if it has them."""
    number = max(1, round(len(layers) * 2 / 3))
    return Recommended((number,), "mlp_hidden" if "mlp_hidden" in layers[number - 1].n_neurons else "residual_channel")
