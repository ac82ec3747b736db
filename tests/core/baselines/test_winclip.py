"""WinCLIP against its formulas in double precision, window by window."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from lake_core.baselines.winclip import WinClip, mean_over_windows
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from tests.core.baselines.cases import CASES, case, same_on_images
from tests.core.method import lies_inside
from tests.core.tiny import OpenTiny


def probability(vector: np.ndarray, directions: np.ndarray, scale: float) -> float:
    logits = scale * directions @ (vector / np.linalg.norm(vector))
    return float(np.exp(logits[1]) / np.exp(logits).sum())


@pytest.mark.parametrize(("name", "options"), CASES)
def test_maps_are_harmonic_means_over_windows(
    name: str, options: dict[str, Any], open_tiny: OpenTiny, noise_images: list[InputImage]
) -> None:
    given = case(name, options, open_tiny, noise_images)
    baseline = WinClip(given.backbone, LakeConfig(object_name="tile")).fit(given.store, ())
    prompts, scale = LakeConfig().prompts, given.backbone.logit_scale
    texts = prompts.normal_texts("tile"), prompts.anomalous_texts("tile")
    means = np.stack([given.backbone.encode_text(some).double().numpy().mean(0) for some in texts])
    directions = means / np.linalg.norm(means, axis=1, keepdims=True)
    found = baseline.score_images(given.store, given.tests)
    joint = given.backbone.joint_hook_point
    assert joint is not None
    grid = given.backbone.grid(joint)
    for i, image in enumerate(given.tests):
        inside = lies_inside(grid, given.backbone, image).reshape(grid.rows, grid.cols)
        patches = given.store.get(image, joint).double().numpy().reshape(grid.rows, grid.cols, -1)
        vector = given.store.get(image, given.backbone.image_hook_point)[0].double().numpy()
        whole = probability(vector, directions, scale)
        inverse = np.full((grid.rows, grid.cols), 1 / whole)
        for asked in (2, 3):
            covering: dict[tuple[int, int], list[float]] = {}
            side = min(asked, grid.rows)  # a window is no larger than the grid
            for row, col in product(range(grid.rows - side + 1), range(grid.cols - side + 1)):
                window = slice(row, row + side), slice(col, col + side)
                if not inside[window].any():
                    continue
                own = probability(patches[window][inside[window]].mean(0), directions, scale)
                for patch in product(range(row, row + side), range(col, col + side)):
                    covering.setdefault(patch, []).append(1 / own)
            for patch, values in covering.items():
                inverse[patch] += np.mean(values)
        assert float(found.scores[i]) == pytest.approx(whole, rel=1e-4)
        same_on_images(found.maps[i].numpy(), (3 / inverse).ravel(), inside.ravel())


def test_windows_are_averaged_where_they_overlap() -> None:
    values = torch.tensor([[[1.0, 5.0]]], dtype=torch.float64)  # two windows of 2 x 2 side by side on a grid of 2 x 3
    expected = torch.tensor([[[1.0, 3.0, 5.0], [1.0, 3.0, 5.0]]], dtype=torch.float64)
    assert torch.equal(mean_over_windows(values, (2, 2)), expected)


def test_a_head_without_patch_directions_is_told(open_tiny: OpenTiny) -> None:
    without, with_them = (open_tiny(name) for name in ("native-vit-attention-pool", "native-vit"))
    assert "no patch directions" in (WinClip.why_not(without) or "")
    assert WinClip.why_not(with_them) is None
