"""AnomalyDINO against its formula in double precision."""

from typing import Any

import numpy as np
import pytest

from lake_core.baselines.anomalydino import AnomalyDino
from lake_core.data.images import InputImage
from tests.core.baselines.cases import CASES, case, same_on_images
from tests.core.tiny import OpenTiny


@pytest.mark.parametrize(("name", "options"), CASES)
def test_maps_are_cosine_distances_and_scores_their_greatest(
    name: str, options: dict[str, Any], open_tiny: OpenTiny, noise_images: list[InputImage]
) -> None:
    given = case(name, options, open_tiny, noise_images)
    baseline = AnomalyDino(given.backbone, given.config).fit(given.store, given.normals)
    found = baseline.score_images(given.store, given.tests)
    tests, normal = (
        rows / np.linalg.norm(rows, axis=-1, keepdims=True)
        for rows in (given.features(given.tests, smooth=1), given.normal_patches(smooth=1))
    )
    expected, inside = 1 - (tests @ normal.T).max(2), given.inside(given.tests)
    same_on_images(found.maps.numpy(), expected, inside)
    assert inside.sum(1).max() < 200, "with fewer than 200 patches the top 1 % is one of them"
    np.testing.assert_allclose(found.scores.numpy(), np.where(inside, expected, -1).max(1), rtol=1e-3, atol=1e-5)


def test_a_normal_image_is_at_no_distance_from_itself(open_tiny: OpenTiny, noise_images: list[InputImage]) -> None:
    given = case("native-vit", {}, open_tiny, noise_images)
    baseline = AnomalyDino(given.backbone, given.config).fit(given.store, given.normals)
    assert float(baseline.score_images(given.store, given.normals).maps.max()) < 1e-6
