"""Image scores without maps equal those of results, whatever shapes the layers and images have."""

from typing import Any

import numpy as np
import pytest

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import Patches
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.image_scores import image_scores
from lake_core.detector.lake import Lake
from lake_core.detector.reselection import with_neurons
from lake_core.detector.search import FloatBank
from lake_core.errors import LakeError
from lake_core.findings.fits import LayerLeftOut
from tests.core.images import spotted
from tests.core.tiny import Tiny


@pytest.fixture
def cnn_lake(small_cnn: Backbone) -> Lake:
    return Lake(small_cnn, LakeConfig(top_k=30, layers=(9, 15))).fit([spotted(seed) for seed in range(4)])


@pytest.mark.parametrize("top_q", [1, 5])
def test_they_equal_the_scores_of_results(shape: Tiny, noise_images: list[InputImage], top_q: int) -> None:
    layers = tuple(shape.backbone.layers_with("residual_channel")[-2:])
    lake = Lake(shape.backbone, LakeConfig(layers=layers, top_k=5, top_q=top_q, site="residual_channel"))
    lake.fit(noise_images[:3])
    for detector in (lake, lake.with_weights(fusion_weight=0.0)):
        expected = [result.score for result in detector.explain_all(noise_images)]
        np.testing.assert_allclose(image_scores(detector, noise_images), expected, rtol=1e-5, atol=1e-7)
    assert image_scores(lake, []).shape == (0,)


def test_patches_that_cannot_be_among_the_highest_are_not_compared_with_all(
    small_cnn: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, compared = [spotted(seed, defect=True) for seed in (30, 31)], [0]
    fine = Lake(small_cnn, LakeConfig(layers=(9,), top_k=30)).fit([spotted(seed) for seed in range(4)])
    fine.explain_all(images)
    search = FloatBank.nearest

    def counting(bank: FloatBank, patches: Any, excluded: Any = None) -> Any:
        compared[0] += len(patches.numbers) * len(bank.rows)
        return search(bank, patches, excluded)

    monkeypatch.setattr(FloatBank, "nearest", counting)
    for image in images:
        fine.explain(image)
    in_full, compared[0] = compared[0], 0
    image_scores(fine, images)
    assert 0 < compared[0] < in_full / 2


def test_other_neurons_make_the_detector_that_is_fitted_with_them(cnn_lake: Lake) -> None:
    image = spotted(30, defect=True)
    narrow = Lake(cnn_lake.backbone, LakeConfig(top_k=7, layers=(9, 15)), cnn_lake.store).fit(cnn_lake.normals_)
    other = with_neurons(cnn_lake, {layer: one.neurons for layer, one in narrow.selection_.items()})
    assert other.explain(image).score == narrow.explain(image).score
    assert other.threshold_ == narrow.threshold_


def test_neurons_that_do_not_vary_leave_their_layer_out_or_are_refused(
    cnn_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_two_still_neurons(lake: Lake, layer: int) -> Patches:
        acts_ipn, inside_ip = lake.store.patches(lake.normals_, lake.backbone.hook_point(layer, "mlp_hidden"))
        acts_ipn[..., :2] = 1.0
        return Patches(acts_ipn, inside_ip)

    monkeypatch.setattr(Lake, "normal_patches", with_two_still_neurons)
    own, still = cnn_lake.selection_[9].neurons, np.array([0, 1])
    other = with_neurons(cnn_lake, {9: own, 15: still})
    assert [*other.selection_] == [9]
    assert LayerLeftOut(15) in other.memory_bank_.warnings
    with pytest.raises(LakeError, match="do not vary"):
        with_neurons(cnn_lake, {9: still, 15: still})
