"""The pixels behind a unit: gradients and integrated gradients of one unit with respect to the picture, with Captum.

Sources: Captum's NeuronGradient and NeuronIntegratedGradients (captum.ai/api/neuron.html); integrated gradients and
completeness: Sundararajan et al., "Axiomatic Attribution for Deep Networks", arXiv 1703.01365. Blurred baseline: Fong
and Vedaldi, arXiv 1704.03296.

Captum adds hooks to the network. Here they go on a private copy of the image tower, made for one call: new modules and
parameters that share the weights' memory and only read it. So nobody else's capture, hooks or gradients are touched.
"""

import copy
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import NeuronGradient, NeuronIntegratedGradients
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from lake_core.backbones.adapters import Tower
from lake_core.backbones.backbone import _FORWARD_LOCK, Backbone
from lake_core.backbones.feature_store import Progress
from lake_core.backbones.hooks import Kind, Place, Tap
from lake_core.backbones.patch_grid import Placement
from lake_core.data.images import Picture
from lake_core.errors import BackboneError, ConfigError

Method = Literal["gradient", "integrated_gradients"]
Baseline = Literal["blurred", "mean"]
METHODS: tuple[Method, ...] = get_args(Method)
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
BLUR = 1 / 16
"""Standard deviation of the blurred baseline, as a share of the picture's longer side in the model's input."""
BATCH = 4
"""Steps in one pass; the work can be cancelled between batches, and others may use the network there."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each pixel of the model's input moves one unit.

    Attributes:
        map: (height, width) float32 of the model's input, signed, summed over the colour channels. For
            "integrated_gradients" each pixel's share of `value - baseline_value`; for "gradient" the change of the
            value per unit of the preprocessed pixel, all channels moved together.
        method: "gradient" or "integrated_gradients".
        place: Layer and kind of the unit.
        unit: The unit.
        patch: The patch whose activation is explained; None for the mean over the patches on the picture.
        value: That activation for the picture.
        baseline: Name of the baseline, or None for "gradient", which has none.
        baseline_value: The activation for the baseline, or None.
        steps: Steps of the path from the baseline to the picture; 1 for "gradient".
        completeness_error: |sum(map) - (value - baseline_value)| / |value - baseline_value|; 0 is exact. None for
            "gradient", and where picture and baseline give the same value, so that there is nothing to explain.
    """

    map: np.ndarray = field(repr=False)
    method: Method
    place: Place
    unit: int
    patch: int | None
    value: float
    baseline: Baseline | None
    baseline_value: float | None
    steps: int
    completeness_error: float | None


def unit_attribution(
    backbone: Backbone,
    picture: Picture,
    layer: int,
    kind: Kind,
    unit: int,
    patch: int | None = None,
    method: Method = "gradient",
    baseline: Baseline = "blurred",
    steps: int = 32,
    on_progress: Progress | None = None,
) -> Attribution:
    """Which pixels move a unit at a patch, or its mean over the whole picture.

    The activation is the one that the feature store holds: same layer, kind, patch grid and number. For a place on the
    picture, read `map` as a grid of one patch per pixel: `PatchGrid(height, width, height, width)`.

    Args:
        backbone: An opened model; it is only read.
        picture: The picture.
        layer: Layer number, from 1.
        kind: Kind of unit.
        unit: From 0.
        patch: Index into the layer's patch grid; None takes the mean over the patches that lie on the picture.
        method: "gradient" takes one pass; "integrated_gradients" `steps` (Gauss-Legendre) and two more.
        baseline: "blurred" is the picture blurred by a Gaussian (see `BLUR`), "mean" its own mean colour; both keep
            what lies outside of the picture in a letterbox. "gradient" uses none.
        steps: At least 1; more lower the completeness error.
        on_progress: Called before each batch of steps with steps done and in all, and at the end; may raise to cancel.
    Raises:
        BackboneError: if there is no such layer, kind, unit or patch.
        ConfigError: if method, baseline or steps is not allowed.
    """
    place = backbone.place(layer, kind)
    grid, n_units = backbone.grid(place), backbone.layer(layer).n_units[kind]
    if not 0 <= unit < n_units:
        raise BackboneError(f"Layer {layer} of {backbone.spec} has no {kind} unit {unit}; choose 0 to {n_units - 1}.")
    if patch is not None and not 0 <= patch < grid.n_patches:
        raise BackboneError(
            f"Layer {layer} of {backbone.spec} has no patch {patch}; choose 0 to {grid.n_patches - 1} "
            f"({grid.rows} x {grid.cols})."
        )
    for name, chosen, allowed in (("method", method, METHODS), ("baseline", baseline, BASELINES)):
        if chosen not in allowed:
            raise ConfigError(f"{name} is {chosen!r}; it must be one of {', '.join(allowed)}.")
    if steps < 1:
        raise ConfigError(f"steps is {steps!r}; it must be a whole number of at least 1.")

    placement = backbone.placement(picture)
    weights = np.zeros(grid.n_patches, np.float32)
    weights[grid.inside(placement) if patch is None else patch] = 1
    # Captum cannot work in inference mode, which the caller may be in.
    with torch.inference_mode(False), torch.enable_grad():
        tower = private_copy(backbone._tower)
        weights_rc = torch.from_numpy(weights / weights.sum()).reshape(grid.rows, grid.cols).to(backbone.device)

        def activation(raw: Tensor | tuple[Tensor, ...]) -> Tensor:
            """(batch,) from what passes at the place: the unit's activation, averaged with the patches' weights."""
            maps = tower.maps(raw[0] if isinstance(raw, tuple) else raw, place).float()
            map_brc = F.adaptive_avg_pool2d(maps[:, unit, None], (grid.rows, grid.cols))[:, 0]
            return (map_brc * weights_rc).sum((1, 2))

        _stop_after(tower, layer)
        pixels = backbone.prepare(picture)[None].clone()
        neuron = Neuron(tower.visual, tower.taps()[place], activation)
        if method == "gradient":
            value, found = gradient(neuron, pixels.to(backbone.device), on_progress)
            return Attribution(_summed(found), method, place, unit, patch, value, None, None, 1, None)
        start = baseline_of(pixels[0], placement, baseline)[None]
        value, start_value, found = integrated_gradients(
            neuron, pixels.to(backbone.device), start.to(backbone.device), steps, on_progress
        )
    summed = _summed(found)
    error = completeness_error(float(summed.sum(dtype=np.float64)), value, start_value)
    return Attribution(summed, method, place, unit, patch, value, baseline, start_value, steps, error)


@dataclass(frozen=True)
class Neuron:
    """One number per picture inside a network that nobody else uses.

    Attributes:
        net: The network; called with pixels (batch, 3, height, width).
        tap: The module and the side of it where the activation passes.
        pick: From what passes there to the number, (batch,).
    """

    net: nn.Module
    tap: Tap
    pick: Callable[[Any], Tensor]

    def value(self, pixels: Tensor) -> float:
        """The number for pixels (1, 3, height, width)."""
        found: list[Tensor] = []
        if self.tap.takes == "input":
            handle = self.tap.module.register_forward_pre_hook(lambda _m, inputs: found.append(self.pick(inputs[0])))
        else:
            handle = self.tap.module.register_forward_hook(lambda _m, _i, output: found.append(self.pick(output)))
        try:
            with torch.no_grad():
                _run(self.net, pixels)
        finally:
            handle.remove()
        return float(found[0])


def gradient(neuron: Neuron, pixels: Tensor, on_progress: Progress | None = None) -> tuple[float, Tensor]:
    """The neuron's value and its gradient with respect to the pixels, (1, 3, height, width)."""
    with _FORWARD_LOCK:
        forward = _taking_turns(neuron.net, 1, on_progress)
        captum = NeuronGradient(forward, neuron.tap.module)
        found = captum.attribute(
            pixels.requires_grad_(), neuron.pick, attribute_to_neuron_input=neuron.tap.takes == "input"
        )
        value = neuron.value(pixels)
    if on_progress is not None:
        on_progress(1, 1)
    return value, found.detach().cpu()


def integrated_gradients(
    neuron: Neuron, pixels: Tensor, start: Tensor, steps: int, on_progress: Progress | None = None
) -> tuple[float, float, Tensor]:
    """The neuron's value for the pixels and for the baseline, and the integrated gradients between them.

    Args:
        neuron: The neuron.
        pixels: (1, 3, height, width).
        start: The same of the baseline.
        steps: Nodes of the Gauss-Legendre rule on the straight path.
        on_progress: See `unit_attribution`.
    """
    with _FORWARD_LOCK:
        forward = _taking_turns(neuron.net, steps, on_progress)
        captum = NeuronIntegratedGradients(forward, neuron.tap.module)
        found = captum.attribute(
            pixels,
            neuron.pick,
            baselines=start,
            n_steps=steps,
            internal_batch_size=BATCH,
            attribute_to_neuron_input=neuron.tap.takes == "input",
        )
        value, start_value = neuron.value(pixels), neuron.value(start)
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
    """The baseline of a prepared picture, (3, height, width); what lies outside of the picture stays as it is."""
    rows = slice(placement.top, placement.top + placement.height)
    cols = slice(placement.left, placement.left + placement.width)
    box, start = pixels[:, rows, cols], pixels.clone()
    if baseline == "mean":
        start[:, rows, cols] = box.mean((1, 2), keepdim=True)
    else:
        sigma = BLUR * max(placement.height, placement.width)
        start[:, rows, cols] = torch.from_numpy(gaussian_filter(box.numpy(), (0, sigma, sigma), mode="reflect"))
    return start


def private_copy(tower: Tower) -> Tower:
    """The tower again, with its own modules, hooks and parameters; the weights' memory is shared and only read."""
    memo: dict[int, Any] = {
        id(own): nn.Parameter(own.detach(), requires_grad=False) for own in tower.visual.parameters()
    }
    visual = copy.deepcopy(tower.visual, memo)
    for module in visual.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return type(tower)(visual)


class _Reached(Exception):
    """The layer that was asked for is computed; the rest of the network is not needed."""


def _stop_after(tower: Tower, layer: int) -> None:
    def stop(_module: nn.Module, _inputs: Any) -> None:
        raise _Reached

    if layer < tower.n_layers:
        tower.blocks()[layer].register_forward_pre_hook(stop)


def _run(net: nn.Module, pixels: Tensor) -> Tensor:
    """Runs the network for what passes inside it; the result is a stand-in."""
    with suppress(_Reached):
        net(pixels)
    return pixels.new_zeros(len(pixels))


def _taking_turns(net: nn.Module, n_in_all: int, on_progress: Progress | None) -> Callable[[Tensor], Tensor]:
    """The network as Captum calls it, once per batch; before each call others may take the forward lock for a while."""
    n_begun = 0

    def forward(pixels: Tensor) -> Tensor:
        nonlocal n_begun
        _FORWARD_LOCK.release()
        try:
            if on_progress is not None:
                on_progress(min(n_begun, n_in_all), n_in_all)
            time.sleep(0.001)  # a released lock that is asked for again at once never reaches those who wait
        finally:
            _FORWARD_LOCK.acquire()
        n_begun += len(pixels)
        return _run(net, pixels)

    return forward


def _summed(found: Tensor) -> np.ndarray:
    return found[0].sum(0).numpy().astype(np.float32)
