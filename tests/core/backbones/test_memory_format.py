"""Convolutional towers compute with the channels of a location side by side, and what they give stays what it is."""

import pytest
import torch
from torch import nn

from tests.core.tiny import FAMILIES, OpenTiny


@pytest.mark.parametrize("name", FAMILIES)
def test_convolutions_are_channels_last_where_the_adapter_says_so(name: str, open_tiny: OpenTiny) -> None:
    backbone = open_tiny(name)
    wide = [
        module.weight
        for module in backbone.network.visual.modules()  # type: ignore[union-attr]
        if isinstance(module, nn.Conv2d) and min(module.weight.shape) > 1
    ]
    if backbone.adapter.memory_format is torch.channels_last:
        assert wide
        assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in wide)


@pytest.mark.parametrize("name", FAMILIES)
def test_neither_the_layout_of_the_pixels_nor_a_later_pass_changes_what_is_given(
    name: str, open_tiny: OpenTiny
) -> None:
    backbone = open_tiny(name)
    height, width = backbone.input_size
    pixels = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    first = backbone.forward(pixels, backbone.hook_points, stay=True)
    kept = {hook_point: rows.clone() for hook_point, rows in first.items()}
    again = backbone.forward(pixels.contiguous(memory_format=torch.channels_last), backbone.hook_points)
    backbone.forward(-pixels, backbone.hook_points, stay=True)
    for hook_point, rows in first.items():
        assert torch.equal(rows, kept[hook_point])
        assert rows.is_contiguous()
        torch.testing.assert_close(again[hook_point], kept[hook_point])
