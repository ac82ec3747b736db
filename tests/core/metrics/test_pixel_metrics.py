"""Pixel metrics agree with brute force, whole or in pieces, and their bootstrap draws with images drawn by hand."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from lake_core.metrics.bootstrap import times_drawn
from lake_core.metrics.defect_mask import DefectMask
from lake_core.metrics.pixel_metrics import Comparison, Maps, PixelTruth, aupro, pixel_auroc, pixel_metrics
from tests.core.scores import brute_auroc


def case(seed: int, decimals: int = 1) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Maps and masks of seven images, two of them good, one of another size; many scores are tied."""
    rng = np.random.default_rng(seed)
    shapes = [(9, 12)] * 6 + [(7, 5)]
    masks = [np.zeros(shape, bool) if i % 3 == 0 else rng.random(shape) < 0.1 for i, shape in enumerate(shapes)]
    masks[6] = rng.random((7, 5)) < 0.2
    maps = [np.round(rng.random(mask.shape) + 0.3 * mask, decimals).astype(np.float32) for mask in masks]
    return maps, masks


def flat(maps: Sequence[np.ndarray], numbers: Sequence[int]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([maps[i].ravel() for i in numbers]))


def compared(truth: PixelTruth, *several: Sequence[np.ndarray]) -> list[Comparison]:
    return truth.compare(
        [
            Maps(partial(flat, maps), float(min(one.min() for one in maps)), float(max(one.max() for one in maps)))
            for maps in several
        ]
    )


def brute_aupro(maps: list[np.ndarray], masks: list[np.ndarray], max_fpr: float) -> float:
    """By the definition: threshold by threshold, region by region; the last piece cut at max_fpr."""
    regions: list[tuple[int, np.ndarray]] = []
    for index, mask in enumerate(masks):
        labelled, n = ndimage.label(mask, np.ones((3, 3)))
        regions.extend((index, labelled == region) for region in range(1, n + 1))
    good = np.concatenate([one[~mask] for one, mask in zip(maps, masks, strict=True)])
    points = [(0.0, 0.0)]
    for threshold in np.unique(np.concatenate([one.ravel() for one in maps]))[::-1]:
        overlap = np.mean([(maps[index][region] >= threshold).mean() for index, region in regions])
        points.append((float((good >= threshold).mean()), float(overlap)))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x1 > max_fpr:
            y1 = y0 + (y1 - y0) * (max_fpr - x0) / (x1 - x0)
            x1 = max_fpr
        area += (x1 - x0) * (y0 + y1) / 2
        if x1 == max_fpr:
            break
    return area / max_fpr


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("max_fpr", [0.05, 0.3, 1.0])
def test_pixel_metrics_agree_with_brute_force(seed: int, max_fpr: float) -> None:
    rng = np.random.default_rng(seed)
    masks = [np.zeros((9, 12), bool), rng.random((9, 12)) < 0.15, rng.random((7, 5)) < 0.2]
    maps = [np.round(rng.random(mask.shape) + 0.3 * mask, 1).astype(np.float32) for mask in masks]
    found = pixel_metrics(maps, masks, max_fpr)
    labels, scores = (np.concatenate([one.ravel() for one in several]) for several in (masks, maps))
    assert found.auroc == pytest.approx(brute_auroc(labels, scores))
    assert found.aupro == pytest.approx(brute_aupro(maps, masks, max_fpr))


@pytest.mark.parametrize("seed", range(3))
def test_the_pixel_auroc_is_that_of_scikit_learn(seed: int) -> None:
    maps, masks = case(seed, decimals=7)
    truth, values = (np.concatenate([one.ravel() for one in several]) for several in (masks, maps))
    assert pixel_auroc(maps, masks) == pytest.approx(roc_auc_score(truth, values), abs=1e-12)


def test_the_pixel_metrics_of_maps_in_memory_do_not_depend_on_the_range_of_scores() -> None:
    maps, masks = case(5, decimals=7)
    wide = [np.where(one == max(other.max() for other in maps), 1e6, 1e-4 * one) for one in maps]
    assert pixel_metrics(wide, masks) == pixel_metrics(maps, masks)


def test_masks_made_ready_once_serve_many_maps() -> None:
    maps, masks = case(0)
    truth = PixelTruth([DefectMask.of(mask) for mask in masks])
    several = [[np.sin(times * one) for one in maps] for times in range(1, 4)]
    together = compared(truth, *several)
    assert [compared(truth, changed)[0] for changed in several] == together
    for changed, found in zip(several, together, strict=True):
        assert found.metrics == pytest.approx(pixel_metrics(changed, masks), abs=1e-5)


@pytest.mark.parametrize("pixels_at_once", [1, 100, 300])
def test_images_looked_at_a_few_at_a_time_give_the_same_metrics(pixels_at_once: int) -> None:
    maps, masks = case(1)
    asked: list[int] = []

    def maps_of(numbers: Sequence[int]) -> torch.Tensor:
        asked.append(len(numbers))
        return flat(maps, numbers)

    packed = [DefectMask.of(mask) for mask in masks]
    times = times_drawn(np.array([mask.n_defect > 0 for mask in packed]), 50)
    truth = PixelTruth(packed, times, pixels_at_once=pixels_at_once)
    (found,) = truth.compare([Maps(maps_of, 0, 1.3)])
    (whole,) = PixelTruth(packed, times).compare([Maps(partial(flat, maps), 0, 1.3)])
    assert found.metrics == whole.metrics
    assert found.draws is not None
    assert whole.draws is not None
    np.testing.assert_array_equal(found.draws, whole.draws)
    assert sum(asked) == len(masks)
    assert max(asked) <= max(1, pixels_at_once // 35)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("outlier", [0.0, 300.0])
def test_scores_of_any_size_are_told_apart(scale: float, outlier: float) -> None:
    maps, masks = case(2, decimals=7)
    maps[0][0, 0] += outlier
    maps = [(scale * (one - 0.4)).astype(np.float32) for one in maps]
    truth, values = (np.concatenate([one.ravel() for one in several]) for several in (masks, maps))
    assert pixel_auroc(maps, masks) == pytest.approx(roc_auc_score(truth, values), abs=1e-4)


@pytest.mark.parametrize("decimals", [1, 7])
def test_each_draw_has_about_the_metrics_of_the_images_that_it_takes(decimals: int) -> None:
    rng = np.random.default_rng(3)
    masks = [np.zeros((40, 40), bool) for _ in range(12)]
    for i in range(0, 12, 2):
        masks[i][5 : 10 + i, 8 : 30 - i] = masks[i][30:33, 2:5] = True
    maps = [
        np.round(rng.gamma(2, 0.3, mask.shape) + rng.random() * mask, decimals).astype(np.float32) for mask in masks
    ]
    packed = [DefectMask.of(mask) for mask in masks]
    times = times_drawn(np.array([mask.n_defect > 0 for mask in packed]), 30)
    draws = compared(PixelTruth(packed, times, pixels_at_once=5000), maps)[0].draws
    assert draws is not None
    for number, taken in enumerate(np.repeat(np.arange(12), row) for row in times):
        exact = pixel_metrics([maps[i] for i in taken], [masks[i] for i in taken])
        assert draws.auroc[number] == pytest.approx(exact.auroc, abs=1e-3)
        assert draws.aupro[number] == pytest.approx(exact.aupro, abs=1e-3)
    assert draws.auroc.std() > 0.01


def test_without_metrics_there_are_no_draws() -> None:
    masks = [DefectMask.of(np.zeros((3, 3), bool))] * 2
    found = compared(PixelTruth(masks, np.ones((4, 2))), [np.zeros((3, 3))] * 2)
    assert found == [((None, None), None)]


def test_each_region_weighs_the_same_and_diagonal_pixels_touch() -> None:
    mask = np.zeros((10, 10), bool)
    mask[:4, :4] = True  # 16 pixels
    mask[8, 8] = mask[9, 9] = True  # one region of 2 pixels
    found_large = np.where(mask, 0.0, 0.5)
    found_large[:4, :4] = 1.0
    # The large region is found before any false alarm, the small one after all of them: half of the regions.
    assert aupro([found_large], [mask]) == pytest.approx(0.5)
    assert aupro([mask.astype(float)], [mask]) == pytest.approx(1.0)


def test_a_constant_map_is_chance() -> None:
    mask = np.zeros((4, 4), bool)
    mask[0] = True
    assert pixel_auroc([np.ones((4, 4))], [mask]) == pytest.approx(0.5)
    assert aupro([np.ones((4, 4))], [mask]) == pytest.approx(0.15)  # the triangle below the diagonal, over 0.3


def test_pixels_without_a_value_count_as_lowest() -> None:
    mask = np.array([[True, False]])
    assert pixel_auroc([np.array([[np.nan, -5.0]])], [mask]) == 0.0
    assert pixel_auroc([np.array([[-5.0, np.nan]])], [mask]) == 1.0


def test_masks_of_one_class_give_none() -> None:
    empty, full = np.zeros((3, 3), bool), np.ones((3, 3), bool)
    for masks in ([empty], [full], []):
        assert pixel_metrics([np.zeros((3, 3))] * len(masks), masks) == (None, None)


def test_a_map_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        pixel_metrics([np.zeros((3, 3))], [np.zeros((3, 4), bool)])
