"""Folding batch normalisations leaves what a network computes as it was."""

import numpy as np
import pytest
import torch
from torch import nn

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.folding import fold_batch_norms
from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.samples import load_sample
from lake_core.detector.lake import Lake
from tests.core.tiny import FAMILIES, OpenTiny, small_nets

_Norm = nn.modules.batchnorm._BatchNorm


@pytest.fixture
def unfolded(monkeypatch: pytest.MonkeyPatch) -> Backbone:
    with monkeypatch.context() as patch:
        patch.setattr("lake_core.backbones.backbone.fold_batch_norms", lambda *_: 0)
        return open_backbone("lake-cnn")


def test_lake_cnn_scores_and_shows_the_same_as_before(unfolded: Backbone, lake_cnn: Backbone) -> None:
    assert not any(isinstance(module, _Norm) for module in lake_cnn.network.visual.modules())  # type: ignore[union-attr]
    data = load_sample("hazelnut")
    normals, tests = [e.image for e in data.normals[:3]], [e.image for e in data.tests[::6]]
    before, now = (Lake(one, LakeConfig()).fit(normals) for one in (unfolded, lake_cnn))
    for image in tests:
        old, new = before.explain(image), now.explain(image)
        assert new.score == pytest.approx(old.score, rel=1e-4)
        assert new.is_anomalous == old.is_anomalous
        assert int(np.nanargmax(new.map)) == int(np.nanargmax(old.map))
    pixels = torch.stack([lake_cnn.prepare(image) for image in tests[:2]])
    expected, found = (one.forward(pixels, one.hook_points) for one in (unfolded, lake_cnn))
    for hook_point, rows in expected.items():
        assert float((found[hook_point] - rows).abs().max()) < 1e-3


def test_a_normalisation_keeps_its_activation_function_and_one_without_a_convolution_stays() -> None:
    class Tower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
            self.after_pooling = nn.BatchNorm2d(4)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.after_pooling(nn.functional.avg_pool2d(self.norm(self.conv(pixels)).relu(), 2))

    torch.manual_seed(0)
    tower = Tower().eval()
    for norm in (tower.norm, tower.after_pooling):
        nn.init.uniform_(norm.running_mean, -1, 1)  # type: ignore[arg-type]
        nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]
    pixels = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = tower(pixels)
        assert fold_batch_norms(tower, pixels[:1]) == 1
        torch.testing.assert_close(tower(pixels), expected, rtol=1e-5, atol=1e-6)
    assert not isinstance(tower.norm, _Norm)
    assert isinstance(tower.after_pooling, _Norm)


@pytest.mark.parametrize("name", ["efficientnet", "timm-resnet", "native-resnet", "fastvit", "mobileclip-b"])
def test_every_family_computes_the_same(name: str, open_tiny: OpenTiny, monkeypatch: pytest.MonkeyPatch) -> None:
    folded: list[int] = []

    def counted(tower: nn.Module, pixels: torch.Tensor) -> int:
        folded.append(fold_batch_norms(tower, pixels))
        return folded[-1]

    with monkeypatch.context() as patch, small_nets(FAMILIES[name]):
        patch.setattr("lake_core.backbones.backbone.fold_batch_norms", lambda *_: 0)
        plain = open_backbone(open_tiny(name).spec)
        patch.setattr("lake_core.backbones.backbone.fold_batch_norms", counted)
        backbone = open_backbone(open_tiny(name).spec)
    assert folded[0] > 0
    pixels = torch.randn(2, 3, *backbone.input_size, generator=torch.Generator().manual_seed(0))
    expected, found = (one.forward(pixels, one.hook_points) for one in (plain, backbone))
    for hook_point, rows in expected.items():
        torch.testing.assert_close(found[hook_point], rows, rtol=1e-3, atol=1e-3)
