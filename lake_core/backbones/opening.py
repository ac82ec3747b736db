"""Opening a backbone: what is asked for, checked, and carried out."""

from dataclasses import dataclass, replace
from typing import Any

from lake_core.backbones.adapters import adapter_of
from lake_core.backbones.backbone import Backbone
from lake_core.backbones.devices import Precision, checked_device, checked_precision
from lake_core.backbones.loading import Hints, load
from lake_core.backbones.patch_grid import Resize
from lake_core.backbones.registry import DEFAULT_BACKBONE, weights_mark
from lake_core.errors import BackboneError, is_out_of_memory


@dataclass(frozen=True)
class Opening:
    """What `open_backbone` is asked for, to be carried to where the backbone is opened; see there."""

    spec: str = DEFAULT_BACKBONE
    image_size: int | None = None
    resize: Resize = "squash"
    device: str = "cpu"
    precision: Precision = "fp32"

    def key(self, device_type: str) -> str:
        """What results depend on, as a text: the same for the same request, on whichever machine it is carried out.

        Args:
            device_type: "cpu" or "cuda", where the network runs; their results differ a little.
        """
        size = self.image_size or "own size"
        parts = (self.spec, size, self.resize, device_type, self.precision, weights_mark(self.spec))
        return "|".join(map(str, parts))

    def open(self) -> Backbone:
        """Open it here.

        Raises:
            BackboneError: one sentence with the spec, the reason and the remedy.
        """
        resolved = replace(self, device=str(checked_device(self.device)))
        checked_precision(self.precision)
        loaded = load(self.spec, self.image_size)
        height, width = self._input_size(loaded.model, loaded.hints)
        try:
            return Backbone(resolved, loaded, (height, width))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise BackboneError(
                f"{self.spec}: there is not enough memory for this network with images of {height} x {width} pixels; "
                "choose a smaller size or a smaller model."
            ) from None

    def _input_size(self, model: Any, hints: Hints | None) -> tuple[int, int]:
        own, asked = model.visual.image_size, self.image_size
        height, width = own if isinstance(own, (tuple, list)) else (own, own)
        if adapter_of(model).sizes != "any":
            if asked is not None and asked != height:
                raise BackboneError(
                    f"{self.spec} takes images of {height} pixels only, not {asked}; leave the size out."
                )
            return int(height), int(width)
        size = asked or (hints.image_size if hints and hints.image_size else int(height))
        if size % 32 or not 64 <= size <= 2048:
            raise BackboneError(
                f"{self.spec}: the size {size} is not usable; choose a multiple of 32 from 64 to 2048 pixels."
            )
        return size, size


def open_backbone(
    spec: str = DEFAULT_BACKBONE,
    *,
    image_size: int | None = None,
    resize: Resize = "squash",
    device: str = "cpu",
    precision: Precision = "fp32",
) -> Backbone:
    """Open a backbone.

    Args:
        spec: "lake-cnn", "lake-vit", "NAME:TAG" (an open_clip model and tag), "hf-hub:ORG/REPO", "local-dir:FOLDER" or
            "checkpoint:WEIGHTS@CONFIG".
        image_size: Side of the square input in pixels; None takes the size that suits the model (lake-cnn: 384).
        resize: "squash" fills the input with the whole image, "letterbox" keeps its aspect. Nothing is cropped.
        device: "cpu", "cuda", "cuda:1" ... or "auto" (CUDA where there is one).
        precision: "fp32", or "bf16" or "fp16" for an image tower with weights of half the size; made for GPUs.
    Raises:
        BackboneError: one sentence with the spec, the reason and the remedy.
    """
    return Opening(spec, image_size, resize, device, precision).open()
