"""A batch scorer says what each of its detectors says alone, whatever they share."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lake_core.backbones.feature_store import FeatureStore
from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.batch import BatchScorer, Variant
from lake_core.detector.lake import Lake
from lake_core.errors import BackboneError
from tests.core.method import layers_of
from tests.core.tiny import OpenTiny, Tiny

CHANGES: tuple[dict[str, Any], ...] = ({}, {"criterion": "all"}, {"criterion": "random"}, {"memory_bank_size": 7})


@pytest.mark.parametrize(
    ("options", "config"),
    [
        ({}, {}),
        ({}, {"site": "residual_channel", "top_q": 3, "normalise": "none", "smooth": 1}),
        ({"resize": "letterbox"}, {"top_q": 4}),
    ],
)
@pytest.mark.parametrize("name", ["native-vit", "efficientnet", "native-vit-attention-pool"])
def test_a_batch_scorer_agrees_with_its_detectors(
    name: str, options: dict[str, Any], config: dict[str, Any], open_tiny: OpenTiny, noise_images: list[InputImage]
) -> None:
    backbone = open_tiny(name, **options)
    if "site" in config:
        config = config | {"layers": layers_of(backbone, config["site"], 16)}
    base = LakeConfig(top_k=5, **config)
    store = FeatureStore(backbone)
    detectors = [
        Lake(backbone, replace(base, **changes), store).fit(normals)
        for normals in (noise_images[:1], noise_images[:3], noise_images[1:4])
        for changes in CHANGES
    ]
    variants = [Variant(detector, weight) for detector in detectors for weight in (None, 0.0, 1.0)]
    tests = noise_images[4:6]
    scorer = BatchScorer(variants, store)
    canvases = torch.from_numpy(np.stack([backbone.frame.canvas(image) for image in tests]))
    placements = [backbone.placement(image) for image in tests]
    pixels = backbone.pixels(canvases, placements)
    assert torch.equal(pixels, torch.stack([backbone.prepare(image) for image in tests]))
    said = scorer.score(backbone.forward(pixels, detectors[0].hook_points, stay=True), placements)
    for variant, one in zip(variants, said, strict=True):
        if variant.weight == 1.0 and variant.detector.memory_bank_.text is None:
            continue
        weight = base.fusion_weight if variant.weight is None else variant.weight
        for i, image in enumerate(tests):
            alone = variant.detector.with_weights(fusion_weight=weight).explain(image)
            assert float(one.scores[i]) == pytest.approx(alone.score, rel=1e-4)
            np.testing.assert_allclose(one.maps[i].numpy(), alone.map.ravel(), rtol=1e-3, atol=1e-5)


def test_half_weights_say_nearly_the_same(tiny: Tiny, open_tiny: OpenTiny, noise_images: list[InputImage]) -> None:
    backbone, half = tiny.backbone, open_tiny(tiny.name, precision="bf16")
    assert backbone.key != half.key
    pixels = torch.stack([backbone.prepare(image) for image in noise_images[:4]])
    exactly, roughly = (one.forward(pixels, backbone.hook_points) for one in (backbone, half))
    assert exactly.keys() == roughly.keys()
    for hook_point, exact in exactly.items():
        rounded = roughly[hook_point]
        assert rounded.dtype == torch.float32
        assert not torch.equal(rounded, exact)
        similarity = torch.nn.functional.cosine_similarity(rounded.flatten(), exact.flatten(), dim=0)
        assert similarity > 0.97, hook_point  # random scales blow rounding up more than trained ones do
    text = ["a photo of a plate"]
    assert torch.equal(backbone.encode_text(text), half.encode_text(text))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "foo"}, "The device 'foo' is not known; use cpu, cuda"),
        ({"device": "cuda:x"}, "not known"),
        ({"device": "cuda:99"}, "PyTorch sees"),
        ({"precision": "fp8"}, "The precision 'fp8' is not known; use fp32, bf16, fp16"),
    ],
)
def test_devices_and_precisions_that_are_not_there_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BackboneError, match=words):
        open_backbone("lake-cnn", **options)


def test_auto_is_what_there_is(open_tiny: OpenTiny) -> None:
    assert open_tiny("native-vit", device="auto").device.type == ("cuda" if torch.cuda.is_available() else "cpu")
