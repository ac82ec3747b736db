"""The pixels behind a neuron: exact where the answer is known, and without a trace on the shared model."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import NeuronIntegratedGradients
from torch import nn

from lake_core.backbones.backbone import FORWARD_LOCK, Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.hooks import Hook
from lake_core.data.images import InputImage
from lake_core.errors import BackboneError, ConfigError
from lake_core.neurons.attribution import (
    BATCH,
    METHODS,
    AttributionConfig,
    Baseline,
    NeuronOutput,
    baseline_of,
    completeness_error,
    gradient,
    integrated_gradients,
    neuron_attribution,
)
from lake_core.types import HookPoint
from tests.core.tiny import OpenTiny, Tiny

HIDDEN = HookPoint(2, "mlp_hidden")


def integrated(steps: int) -> AttributionConfig:
    return AttributionConfig("integrated_gradients", steps=steps)


@pytest.fixture(params=["efficientnet", "native-vit"])
def backbone(request: pytest.FixtureRequest, open_tiny: OpenTiny) -> Backbone:
    return open_tiny(request.param)


@pytest.fixture
def toy() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 2, stride=2), nn.Flatten(), nn.Linear(20, 2))


def state_of(backbone: Backbone) -> list[object]:
    model = backbone._model
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()]
    weights = [(p.requires_grad, p.grad is None, p.detach().sum().item()) for p in model.parameters()]
    return [hooks, weights, [m.training for m in model.modules()]]


# Known answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("takes", ["output", "input"])
def test_on_a_linear_toy_both_methods_equal_the_analytic_result(toy: nn.Sequential, takes: str) -> None:
    first: Any = toy[0]
    hook = Hook(first, "output") if takes == "output" else Hook(toy[1], "input")
    output = NeuronOutput(toy, hook, lambda maps: maps[:, 3, 1, 0])
    pixels, start = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    weight = torch.zeros(1, 3, 4, 4)
    weight[0, :, 2:4, 0:2] = first.weight[3].detach()
    value, found = gradient(output, pixels.clone())
    torch.testing.assert_close(found, weight)
    assert value == pytest.approx(float((weight * pixels).sum() + first.bias[3].detach()), rel=1e-5)
    value, start_value, found = integrated_gradients(output, pixels, start, steps=1)
    torch.testing.assert_close(found, weight * (pixels - start))
    assert value - start_value == pytest.approx(float(found.sum()), rel=1e-5)


def test_of_a_square_the_gradient_is_twice_the_input_and_the_integral_is_exact() -> None:
    class Square(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x**2

    net = nn.Sequential(Square(), nn.Flatten())
    output = NeuronOutput(net, Hook(net[0], "output"), lambda maps: maps.sum((1, 2, 3)))
    pixels, start = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    torch.testing.assert_close(gradient(output, pixels.clone())[1], 2 * pixels)
    torch.testing.assert_close(integrated_gradients(output, pixels, start, 3)[2], pixels**2 - start**2)


def test_batches_of_steps_change_nothing(toy: nn.Sequential) -> None:
    net = nn.Sequential(toy[0], nn.Tanh(), nn.Flatten())
    output = NeuronOutput(net, Hook(net[1], "output"), lambda maps: maps[:, 2].mean((1, 2)))
    pixels, start = 3 * torch.randn(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    at_once = NeuronIntegratedGradients(net, net[1]).attribute(pixels, output.pick, start, n_steps=2 * BATCH + 1)
    torch.testing.assert_close(integrated_gradients(output, pixels, start, 2 * BATCH + 1)[2], at_once.detach())


def test_the_completeness_error_is_relative_and_missing_where_nothing_differs() -> None:
    assert completeness_error(1.5, 3.0, 1.0) == pytest.approx(0.25)
    assert completeness_error(-1.0, 1.0, 3.0) == pytest.approx(0.5)
    assert completeness_error(0.1, 2.0, 2.0) is None


# Real towers ---------------------------------------------------------------------------------------------------------


def test_explains_the_activation_that_the_store_holds(tiny: Tiny, noise_images: list[InputImage]) -> None:
    image, store = noise_images[0], FeatureStore(tiny.backbone)
    before = state_of(tiny.backbone)
    for layer in (1, len(tiny.backbone.layers)):
        for site in tiny.backbone.layer(layer).n_neurons:
            hook_point = tiny.backbone.hook_point(layer, site)
            acts_pn = store.get(image, hook_point)
            neuron = int(acts_pn.var(0).argmax())  # a ReLU may leave others at 0 everywhere
            one = neuron_attribution(tiny.backbone, image, hook_point, neuron, patch=2)
            whole = neuron_attribution(tiny.backbone, image, hook_point, neuron, None, integrated(2))
            assert one.value == pytest.approx(float(acts_pn[2, neuron]), rel=1e-3, abs=1e-4)
            assert whole.value == pytest.approx(float(acts_pn[:, neuron].mean()), rel=1e-3, abs=1e-4)
            assert one.map.shape == whole.map.shape == tiny.backbone.input_size
            assert one.map.dtype == np.float32
            assert np.isfinite(one.map).all()
            assert np.isfinite(whole.map).all()
            assert whole.map.any()
    assert state_of(tiny.backbone) == before


def test_the_gradient_is_the_slope_of_the_activation(tiny: Tiny, noise_images: list[InputImage]) -> None:
    backbone, pixels = tiny.backbone, tiny.backbone.prepare(noise_images[1])
    for layer in (1, len(backbone.layers)):
        for site in backbone.layer(layer).n_neurons:
            hook_point = backbone.hook_point(layer, site)
            neuron = int(backbone.forward(pixels[None], [hook_point])[hook_point][0].var(0).argmax())
            slope = torch.from_numpy(neuron_attribution(backbone, noise_images[1], hook_point, neuron).map)
            step = 0.01 * slope / slope.norm()
            found = backbone.forward(torch.stack([pixels - step, pixels + step]), [hook_point])[hook_point]
            low, high = found[:, :, neuron].double().mean(1)
            assert float(slope.norm()) == pytest.approx(float(high - low) / 0.02, rel=0.02)


@pytest.mark.parametrize("baseline", ["blurred", "mean"])
def test_the_completeness_error_falls_with_steps(
    backbone: Backbone, noise_images: list[InputImage], baseline: Baseline
) -> None:
    few, many = (
        neuron_attribution(
            backbone, noise_images[0], HIDDEN, 5, 7, AttributionConfig("integrated_gradients", baseline, steps)
        )
        for steps in (1, 32)
    )
    assert few.completeness_error is not None
    assert many.completeness_error is not None
    assert many.completeness_error < 0.02
    assert many.completeness_error < few.completeness_error
    assert many.baseline_value is not None
    assert many.map.sum() == pytest.approx(many.value - many.baseline_value, rel=0.03)
    assert many.baseline == baseline
    hook_point = backbone.hook_point(2, "mlp_hidden")
    pixels = backbone.prepare(noise_images[0])
    start = baseline_of(pixels, backbone.placement(noise_images[0]), baseline)
    assert many.baseline_value == pytest.approx(
        float(backbone.forward(start[None], [hook_point])[hook_point][0, 7, 5]), rel=1e-3
    )


def test_only_pixels_of_a_letterboxed_image_differ_from_the_baseline(
    open_tiny: OpenTiny, noise_images: list[InputImage]
) -> None:
    backbone, image = open_tiny("efficientnet", resize="letterbox"), noise_images[0]
    placement, pixels = backbone.placement(image), backbone.prepare(image)
    for name in ("blurred", "mean"):
        start = baseline_of(pixels, placement, name)
        box = start[:, placement.top : placement.top + placement.height]
        assert not start[:, : placement.top].any()
        assert box.std() < 0.4 * pixels[:, placement.top : placement.top + placement.height].std()
    found = neuron_attribution(backbone, image, HookPoint(2, "residual_channel"), 0, None, integrated(4))
    assert not found.map[: placement.top].any()
    assert not found.map[placement.top + placement.height :].any()
    inside = backbone.layer(2).grid.inside(placement)
    acts_pn = FeatureStore(backbone).get(image, backbone.hook_point(2, "residual_channel"))
    assert found.value == pytest.approx(float(acts_pn[torch.from_numpy(inside), 0].mean()), rel=1e-3)


# Company -------------------------------------------------------------------------------------------------------------


def test_half_precision_weights_are_explained_in_float32(open_tiny: OpenTiny, noise_images: list[InputImage]) -> None:
    half, whole = (open_tiny("native-vit", precision=precision) for precision in ("bf16", "fp32"))
    found = [neuron_attribution(one, noise_images[0], HIDDEN, 1, 2, config=integrated(8)) for one in (half, whole)]
    np.testing.assert_allclose(found[0].map, found[1].map, atol=0.1 * np.abs(found[1].map).max())
    assert {parameter.dtype for parameter in half.adapter.visual.parameters()} == {torch.bfloat16}


def test_captures_of_another_thread_stay_right_meanwhile(backbone: Backbone, noise_images: list[InputImage]) -> None:
    hook_points = backbone.hook_points
    pixels = torch.stack([backbone.prepare(image) for image in noise_images[:2]])
    right, is_done = backbone.forward(pixels, hook_points), threading.Event()
    wrong: list[HookPoint] = []
    n_captures: list[int] = []
    started = threading.Event()

    def capture() -> None:
        while not is_done.is_set():
            found = backbone.forward(pixels, hook_points)
            wrong.extend(p for p in hook_points if p not in found or not torch.equal(found[p], right[p]))
            n_captures.append(1)
            started.set()

    alone = neuron_attribution(backbone, noise_images[2], HIDDEN, 5, 7, integrated(32))
    thread = threading.Thread(target=capture)
    thread.start()
    started.wait(60)
    try:
        n_before = len(n_captures)
        together = neuron_attribution(backbone, noise_images[2], HIDDEN, 5, 7, integrated(32))
        n_meanwhile = len(n_captures) - n_before
    finally:
        is_done.set()
        thread.join()
    assert wrong == []
    assert n_meanwhile > 0, "the other thread waited until the end"
    np.testing.assert_array_equal(alone.map, together.map)


def test_leaves_no_trace_even_when_cancelled(backbone: Backbone, noise_images: list[InputImage]) -> None:
    before, seen = state_of(backbone), []

    def cancel(done: int, total: int) -> None:
        seen.append((done, total))
        if done >= 2 * BATCH:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        neuron_attribution(backbone, noise_images[0], HIDDEN, 5, None, integrated(32), on_progress=cancel)
    assert seen == [(0, 32), (BATCH, 32), (2 * BATCH, 32)]
    assert state_of(backbone) == before
    assert not FORWARD_LOCK.locked()


def test_progress_ends_at_the_last_step(backbone: Backbone, noise_images: list[InputImage]) -> None:
    seen: list[tuple[int, int]] = []
    for method in METHODS:
        config = AttributionConfig(method, steps=6)
        neuron_attribution(backbone, noise_images[0], HIDDEN, 5, None, config, lambda *step: seen.append(step))
    assert seen == [(0, 1), (1, 1), (0, 6), (4, 6), (6, 6)]


def test_works_where_gradients_are_switched_off(backbone: Backbone, noise_images: list[InputImage]) -> None:
    outside = neuron_attribution(backbone, noise_images[0], HIDDEN, 5)
    with torch.inference_mode():
        inside = neuron_attribution(backbone, noise_images[0], HIDDEN, 5)
        neuron_attribution(backbone, noise_images[0], HIDDEN, 5, None, integrated(2))
    np.testing.assert_array_equal(outside.map, inside.map)


def test_what_does_not_exist_is_refused_in_one_sentence(backbone: Backbone, noise_images: list[InputImage]) -> None:
    n_neurons, n_patches = backbone.layer(2).n_neurons["mlp_hidden"], backbone.layer(2).grid.n_patches
    refused: list[tuple[Callable[[], object], str]] = [
        (
            lambda: neuron_attribution(backbone, noise_images[0], HIDDEN, n_neurons),
            f"has no mlp_hidden neuron {n_neurons}; choose 0 to {n_neurons - 1}",
        ),
        (lambda: neuron_attribution(backbone, noise_images[0], HIDDEN, -1), "has no mlp_hidden neuron -1"),
        (
            lambda: neuron_attribution(backbone, noise_images[0], HIDDEN, 0, n_patches),
            f"has no patch {n_patches}; choose 0 to {n_patches - 1}",
        ),
        (
            lambda: AttributionConfig("magic"),  # type: ignore[arg-type]
            "method is 'magic'; it must be one of gradient, integrated_gradients",
        ),
        (lambda: AttributionConfig(baseline="black"), "baseline is 'black'"),  # type: ignore[arg-type]
        (lambda: AttributionConfig(steps=0), "steps is 0"),
    ]
    for work, message in refused:
        with pytest.raises((BackboneError, ConfigError), match=message) as caught:
            work()
        assert str(caught.value).count(". ") == 0
        assert str(caught.value).endswith(".")
