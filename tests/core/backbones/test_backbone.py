"""What every family must give: the right hook points, exact activations, and directions in the joint space."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lake_core.backbones.adapters.base import MAX_GRID
from lake_core.backbones.backbone import Backbone
from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage, read_image
from lake_core.errors import BackboneError
from lake_core.types import HookPoint
from tests.core.tiny import FAMILIES, OpenTiny, Tiny

BLOCKS = {
    "ResidualAttentionBlock", "Block", "EvaBlock", "ConvNeXtBlock", "RepMixerBlock", "AttentionBlock",
    "BasicBlock", "Bottleneck", "ConvBnAct", "DepthwiseSeparableConv", "EdgeResidual", "InvertedResidual",
}  # fmt: skip
VITS = ["native-vit", "native-vit-quickgelu", "siglip", "eva02", "perception-encoder", "mobileclip-b"]


def pixels_for(backbone: Backbone, n: int = 2) -> Tensor:
    return torch.randn(n, 3, *backbone.input_size, generator=torch.Generator().manual_seed(3))


def close(actual: Tensor, expected: Tensor) -> None:
    """Equal to float32 rounding, measured against the size of the values."""
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * max(1.0, float(expected.abs().max())))


@contextmanager
def outputs_of(modules: list[nn.Module]) -> Iterator[list[Tensor]]:
    """Outputs of modules in the order in which they are run, taken by the test's own hooks."""
    outputs: list[Tensor] = []
    handles = [m.register_forward_hook(lambda _m, _i, out: outputs.append(out.detach().clone())) for m in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def blocks_of(backbone: Backbone) -> list[nn.Module]:
    """Blocks by their class, inside of the image tower, in no order that matters."""
    return [module for module in backbone._model.visual.modules() if type(module).__name__ in BLOCKS]


def run(backbone: Backbone, pixels: Tensor, modules: list[nn.Module]) -> list[Tensor]:
    with torch.inference_mode(), outputs_of(modules) as outputs:
        backbone._model.encode_image(pixels)
    return outputs


def as_patches(raw: Tensor, n_neurons: int, n_patches: int) -> Tensor:
    """(batch, patches, neurons) from tokens with a prefix, channels-last maps or channels-first maps."""
    if raw.ndim == 3:
        return raw[:, -n_patches:]
    if raw.shape[1] != n_neurons:
        raw = raw.permute(0, 3, 1, 2)
    return raw.flatten(2).transpose(1, 2)


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


def test_joint_directions_have_length_one_and_are_absent_where_the_head_pools_by_attention(tiny: Tiny) -> None:
    backbone = tiny.backbone
    if tiny.family.joint is None:
        assert backbone.joint_hook_point is None
        assert backbone.text_hook_points == {backbone.image_hook_point}
        with pytest.raises(KeyError):
            backbone.forward(pixels_for(backbone), {HookPoint(len(backbone.layers), "joint")})
        return
    assert backbone.joint_hook_point is not None
    rows = backbone.forward(pixels_for(backbone), {backbone.joint_hook_point})[backbone.joint_hook_point]
    assert rows.shape == (2, tiny.family.joint**2, backbone.joint_width)
    close(rows.norm(dim=2), torch.ones(rows.shape[:2]))
    assert float(rows[0].std(0).max()) > 1e-3


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.linear])
def test_directions_of_a_linear_head_average_to_the_image_vector(open_tiny: OpenTiny, name: str) -> None:
    backbone = open_tiny(name)
    with torch.inference_mode():
        image, directions = backbone.adapter.forward(pixels_for(backbone))
    assert directions is not None
    close(directions.mean((2, 3)), image)


def value_path(trunk: Any, tokens: Tensor) -> Tensor:
    """Attention pooling of one token: the softmax over one key is 1, so the token's value passes as it is."""
    pool = trunk.attn_pool
    value = pool.kv(tokens).chunk(2, dim=-1)[1]
    pooled = pool.proj(value)
    return pooled + pool.mlp(pool.norm(pooled))


def native_directions(visual: Any, pixels: Tensor) -> Tensor:
    maps = visual.forward_intermediates(pixels, indices=1, output_fmt="NLC")["image_intermediates"][-1]
    return visual.ln_post(maps) @ visual.proj


def siglip_directions(visual: Any, pixels: Tensor) -> Tensor:
    return value_path(visual.trunk, visual.trunk.norm(last_tokens(visual, pixels)))


def encoder_directions(visual: Any, pixels: Tensor) -> Tensor:
    return visual.trunk.head(
        visual.trunk.fc_norm(value_path(visual.trunk, visual.trunk.norm(last_tokens(visual, pixels))))
    )


def token_directions(visual: Any, pixels: Tensor) -> Tensor:
    trunk = visual.trunk
    return trunk.head(trunk.fc_norm(trunk.norm(last_tokens(visual, pixels))))


def average_directions(visual: Any, pixels: Tensor) -> Tensor:
    return visual.head.proj(visual.trunk.fc_norm(visual.trunk.norm(last_tokens(visual, pixels))))


def last_tokens(visual: Any, pixels: Tensor) -> Tensor:
    return visual.trunk.forward_intermediates(pixels, indices=1, output_fmt="NLC", intermediates_only=True)[-1]


def convnext_directions(visual: Any, pixels: Tensor) -> Tensor:
    final = visual.trunk.stages(visual.trunk.stem(pixels))
    return visual.head.proj(visual.trunk.head.norm(final).permute(0, 2, 3, 1)).flatten(1, 2)


def resnet_directions(visual: Any, pixels: Tensor) -> Tensor:
    final = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(pixels)))))
    return visual.attnpool.c_proj(visual.attnpool.v_proj(final.flatten(2).transpose(1, 2)))


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("native-vit", native_directions),
        ("native-vit-quickgelu", native_directions),
        ("siglip", siglip_directions),
        ("perception-encoder", encoder_directions),
        ("eva02", token_directions),
        ("mobileclip-b", token_directions),
        ("timm-vit-average", average_directions),
        ("convnext", convnext_directions),
        ("native-resnet", resnet_directions),
    ],
)
def test_joint_directions_take_each_patch_through_the_adapters_own_head(
    open_tiny: OpenTiny, name: str, reference: Callable[[Any, Tensor], Tensor]
) -> None:
    backbone = open_tiny(name)
    assert backbone.joint_hook_point is not None
    pixels = pixels_for(backbone)
    with torch.inference_mode():
        expected = F.normalize(reference(backbone._model.visual, pixels), dim=-1)
    close(backbone.forward(pixels, {backbone.joint_hook_point})[backbone.joint_hook_point], expected)


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
    for hook_point, tensor in tiny.backbone.forward(pixels_for(tiny.backbone), tiny.backbone.hook_points).items():
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


def test_every_family_has_a_usable_recommendation(tiny: Tiny) -> None:
    recommended = tiny.backbone.recommended
    for layer in recommended.layers:
        tiny.backbone.hook_point(layer, recommended.site)
    assert LakeConfig().resolved(recommended).layers == recommended.layers


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


def test_lake_cnn_opens_with_its_measured_settings(lake_cnn: Backbone) -> None:
    assert lake_cnn.input_size == (384, 384)
    layer = lake_cnn.layer(15)
    assert (layer.grid.rows, layer.grid.cols) == (24, 24)
    assert layer.n_neurons == {"mlp_hidden": 720, "residual_channel": 120}
    assert lake_cnn.recommended.layers == (15,)
    assert lake_cnn.recommended.site == "mlp_hidden"
    assert lake_cnn.joint_grid is not None
    assert (lake_cnn.joint_grid.rows, lake_cnn.joint_width) == (12, 256)
    assert max(layer.grid.rows for layer in lake_cnn.layers) <= 48


def test_lake_vit_opens_with_its_measured_settings(lake_vit: Backbone) -> None:
    assert lake_vit.input_size == (128, 128)
    assert len(lake_vit.layers) == 12
    assert {layer.grid.rows for layer in lake_vit.layers} == {16}
    assert lake_vit.layer(8).n_neurons == {"residual_channel": 256, "mlp_hidden": 1024}
    assert (lake_vit.recommended.layers, lake_vit.recommended.site) == ((8,), "residual_channel")


def test_the_shipped_backbones_join_images_and_texts(lake_cnn: Backbone, noise_images: list[InputImage]) -> None:
    pixels = torch.stack([lake_cnn.prepare(image) for image in noise_images[:1]])
    vector = lake_cnn.forward(pixels, {lake_cnn.image_hook_point})[lake_cnn.image_hook_point][0]
    texts = lake_cnn.encode_text(["a photo of a red flower.", "television static noise texture."])
    scores = (vector @ texts.T)[0]
    assert scores[1] > scores[0]


def test_a_missing_gpu_is_one_sentence() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(BackboneError, match="sees no CUDA GPU; use cpu or auto"):
        open_backbone("lake-cnn", device="cuda")
