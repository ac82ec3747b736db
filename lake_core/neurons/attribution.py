"""Input attribution: gradients and integrated gradients of one neuron with respect to the image, with Captum.

Sources: Captum's NeuronGradient and NeuronIntegratedGradients (captum.ai/api/neuron.html); integrated gradients and
completeness: Sundararajan et al., "Axiomatic Attribution for Deep Networks", arXiv 1703.01365. Blurred baseline: Fong
and Vedaldi, arXiv 1704.03296.

Captum adds hooks to the network. Here they go on a private copy of the image tower, made for one call: new modules and
parameters that share the weights' memory and only read it, so that no other hooks or gradients are touched. Forward
passes take turns with those of the backbone, one batch at a time.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lake_core.backbones.adapters.base import Adapter
from lake_core.backbones.backbone import FORWARD_LOCK, Backbone
from lake_core.backbones.hooks import Hook
from lake_core.backbones.patch_grid import Placement
from lake_core.backbones.towers import private_copy
from lake_core.config import require_one_of, require_whole
from lake_core.data.images import InputImage
from lake_core.types import HookPoint, Progress

Method = Literal["gradient", "integrated_gradients"]
Baseline = Literal["blurred", "mean"]
METHODS: tuple[Method, ...] = get_args(Method)
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
BLUR = 1 / 16
"""Standard deviation of the blurred baseline, as a share of the image's longer side in the model's input."""
BATCH = 4
"""Steps in one pass; between batches the work can be cancelled and other forward passes may run."""


@dataclass(frozen=True)
class AttributionConfig:
    """How a neuron is attributed to pixels.

    Attributes:
        method: "gradient" takes one pass; "integrated_gradients" `steps` (Gauss-Legendre) and two more.
        baseline: "blurred" is the image blurred by a Gaussian (see `BLUR`), "mean" its own mean colour; both keep
            what lies outside of the image in a letterbox. "gradient" uses none.
        steps: At least 1; more lower the completeness error.
    """

    method: Method = "gradient"
    baseline: Baseline = "blurred"
    steps: int = 32

    def __post_init__(self) -> None:
        require_one_of("method", self.method, METHODS)
        require_one_of("baseline", self.baseline, BASELINES)
        require_whole("steps", self.steps)


GRADIENT = AttributionConfig()


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each pixel of the model's input moves one neuron.

    Attributes:
        map: (height, width) float32 of the model's input, signed, summed over the colour channels. For
            "integrated_gradients" each pixel's share of `value - baseline_value`; for "gradient" the change of the
            value per unit of the preprocessed pixel, all channels moved together.
        method: "gradient" or "integrated_gradients".
        hook_point: Layer and site of the neuron.
        patch: The patch whose activation is explained; None for the mean over the patches on the image.
        value: That activation for the image.
        baseline: Name of the baseline, or None for "gradient", which has none.
        baseline_value: The activation for the baseline, or None.
        steps: Steps of the path from the baseline to the image; 1 for "gradient".
        completeness_error: |sum(map) - (value - baseline_value)| / |value - baseline_value|; 0 is exact. None for
            "gradient", and where image and baseline give the same value, so that there is nothing to explain.
    """

    map: np.ndarray = field(repr=False)
    method: Method
    hook_point: HookPoint
    neuron: int
    patch: int | None
    value: float
    baseline: Baseline | None
    baseline_value: float | None
    steps: int
    completeness_error: float | None


def neuron_attribution(
    backbone: Backbone,
    image: InputImage,
    hook_point: HookPoint,
    neuron: int,
    patch: int | None = None,
    config: AttributionConfig = GRADIENT,
    on_progress: Progress | None = None,
) -> Attribution:
    """Which pixels move a neuron at a patch, or its mean over the whole image.

    The activation is the one that the feature store holds: same hook point, patch grid and number. To draw `map`, read
    it as a grid of one patch per pixel: `PatchGrid(height, width, height, width)`.

    Args:
        backbone: An opened model; it is only read.
        hook_point: Layer and activation site, from `backbone.hook_point`.
        neuron: From 0.
        patch: Index into the layer's patch grid; None takes the mean over the patches that lie on the image.
        config: Method, baseline and steps.
        on_progress: Called before each batch of steps with steps done and in all, and at the end; may raise to cancel.
    Raises:
        BackboneError: if there is no such neuron or patch.
    """
    backbone.check_neurons(hook_point, [neuron])
    backbone.check_patches(hook_point, [] if patch is None else [patch])
    method, baseline = config.method, config.baseline
    grid, placement = backbone.grid(hook_point), backbone.placement(image)
    weights = np.zeros(grid.n_patches, np.float32)
    weights[grid.inside(placement) if patch is None else patch] = 1
    # Captum cannot work in inference mode, which the caller may be in.
    with torch.inference_mode(False), torch.enable_grad():
        adapter = private_copy(backbone.adapter)
        adapter.visual.float()  # weights in half precision get float32 copies: a gradient needs them
        weights_rc = torch.from_numpy(weights / weights.sum()).reshape(grid.rows, grid.cols).to(backbone.device)

        def activation(raw: Tensor | tuple[Tensor, ...]) -> Tensor:
            """(batch,) from what passes at the hook point: the neuron's activation, averaged with the patches'
            weights."""
            maps = adapter.maps(raw[0] if isinstance(raw, tuple) else raw, hook_point).float()
            map_brc = F.adaptive_avg_pool2d(maps[:, neuron, None], (grid.rows, grid.cols))[:, 0]
            return (map_brc * weights_rc).sum((1, 2))

        _stop_after(adapter, hook_point.layer)
        pixels = backbone.prepare(image)[None].clone()
        output = NeuronOutput(adapter.visual, adapter.hooks()[hook_point], activation)
        if method == "gradient":
            value, found = gradient(output, pixels.to(backbone.device), on_progress)
            return Attribution(_summed(found), method, hook_point, neuron, patch, value, None, None, 1, None)
        start = baseline_of(pixels[0], placement, baseline)[None]
        value, start_value, found = integrated_gradients(
            output, pixels.to(backbone.device), start.to(backbone.device), config.steps, on_progress
        )
    summed = _summed(found)
    error = completeness_error(float(summed.sum(dtype=np.float64)), value, start_value)
    return Attribution(summed, method, hook_point, neuron, patch, value, baseline, start_value, config.steps, error)


@dataclass(frozen=True)
class NeuronOutput:
    """One number per image inside a network that nobody else uses.

    Attributes:
        net: The network; called with pixels (batch, 3, height, width).
        hook: The module and the side of it where the activation passes.
        pick: From what passes there to the number, (batch,).
    """

    net: nn.Module
    hook: Hook
    pick: Callable[[Any], Tensor]

    def value(self, pixels: Tensor) -> float:
        """The number for pixels (1, 3, height, width)."""
        found: list[Tensor] = []
        if self.hook.takes == "input":
            handle = self.hook.module.register_forward_pre_hook(lambda _m, inputs: found.append(self.pick(inputs[0])))
        else:
            handle = self.hook.module.register_forward_hook(lambda _m, _i, output: found.append(self.pick(output)))
        try:
            with torch.no_grad():
                _run(self.net, pixels)
        finally:
            handle.remove()
        return float(found[0])


def gradient(output: NeuronOutput, pixels: Tensor, on_progress: Progress | None = None) -> tuple[float, Tensor]:
    """The neuron's value and its gradient with respect to the pixels, (1, 3, height, width)."""
    from captum.attr import NeuronGradient  # no page but Neurons waits for it

    captum = NeuronGradient(_reporting(output.net, 1, on_progress), output.hook.module)
    found = captum.attribute(
        pixels.requires_grad_(), output.pick, attribute_to_neuron_input=output.hook.takes == "input"
    )
    value = output.value(pixels)
    if on_progress is not None:
        on_progress(1, 1)
    return value, found.detach().cpu()


def integrated_gradients(
    output: NeuronOutput, pixels: Tensor, start: Tensor, steps: int, on_progress: Progress | None = None
) -> tuple[float, float, Tensor]:
    """The neuron's value for the pixels and for the baseline, and the integrated gradients between them.

    Args:
        output: The neuron in its network.
        pixels: (1, 3, height, width).
        start: The same of the baseline.
        steps: Nodes of the Gauss-Legendre rule on the straight path.
        on_progress: See `neuron_attribution`.
    """
    from captum.attr import NeuronIntegratedGradients

    captum = NeuronIntegratedGradients(_reporting(output.net, steps, on_progress), output.hook.module)
    found = captum.attribute(
        pixels,
        output.pick,
        baselines=start,
        n_steps=steps,
        internal_batch_size=BATCH,
        attribute_to_neuron_input=output.hook.takes == "input",
    )
    value, start_value = output.value(pixels), output.value(start)
    if on_progress is not None:
        on_progress(steps, steps)
    return value, start_value, found.detach().cpu()


def completeness_error(total: float, value: float, start_value: float) -> float | None:
    """|total - (value - start_value)| / |value - start_value|; None where the values differ by rounding only."""
    difference = value - start_value
    if abs(difference) <= 1e-6 * max(abs(value), abs(start_value)):
        return None
    return abs(total - difference) / abs(difference)


def baseline_of(pixels: Tensor, placement: Placement, baseline: Baseline) -> Tensor:
    """The baseline of a prepared image, (3, height, width); what lies outside of the image stays as it is."""
    from scipy.ndimage import gaussian_filter

    where, start = (slice(None), placement.rows, placement.cols), pixels.clone()
    box = pixels[where]
    if baseline == "mean":
        start[where] = box.mean((1, 2), keepdim=True)
    else:
        sigma = BLUR * max(placement.height, placement.width)
        start[where] = torch.from_numpy(gaussian_filter(box.numpy(), (0, sigma, sigma), mode="reflect"))
    return start


class _Reached(Exception):
    """The layer that was asked for is computed; the rest of the network is not needed."""


def _stop_after(adapter: Adapter, layer: int) -> None:
    def stop(_module: nn.Module, _inputs: Any) -> None:
        raise _Reached

    if layer < adapter.n_layers:
        adapter.blocks()[layer].register_forward_pre_hook(stop)


def _run(net: nn.Module, pixels: Tensor) -> Tensor:
    """Runs the network for what passes inside it; the result is a stand-in."""
    with FORWARD_LOCK, suppress(_Reached):
        net(pixels)
    return pixels.new_zeros(len(pixels))


def _reporting(net: nn.Module, n_in_all: int, on_progress: Progress | None) -> Callable[[Tensor], Tensor]:
    """The network as Captum calls it, once per batch; progress is reported before each."""
    n_begun = 0

    def forward(pixels: Tensor) -> Tensor:
        nonlocal n_begun
        if on_progress is not None:
            on_progress(min(n_begun, n_in_all), n_in_all)
        n_begun += len(pixels)
        return _run(net, pixels)

    return forward


def _summed(found: Tensor) -> np.ndarray:
    return found[0].sum(0).numpy().astype(np.float32)
