"""Scores of many choices of neurons equal those of detectors that are fitted with each choice by itself."""

import numpy as np
import pytest

from lake_core.backbones.feature_store import FeatureStore, Patches
from lake_core.config import NORMALISATIONS, LakeConfig, Normalise
from lake_core.data.images import InputImage
from lake_core.detector import memory_bank, neuron_choices
from lake_core.detector.image_scores import image_scores
from lake_core.detector.lake import Lake
from lake_core.detector.neuron_choices import scores_by_choice
from lake_core.detector.reselection import with_neurons
from lake_core.errors import LakeError
from lake_core.types import HookPoint, Neurons
from tests.core.tiny import Tiny


def choices_of(lake: Lake, n: int, k: int) -> list[Neurons]:
    rng = np.random.default_rng(1)
    return [{layer: rng.permutation(one.n_neurons)[:k] for layer, one in lake.selection_.items()} for _ in range(n)]


def detector_of(lake: Lake, chosen: Neurons) -> Lake | None:
    try:
        return with_neurons(lake, chosen)
    except LakeError:  # a single normal image on a grid of one patch
        return None


@pytest.mark.parametrize("n_normals", [1, 4])
@pytest.mark.parametrize("normalise", NORMALISATIONS)
def test_they_equal_detectors_fitted_with_each_choice(
    shape: Tiny, noise_images: list[InputImage], monkeypatch: pytest.MonkeyPatch, n_normals: int, normalise: Normalise
) -> None:
    layers = tuple(shape.backbone.layers_with("residual_channel")[-2:])
    config = LakeConfig(layers=layers, top_k=5, site="residual_channel", normalise=normalise, smooth=3)
    lake = Lake(shape.backbone, config).fit(noise_images[:n_normals])
    tests, choices = noise_images[4:], choices_of(lake, 3, 4)
    fitted = [detector_of(lake, chosen) for chosen in choices]
    monkeypatch.setattr(memory_bank, "_FEW_PATCHES", 0)
    steps: list[tuple[int, int]] = []
    plain = scores_by_choice(lake, tests, choices, on_progress=lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    monkeypatch.setattr(neuron_choices, "_MOST_HELD", 1)
    in_blocks = scores_by_choice(lake, tests, choices, with_normals=True)
    for other, one, two in zip(fitted, plain, in_blocks, strict=True):
        if other is None:
            assert one is two is None
            continue
        assert one is not None
        assert two is not None
        expected = image_scores(other, tests)
        np.testing.assert_allclose(one.scores, expected, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(two.scores, expected, rtol=1e-5, atol=1e-7)
        assert two.normal_mean == pytest.approx(float(other.normal_scores_.mean()), rel=1e-5)


def test_a_choice_in_which_nothing_varies_has_no_scores(
    noise_images: list[InputImage], shape: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = shape.backbone.layers_with("residual_channel")[-2:]
    patches = FeatureStore.patches

    def with_two_still_neurons(store: FeatureStore, images: list[InputImage], hook_point: HookPoint) -> Patches:
        acts_ipn, inside_ip = patches(store, images, hook_point)
        acts_ipn[..., :2] = 1.0
        return Patches(acts_ipn, inside_ip)

    config = LakeConfig(layers=(first, second), top_k=5, site="residual_channel")
    lake = Lake(shape.backbone, config).fit(noise_images[:3])
    monkeypatch.setattr(FeatureStore, "patches", with_two_still_neurons)
    still, own = np.array([0, 1]), np.array([4, 2, 6, 3])
    choices = [{first: still, second: still}, {first: own, second: still}]
    for with_normals in (False, True):
        nothing, one = scores_by_choice(lake, noise_images[3:], choices, with_normals)
        assert nothing is None
        assert one is not None
        left = with_neurons(lake, choices[1])
        assert [*left.selection_] == [first]
        np.testing.assert_allclose(one.scores, image_scores(left, noise_images[3:]), rtol=1e-5, atol=1e-7)
