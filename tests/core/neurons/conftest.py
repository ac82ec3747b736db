"""What the tests of concept labels share: a network with a planted neuron, and images for it."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lake_core.backbones.opening import open_backbone
from lake_core.data.images import InputImage, read_image
from lake_core.neurons.effects import written_directions
from lake_core.types import HookPoint
from tests.core.neurons.planted import LAYER, PALETTE, PLANTED, RedBackbone, is_red
from tests.core.tiny import write


@pytest.fixture(scope="module")
def mosaics() -> list[InputImage]:
    """Eight images of 5 x 5 patches of coloured grain; one colour in six is red."""
    rng = np.random.default_rng(3)
    found = []
    for i in range(8):
        colours = PALETTE[rng.integers(0, len(PALETTE), (5, 5))].repeat(8, 0).repeat(8, 1)
        rgb = (colours + rng.normal(0, 60, colours.shape)).clip(0, 255).astype(np.uint8)
        found.append(read_image(rgb, f"mosaic {i}"))
    return found


@pytest.fixture
def planted(tmp_path: Path, mosaics: list[InputImage]) -> RedBackbone:
    """Hidden neuron 17 of layer 2 fires on red patches and writes what its text side calls "red".

    Channel 0 of the stem is redness. "red" is the direction of the joint space that tells red patches from others best.
    """
    backbone = open_backbone(f"local-dir:{write('native-vit', tmp_path / 'red')}")
    backbone.__class__ = RedBackbone
    assert isinstance(backbone, RedBackbone)
    visual = backbone.adapter.visual
    mlp = visual.transformer.resblocks[LAYER - 1].mlp
    with torch.no_grad():
        visual.positional_embedding.mul_(0.1)
        visual.conv1.weight[0] = torch.tensor([1.0, -0.5, -0.5])[:, None, None] / 64
        for block in visual.transformer.resblocks:
            block.attn.out_proj.weight.mul_(0.3)
            block.mlp.c_proj.weight.mul_(0.2)
        mlp.c_fc.weight[PLANTED] = 0
        mlp.c_fc.weight[PLANTED, 0], mlp.c_fc.bias[PLANTED] = 8.0, -8.0
        mlp.c_proj.weight[:, PLANTED] = 0
        joint_hook_point = backbone.joint_hook_point
        assert joint_hook_point is not None
        pixels = torch.stack([backbone.prepare(image) for image in mosaics])
        directions = backbone.forward(pixels, {joint_hook_point})[joint_hook_point].flatten(0, 1)
        red = torch.from_numpy(np.concatenate([is_red(image) for image in mosaics]))
        centred = directions - directions.mean(0)
        backbone.red = F.normalize(
            torch.linalg.lstsq(centred, (red.float() - red.float().mean())[:, None]).solution[:, 0], dim=0
        )
        channel_writes = written_directions(backbone, HookPoint(LAYER, "residual_channel"))
        assert channel_writes is not None
        mlp.c_proj.weight[:, PLANTED] = 0.2 * F.normalize(torch.linalg.pinv(channel_writes.T) @ backbone.red, dim=0)
    return backbone
