"""Private copies of an image tower: what they share, and the tower from one layer on."""

import pytest
import torch
from torch import Tensor, nn

from lake_core.backbones.backbone import Backbone, Change
from lake_core.backbones.towers import Tail, private_copy
from lake_core.types import HookPoint
from tests.core.tiny import Tiny


def test_the_private_copy_shares_weights_and_nothing_else(tiny: Tiny) -> None:
    adapter = tiny.backbone.adapter
    own, private = adapter.visual, private_copy(adapter).visual
    assert not {id(m) for m in own.modules()} & {id(m) for m in private.modules()}
    assert not {id(p) for p in own.parameters()} & {id(p) for p in private.parameters()}
    assert [p.data_ptr() for p in own.parameters()] == [p.data_ptr() for p in private.parameters()]
    assert not any(p.requires_grad for p in private.parameters())
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in private.modules()) == 0


def test_the_tail_gives_what_the_whole_tower_gives_from_any_layer_on(tiny: Tiny) -> None:
    backbone = tiny.backbone
    pixels = torch.randn(3, 3, *backbone.input_size, generator=torch.Generator().manual_seed(0))
    for layer in range(1, len(backbone.layers) + 1):
        tail = Tail(backbone, layer, pixels, batch_size=2)
        wanted = {one for one in backbone.hook_points if one.layer >= layer}
        for site in backbone.layer(layer).n_neurons:
            for changes in (None, {HookPoint(layer, site): _without(1)}):
                found = tail.forward(wanted, changes)
                torch.testing.assert_close(found, backbone.forward(pixels, wanted, changes))


def test_the_tail_runs_no_block_before_its_layer(lake_cnn: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.randn(1, 3, *lake_cnn.input_size, generator=torch.Generator().manual_seed(0))
    image, layer = lake_cnn.image_hook_point, 15
    tail = Tail(lake_cnn, layer, pixels, batch_size=1)
    block, n_run = type(lake_cnn.adapter.blocks()[layer - 1]), []
    forward = block.forward

    def counted(self: nn.Module, tokens: Tensor) -> Tensor:
        n_run.append(1)
        return forward(self, tokens)

    monkeypatch.setattr(block, "forward", counted)
    tail.forward({image})
    assert len(n_run) == len(lake_cnn.layers) - layer + 1


def _without(neuron: int) -> Change:
    def change(maps: Tensor) -> None:
        maps[:, neuron] = 0

    return change
