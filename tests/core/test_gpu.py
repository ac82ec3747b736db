"""On a GPU the same comes out as on the CPU; these tests need one, and are left out where there is none."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lake_core.backbones.feature_store import FeatureStore
from lake_core.baselines import baselines
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.batch import BatchScorer, Variant
from lake_core.detector.lake import Lake
from lake_core.evaluation.protocol import FewShotProtocol
from lake_core.evaluation.runner import evaluate
from lake_core.metrics.bootstrap import Resampling, times_drawn
from lake_core.metrics.defect_mask import DefectMask
from lake_core.metrics.pixel_metrics import Maps, PixelTruth
from tests.core.scores import tied_case
from tests.core.tiny import OpenTiny

CHANGES: tuple[dict[str, Any], ...] = ({}, {"criterion": "all"})

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("config", [{}, {"normalise": "none"}, {"smooth": 1, "layers": (2, 3)}])
@pytest.mark.parametrize(("precision", "rtol"), [("fp32", 1e-4), ("fp16", 2e-3), ("bf16", 2e-3)])
@pytest.mark.parametrize("name", ["native-vit", "efficientnet"])
def test_a_batch_scorer_says_what_its_detectors_say_of_the_same_activations(
    name: str,
    precision: str,
    rtol: float,
    config: dict[str, Any],
    open_tiny: OpenTiny,
    noise_images: list[InputImage],
) -> None:
    backbone = open_tiny(name, device="cuda", precision=precision)
    store, base = FeatureStore(backbone), LakeConfig(top_k=5, **config)
    detectors = [
        Lake(backbone, replace(base, **changes), store).fit(normals)
        for normals in (noise_images[:1], noise_images[:3])
        for changes in CHANGES
    ]
    tests = noise_images[4:]
    pixels = torch.stack([backbone.prepare(image) for image in tests])
    acts = backbone.forward(pixels, detectors[0].hook_points, stay=True)
    said = BatchScorer([Variant(one) for one in detectors], store).score(
        acts, [backbone.placement(image) for image in tests]
    )
    for detector, one in zip(detectors, said, strict=True):
        for i, image in enumerate(tests):
            rows = {hook_point: values[i].float().cpu() for hook_point, values in acts.items()}
            alone = detector.aggregate(detector.compute_maps_from(image, rows))
            assert float(one.scores[i]) == pytest.approx(alone.score, rel=rtol)
            np.testing.assert_allclose(one.maps[i].cpu().numpy(), alone.map.ravel(), rtol=10 * rtol, atol=rtol)


@pytest.mark.parametrize(("precision", "rtol"), [("fp32", 1e-3), ("bf16", 1e-1)])
@pytest.mark.parametrize("name", ["native-vit", "efficientnet"])
def test_a_baseline_scores_as_on_the_cpu(
    name: str, precision: str, rtol: float, open_tiny: OpenTiny, noise_images: list[InputImage]
) -> None:
    config = LakeConfig(layers=(2, 3))
    for kind in baselines().values():
        scores = []
        for backbone in (open_tiny(name), open_tiny(name, device="cuda", precision=precision)):
            store = FeatureStore(backbone)
            baseline = kind(backbone, config).fit(store, noise_images[:3])
            found = baseline.score_images(store, noise_images[3:])
            assert found.maps.device.type == found.scores.device.type == backbone.device.type
            scores.append(found.scores.cpu().numpy())
        np.testing.assert_allclose(scores[1], scores[0], rtol=rtol)


def test_what_is_learned_is_the_same(open_tiny: OpenTiny, noise_images: list[InputImage]) -> None:
    config = LakeConfig(top_k=5, layers=(1, 2))
    here, there = (
        Lake(open_tiny("native-vit", device=device), config).fit(noise_images[:3]) for device in ("cpu", "cuda")
    )
    for a, b in zip(here.memory_bank_.layers, there.memory_bank_.layers, strict=True):
        assert b.bank.device.type == b.own_distance.device.type == "cpu"
        np.testing.assert_array_equal(a.selection.neurons, b.selection.neurons)
        assert b.tau == pytest.approx(a.tau, rel=1e-3)
    assert there.threshold_ == pytest.approx(here.threshold_, rel=1e-3)


def test_pixels_are_counted_the_same() -> None:
    rng = np.random.default_rng(0)
    masks = [np.zeros((40, 60), bool) for _ in range(9)]
    for i in range(0, 9, 2):
        masks[i][3 : 9 + i, 5:30] = masks[i][30:33, 40:44] = True
    maps = [torch.from_numpy(rng.random(mask.shape, dtype=np.float32) + 0.2 * mask).float().ravel() for mask in masks]
    packed = [DefectMask.of(mask) for mask in masks]
    times = times_drawn(np.array([mask.n_defect > 0 for mask in packed]), 50)
    found = []
    for name in ("cpu", "cuda", "cuda"):
        device = torch.device(name)
        several = [
            Maps(lambda some, to=device, f=f: torch.cat([f * maps[i] for i in some]).to(to), 0.0, 1.2 * f)  # type: ignore[misc]
            for f in (1.0, 0.3)
        ]
        found.append(PixelTruth(packed, times, device, pixels_at_once=10_000).compare(several))
    for here, there, again in zip(*found, strict=True):
        assert there.metrics == pytest.approx(here.metrics, abs=1e-6)
        assert again.metrics == there.metrics
        assert here.draws is not None
        assert there.draws is not None
        assert again.draws is not None
        np.testing.assert_allclose(there.draws, here.draws, atol=1e-6)
        np.testing.assert_array_equal(again.draws, there.draws)


def test_draws_have_the_same_metrics() -> None:
    labels, scores = tied_case(0, 40)
    here, there = (Resampling.of(labels, 200, device=torch.device(name)) for name in ("cpu", "cuda"))
    assert here is not None
    assert there is not None
    np.testing.assert_allclose(there.draws(scores), here.draws(scores), atol=1e-12)


def test_an_evaluation_gives_nearly_the_same_metrics(open_tiny: OpenTiny, stained: list[Path]) -> None:
    protocol = FewShotProtocol(shots=(1, 2), seeds=(0,))
    here, there = (
        evaluate(stained, open_tiny("native-vit", device=device), LakeConfig(top_k=5), protocol)
        for device in ("cpu", "cuda")
    )
    for a, b in zip(here.rows("results"), there.rows("results"), strict=True):
        for metric in ("image_auroc", "image_ap", "pixel_auroc", "pixel_aupro"):
            assert b[metric] == (None if a[metric] is None else pytest.approx(a[metric], abs=0.01))
    assert sum(a["image_auroc"] is not None for a in here.rows("results")) > 0
