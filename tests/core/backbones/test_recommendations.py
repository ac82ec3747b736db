"""Each family has a usable recommendation; the two included backbones open with the settings measured for them."""

import pytest
import torch

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.errors import BackboneError
from tests.core.tiny import Tiny


def test_every_family_has_a_usable_recommendation(tiny: Tiny) -> None:
    recommended = tiny.backbone.recommended
    assert recommended.layers
    for layer in recommended.layers:
        tiny.backbone.hook_point(layer, recommended.site)
    assert LakeConfig().resolved(recommended).layers == recommended.layers


def test_lake_cnn_opens_with_its_measured_settings(lake_cnn: Backbone) -> None:
    assert lake_cnn.input_size == (384, 384)
    layer = lake_cnn.layer(15)
    assert (layer.grid.rows, layer.grid.cols) == (24, 24)
    assert layer.n_neurons == {"mlp_hidden": 720, "residual_channel": 120}
    assert lake_cnn.recommended.layers == (15,)
    assert lake_cnn.recommended.site == "mlp_hidden"
    assert lake_cnn.joint_grid is not None
    assert (lake_cnn.joint_grid.rows, lake_cnn.joint_width) == (12, 384)
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
