"""What every family must give: layers with the right grids and neurons, and exact activations."""

from typing import Any

import numpy as np
import pytest
import torch

from lake_core.backbones.adapters.base import MAX_GRID
from lake_core.data.images import read_image
from lake_core.errors import BackboneError
from lake_core.types import HookPoint
from tests.core.backbones.passes import as_patches, blocks_of, close, pixels_for, run
from tests.core.tiny import OpenTiny, Tiny

VITS = ["native-vit", "native-vit-quickgelu", "siglip", "eva02", "perception-encoder", "mobileclip-b"]


def test_layers_are_numbered_from_one_with_the_right_grids_and_neurons(tiny: Tiny) -> None:
    family, layers = tiny.family, tiny.backbone.layers
    covered = family.covered or family.size
    assert [layer.number for layer in layers] == list(range(1, len(family.grids) + 1))
    assert tuple(layer.grid.rows for layer in layers) == tuple(layer.grid.cols for layer in layers) == family.grids
    assert {(layer.grid.covered_height, layer.grid.covered_width) for layer in layers} == {(covered, covered)}
    assert tuple(layer.n_neurons["residual_channel"] for layer in layers) == family.channels
    assert tuple(layer.n_neurons.get("mlp_hidden", 0) for layer in layers) == family.hidden
    joint = tiny.backbone.joint_grid
    assert (None if joint is None else (joint.rows, joint.covered_width)) == (
        None if family.joint is None else (family.joint, covered)
    )
    sites = {HookPoint(layer.number, site) for layer in layers for site in layer.n_neurons}
    assert tiny.backbone.hook_points == sites | tiny.backbone.text_hook_points
    assert tiny.backbone.joint_width == family.model.get("embed_dim", 24)
    assert tiny.backbone.logit_scale == pytest.approx(np.exp(3.0))


def test_channel_is_the_output_of_the_block(tiny: Tiny) -> None:
    backbone = tiny.backbone
    pixels = pixels_for(backbone)
    blocks = run(backbone, pixels, blocks_of(backbone))
    found = backbone.forward(pixels, {HookPoint(layer.number, "residual_channel") for layer in backbone.layers})
    assert len(blocks) == len(found) == len(backbone.layers)
    for layer, block in zip(backbone.layers, blocks, strict=True):
        n_neurons = layer.n_neurons["residual_channel"]
        acts = found[HookPoint(layer.number, "residual_channel")]
        assert acts.shape == (2, layer.grid.n_patches, n_neurons)
        assert acts.dtype == torch.float32
        close(acts, as_patches(block, n_neurons, layer.grid.n_patches))


@pytest.mark.parametrize("name", VITS)
def test_channel_equals_open_clips_own_intermediates(open_tiny: OpenTiny, name: str) -> None:
    backbone = open_tiny(name)
    pixels = pixels_for(backbone)
    with torch.inference_mode():
        reference = backbone._model.visual.forward_intermediates(pixels, output_fmt="NCHW")["image_intermediates"]
    found = backbone.forward(pixels, {HookPoint(layer.number, "residual_channel") for layer in backbone.layers})
    assert len(reference) == len(found) == len(backbone.layers)
    for number, maps in enumerate(reference, start=1):
        close(found[HookPoint(number, "residual_channel")], maps.flatten(2).transpose(1, 2))


def test_hidden_neurons_add_up_to_the_output_of_the_down_projection(tiny: Tiny) -> None:
    """mlp_out = sum_u a_u W[:, u] + b: no other definition of a hidden neuron is exact."""
    backbone = tiny.backbone
    numbers = backbone.layers_with("mlp_hidden")
    assert numbers == tuple(i for i, n_neurons in enumerate(tiny.family.hidden, start=1) if n_neurons)
    if not numbers:
        with pytest.raises(BackboneError, match="no mlp_hidden neurons; layers that have: none"):
            backbone.hook_point(1, "mlp_hidden")
        return
    pixels = pixels_for(backbone)
    blocks: list[Any] = [block for block in blocks_of(backbone) if hasattr(block, "mlp") or hasattr(block, "conv_pwl")]
    downs = [_down_projection(block) for block in blocks]
    outputs = run(backbone, pixels, [block.mlp if hasattr(block, "mlp") else block.conv_pwl for block in blocks])
    found = backbone.forward(pixels, {HookPoint(number, "mlp_hidden") for number in numbers})
    assert len(outputs) == len(found)
    for number, down, output in zip(numbers, downs, outputs, strict=True):
        weight, bias = down.weight.flatten(1), down.bias
        hidden = found[HookPoint(number, "mlp_hidden")]
        expected = as_patches(output, len(weight), backbone.layer(number).grid.n_patches)
        close(torch.einsum("bpu,du->bpd", hidden, weight) + (0 if bias is None else bias), expected)


def _down_projection(block: Any) -> Any:
    names = ("mlp.c_proj", "mlp.fc2", "conv_pwl")
    return next(module for name, module in block.named_modules() if name in names)


def test_early_layers_are_averaged_to_at_most_48_patches_a_side(open_tiny: OpenTiny) -> None:
    backbone = open_tiny("efficientnet", image_size=128)
    pixels = pixels_for(backbone, 1)
    first = run(backbone, pixels, blocks_of(backbone))[0]
    assert first.shape[-2:] == (64, 64)
    assert [layer.grid.rows for layer in backbone.layers] == [32, 32, 16, 8, 4]
    assert {layer.grid.covered_height for layer in backbone.layers} == {128}
    acts = backbone.forward(pixels, {HookPoint(1, "residual_channel")})[HookPoint(1, "residual_channel")]
    expected = first.unflatten(2, (32, 2)).unflatten(4, (32, 2)).mean((3, 5))
    close(acts, expected.flatten(2).transpose(1, 2))


def test_a_large_grid_of_a_vit_covers_what_its_patches_cover(open_tiny: OpenTiny) -> None:
    """50 x 50 patches of 8 pixels are averaged to 25 x 25."""
    backbone = open_tiny("native-vit", image_size=404)
    assert {(layer.grid.rows, layer.grid.covered_height, layer.grid.covered_width) for layer in backbone.layers} == {
        (25, 400, 400)
    }


@pytest.mark.parametrize("side", [96, 98, 196, 784])
def test_a_grid_that_is_averaged_still_covers_the_whole_input(open_tiny: OpenTiny, side: int) -> None:
    """At 1568 pixels the first blocks have 784 locations a side, which no power of two takes to 48 or less evenly."""
    adapter = open_tiny("timm-resnet").adapter
    ramp = torch.arange(side, dtype=torch.float32).expand(1, 1, side, side)
    maps = adapter.patches(HookPoint(1, "residual_channel"), ramp)
    cols = maps.shape[-1]
    assert cols <= MAX_GRID
    centres = (np.arange(cols) + 0.5) * side / cols - 0.5
    np.testing.assert_allclose(maps[0, 0, 0].numpy(), centres, atol=0.51)
    np.testing.assert_allclose(maps.mean(), ramp.mean(), rtol=1e-2)


def test_image_is_the_normalised_image_embedding(tiny: Tiny) -> None:
    backbone = tiny.backbone
    pixels = pixels_for(backbone)
    found = backbone.forward(pixels, {backbone.image_hook_point})
    with torch.inference_mode():
        expected = backbone._model.encode_image(pixels, normalize=True)
    assert found.keys() == {backbone.image_hook_point}
    close(found[backbone.image_hook_point][:, 0], expected)


def test_batch_composition_changes_nothing_and_order_permutes(tiny: Tiny) -> None:
    backbone = tiny.backbone
    pixels = pixels_for(backbone, 4)
    together = backbone.forward(pixels, backbone.hook_points)
    order = torch.tensor([2, 0, 3, 1])
    permuted = backbone.forward(pixels[order], backbone.hook_points)
    for hook_point in backbone.hook_points:
        alone = torch.cat([backbone.forward(pixels[i : i + 1], {hook_point})[hook_point] for i in range(4)])
        close(alone, together[hook_point])
        close(permuted[hook_point], together[hook_point][order])
        assert not torch.allclose(together[hook_point][0], together[hook_point][1], atol=1e-3)


def test_activations_are_rows_on_the_cpu_without_gradient(tiny: Tiny) -> None:
    found = tiny.backbone.forward(pixels_for(tiny.backbone), tiny.backbone.hook_points)
    assert found.keys() == tiny.backbone.hook_points
    for hook_point, tensor in found.items():
        grid = tiny.backbone.grid(hook_point)
        assert tensor.shape[:2] == (2, grid.n_patches)
        assert tensor.is_contiguous()
        assert not tensor.requires_grad
        assert tensor.device.type == "cpu"


def test_unknown_places_raise(open_tiny: OpenTiny) -> None:
    backbone = open_tiny("native-vit")
    with pytest.raises(KeyError):
        backbone.forward(pixels_for(backbone), {HookPoint(4, "residual_channel")})
    with pytest.raises(BackboneError, match="no layer 4; its layers are 1 to 3"):
        backbone.hook_point(4, "residual_channel")
    with pytest.raises(BackboneError, match="no layer 0"):
        backbone.layer(0)


def test_the_model_is_in_evaluation_mode_and_frozen(tiny: Tiny) -> None:
    model = tiny.backbone._model
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_text_embeddings_have_length_one_and_do_not_depend_on_their_batch(tiny: Tiny) -> None:
    texts = [f"a photo of a part number {i}" for i in range(70)]
    rows = tiny.backbone.encode_text(texts)
    assert rows.shape == (70, tiny.backbone.joint_width)
    close(rows.norm(dim=1), torch.ones(70))
    close(tiny.backbone.encode_text(texts[66:68]), rows[66:68])
    assert float((rows[0] - rows[1]).norm()) > 1e-3


@pytest.mark.parametrize("resize", ["squash", "letterbox"])
def test_the_image_is_prepared_with_the_models_own_mean_and_deviation(open_tiny: OpenTiny, resize: str) -> None:
    backbone = open_tiny("native-vit", resize=resize)
    image = read_image(np.full((20, 40, 3), (255, 0, 51), np.uint8), "flat")
    prepared = backbone.prepare(image)
    assert prepared.shape == (3, 40, 40)
    expected = (torch.tensor([1.0, 0.0, 0.2]) - torch.tensor([0.45, 0.5, 0.4])) / torch.tensor([0.25, 0.3, 0.28])
    torch.testing.assert_close(prepared[:, 20, 20], expected)
    torch.testing.assert_close(prepared[:, 0, 0], expected if resize == "squash" else torch.zeros(3))


@pytest.mark.parametrize(
    ("name", "size", "grid"),
    [
        ("native-vit", 80, 10),
        ("siglip", 96, 6),
        ("mobileclip-b", 96, 6),
        ("efficientnet", 96, 48),
        ("fastvit", 128, 32),
    ],
)
def test_another_input_size_changes_the_grid(open_tiny: OpenTiny, name: str, size: int, grid: int) -> None:
    backbone = open_tiny(name, image_size=size)
    assert backbone.input_size == (size, size)
    assert (backbone.layers[0].grid.rows, backbone.layers[0].grid.covered_width) == (grid, size)
    found = backbone.forward(pixels_for(backbone, 1), backbone.hook_points)
    with torch.inference_mode():
        expected = backbone._model.encode_image(pixels_for(backbone, 1), normalize=True)
    close(found[backbone.image_hook_point][:, 0], expected)


def test_keys_tell_apart_what_features_depend_on(open_tiny: OpenTiny) -> None:
    backbones = [
        open_tiny("efficientnet"),
        open_tiny("efficientnet", image_size=96),
        open_tiny("efficientnet", resize="letterbox"),
        open_tiny("convnext"),
    ]
    assert len({backbone.key for backbone in backbones}) == 4
