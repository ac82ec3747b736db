"""Patch directions in the joint space: each patch through the tower's own head, written out for each family."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lake_core.types import HookPoint
from tests.core.backbones.passes import close, pixels_for
from tests.core.tiny import FAMILIES, OpenTiny, Tiny


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
