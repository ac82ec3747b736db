"""What the detector refuses, and where nothing varies: one sentence with the remedy, or a part left out and told."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.errors import BackboneError, ConfigError, ImageError, LakeError, NotFittedError
from lake_core.findings.fits import LayerLeftOut, TextLeftOut
from tests.core.detector.lakes import texture, tiny_lake
from tests.core.tiny import OpenTiny

# What it refuses -----------------------------------------------------------------------------------------------------


def test_asking_before_fitting_is_refused(backbone: Backbone, noise_images: list[InputImage]) -> None:
    lake = tiny_lake(backbone)
    for ask in (lake.explain, lake.compute_maps, lambda image: lake.explain_all([image])):
        with pytest.raises(NotFittedError, match="call fit first"):
            ask(noise_images[0])
    with pytest.raises(NotFittedError):
        lake.with_weights(fusion_weight=0.5)


def test_no_image_at_all_is_refused(backbone: Backbone) -> None:
    with pytest.raises(LakeError, match="give at least one"):
        tiny_lake(backbone).fit([])


def test_an_image_that_cannot_be_read_is_refused(backbone: Backbone, noise_images: list[InputImage]) -> None:
    with pytest.raises(ImageError):
        tiny_lake(backbone).fit([noise_images[0], b"no image"])
    with pytest.raises(ImageError):
        tiny_lake(backbone).fit(noise_images[:2]).explain(b"no image")


def test_layers_and_kinds_that_the_backbone_lacks_are_refused(open_tiny: OpenTiny) -> None:
    with pytest.raises(BackboneError, match="no layer 9; its layers are 1 to 3"):
        tiny_lake(open_tiny("native-vit"), layers=(9,))
    with pytest.raises(BackboneError, match="has no mlp_hidden neurons; layers that have: 2, 3, 4, 5"):
        tiny_lake(open_tiny("efficientnet"), layers=(1,))


def test_a_store_of_another_backbone_is_refused(open_tiny: OpenTiny) -> None:
    with pytest.raises(ConfigError, match="another backbone"):
        Lake(open_tiny("native-vit"), None, FeatureStore(open_tiny("siglip")))


def test_only_weights_can_be_changed_without_fitting(backbone: Backbone, noise_images: list[InputImage]) -> None:
    lake = tiny_lake(backbone).fit(noise_images[:3])
    with pytest.raises(ConfigError, match="fusion_weight, threshold_quantile, top_q"):
        lake.with_weights(top_k=5)
    with pytest.raises(ConfigError, match="fusion_weight"):
        lake.with_weights(fusion_weight=2)


def test_a_parameter_of_another_name_is_refused(backbone: Backbone) -> None:
    with pytest.raises(ConfigError, match="Unknown parameter 'text_weight'"):
        tiny_lake(backbone).set_params(text_weight=0.5)


# Constant inputs -----------------------------------------------------------------------------------------------------


def same_pixels_other_bytes(n: int) -> list[bytes]:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8))
    found = []
    for level in range(n):
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=3 * level)
        found.append(buffer.getvalue())
    return found


def test_images_in_which_nothing_varies_are_refused_with_the_remedy(backbone: Backbone) -> None:
    copies = same_pixels_other_bytes(3)
    assert len(set(copies)) == 3
    for batch_size in (1, 2, 3):  # in another batch the same image differs by rounding
        lake = Lake(backbone, LakeConfig(layers=(1, 3)), FeatureStore(backbone, batch_size=batch_size))
        with pytest.raises(LakeError, match="Nothing varies in the normal images in the chosen layers; add"):
            lake.fit(copies)


def test_one_neuron_of_length_one_is_told_from_images_without_structure(
    open_tiny: OpenTiny, noise_images: list[InputImage]
) -> None:
    # Its channels are 0 or more, so that one alone has length 1 wherever it is active.
    lake = Lake(open_tiny("native-resnet"), LakeConfig(layers=(1,), top_k=1))
    with pytest.raises(LakeError, match=r"One neuron of a layer alone, .* keep at least 2 \(top K\)"):
        lake.fit(noise_images[:3])


def test_a_dead_layer_is_left_out_with_a_warning(
    open_tiny: OpenTiny, noise_images: list[InputImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = open_tiny("efficientnet")
    forward = backbone.forward
    dead = backbone.hook_point(3, "mlp_hidden")

    def deadened(pixels: torch.Tensor, hook_points: Any, stay: bool) -> Any:
        return {
            hook_point: t * 0 if hook_point == dead else t
            for hook_point, t in forward(pixels, hook_points, stay=stay).items()
        }

    monkeypatch.setattr(backbone, "forward", deadened)
    lake = tiny_lake(backbone, layers=(3, 4)).fit(noise_images[:3])
    assert lake.memory_bank_.warnings == (LayerLeftOut(3),)
    assert lake.selection_.keys() == {4}
    result = lake.explain(noise_images[5])
    monkeypatch.undo()
    alone = tiny_lake(backbone, layers=(4,)).fit(noise_images[:3]).explain(noise_images[5])
    assert result.score == pytest.approx(alone.score, rel=1e-5)
    assert result.map.shape == (4, 4)
    assert set(result.contributions()["layer"].dropna()) == {4}


@pytest.mark.parametrize("n_normals", [1, 2])
def test_an_image_is_very_unlike_constant_ones_but_not_endlessly(
    n_normals: int, lake_cnn: Backbone, lake_vit: Backbone
) -> None:
    grey = [np.full((64, 64, 3), value, np.uint8) for value in (100, 101)]
    for backbone in (lake_cnn, lake_vit):
        result = Lake(backbone).fit(grey[:n_normals]).explain(texture(0))
        assert np.isfinite(result.map).all()
        assert 5 < result.score < 1e6


def test_the_text_part_is_left_out_where_all_patches_have_the_same_margin(
    backbone: Backbone, noise_images: list[InputImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, joint = backbone.forward, backbone.joint_hook_point

    def monotonous(pixels: torch.Tensor, hook_points: Any, stay: bool) -> Any:
        found = forward(pixels, hook_points, stay=stay)
        return {
            hook_point: t[:1, :1].expand_as(t).clone() if hook_point == joint else t for hook_point, t in found.items()
        }

    monkeypatch.setattr(backbone, "forward", monotonous)
    lake = Lake(backbone, LakeConfig(layers=(2,)), FeatureStore(backbone, batch_size=8)).fit(noise_images[:3])
    assert TextLeftOut("no contrast", backbone.spec) in lake.memory_bank_.warnings
    result = lake.explain(noise_images[4])
    assert (result.fusion_weight, result.text) == (0.0, 0.0)
    assert result.score == pytest.approx(result.visual)
