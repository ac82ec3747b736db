"""What baselines share: the registry, the top 1 %, and scores that do not depend on the company of an image."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lake_core.baselines import BASELINES, base, baselines
from lake_core.baselines.base import top_percent
from lake_core.data.images import InputImage
from lake_core.errors import LakeError
from lake_core.evaluation.protocol import DEFAULT_METHODS, METHODS
from tests.core.baselines.cases import case
from tests.core.tiny import OpenTiny


def test_each_file_holds_the_baseline_of_its_name() -> None:
    assert BASELINES == ("anomalydino", "patchcore", "subspacead", "winclip")
    for name, kind in baselines().items():
        assert (kind.name, kind.__module__) == (name, f"lake_core.baselines.{name}")
    assert (*DEFAULT_METHODS, *BASELINES) == METHODS


def test_the_top_percent_is_of_the_patches_on_the_image() -> None:
    values = np.random.default_rng(2).normal(size=(2, 450)).astype(np.float32)
    inside = np.ones((2, 450), bool)
    inside[1, :100] = False
    values[1, :100] = 99
    expected = [np.sort(values[0])[-4:].mean(), np.sort(values[1, 100:])[-3:].mean()]
    found = top_percent(torch.from_numpy(values), torch.from_numpy(inside))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_an_image_scores_the_same_alone_and_among_others(
    name: str, open_tiny: OpenTiny, noise_images: list[InputImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = case("efficientnet", {"resize": "letterbox"}, open_tiny, noise_images)
    baseline = baselines()[name](given.backbone, given.config).fit(given.store, given.normals)
    together = baseline.score_images(given.store, given.tests)
    monkeypatch.setattr(base, "_FLOATS_AT_ONCE", 1)  # one image at a time
    apart = baseline.score_images(given.store, given.tests[::-1])
    np.testing.assert_allclose(apart.scores.numpy()[::-1], together.scores.numpy(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(apart.maps.numpy()[::-1], together.maps.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "winclip"])
def test_a_copy_of_a_normal_image_changes_nothing_and_none_is_refused(
    name: str, open_tiny: OpenTiny, noise_images: list[InputImage]
) -> None:
    given = case("native-vit", {}, open_tiny, noise_images)
    copied = [*given.normals, replace(given.normals[0], name="a copy")]
    maps = [
        baselines()[name](given.backbone, given.config)
        .fit(given.store, some)
        .score_images(given.store, given.tests)
        .maps
        for some in (given.normals, copied)
    ]
    assert torch.equal(maps[0], maps[1])
    with pytest.raises(LakeError, match="no normal image"):
        baselines()[name](given.backbone, given.config).fit(given.store, [])
