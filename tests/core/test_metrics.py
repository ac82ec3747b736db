"""Metrics agree with brute force on small cases, and say None where there is nothing to separate."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from lake_core.metrics import (
    PixelTruth,
    aupro,
    auroc,
    auroc_interval,
    average_precision,
    best_f1,
    bootstrap_auroc,
    f1_max,
    pixel_auroc,
    pixel_metrics,
)


def tied_case(seed: int, n: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Labels of both classes and scores with many ties."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.4
    labels[:2] = [True, False]
    return labels, rng.integers(0, 8, n) / 8 + 0.25 * labels


def brute_auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    wins = [(d > g) + 0.5 * (d == g) for d in scores[labels] for g in scores[~labels]]
    return float(np.mean(wins))


def brute_f1(labels: np.ndarray, scores: np.ndarray) -> float:
    found = []
    for threshold in np.unique(scores):
        flagged = scores >= threshold
        found.append(2 * (flagged & labels).sum() / (flagged.sum() + labels.sum()))
    return float(max(found))


def brute_average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    total, recall_before = 0.0, 0.0
    for threshold in np.unique(scores)[::-1]:
        flagged = scores >= threshold
        recall = (flagged & labels).sum() / labels.sum()
        total += (recall - recall_before) * (flagged & labels).sum() / flagged.sum()
        recall_before = recall
    return float(total)


def brute_aupro(maps: list[np.ndarray], masks: list[np.ndarray], max_fpr: float) -> float:
    """By the definition: threshold by threshold, region by region; the last piece cut at max_fpr."""
    regions = []
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


@pytest.mark.parametrize("seed", range(5))
def test_picture_metrics_agree_with_brute_force(seed: int) -> None:
    labels, scores = tied_case(seed)
    assert auroc(labels, scores) == pytest.approx(brute_auroc(labels, scores))
    assert f1_max(labels, scores) == pytest.approx(brute_f1(labels, scores))
    assert average_precision(labels, scores) == pytest.approx(brute_average_precision(labels, scores))


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_scikit_learn(seed: int) -> None:
    labels, scores = tied_case(seed, 200)
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    rng = np.random.default_rng(seed)
    masks = [rng.random((40, 30)) < 0.1 for _ in range(3)]
    maps = [(rng.random(mask.shape) + 0.2 * mask).astype(np.float32) for mask in masks]
    truth, values = (np.concatenate([one.ravel() for one in several]) for several in (masks, maps))
    assert pixel_auroc(maps, masks) == pytest.approx(roc_auc_score(truth, values), abs=1e-12)


def test_masks_made_ready_once_serve_many_maps() -> None:
    rng = np.random.default_rng(0)
    masks = [np.zeros((8, 8), bool), rng.random((8, 6)) < 0.3]
    truth = PixelTruth(masks)
    for _ in range(3):
        maps = [rng.random(mask.shape).astype(np.float32) for mask in masks]
        assert truth.metrics(maps) == pixel_metrics(maps, masks)


def test_best_f1_comes_with_a_score_that_still_counts_as_defective() -> None:
    best = best_f1([False, False, True, True], [0.1, 0.4, 0.4, 0.9])
    assert best is not None
    assert best.threshold == 0.4
    assert best.f1 == pytest.approx(2 * 2 / (3 + 2))


@pytest.mark.parametrize("labels", [[True, True], [False, False], []])
def test_one_class_gives_none_never_zero(labels: list[bool]) -> None:
    scores = [0.5] * len(labels)
    for metric in (auroc, average_precision, best_f1, f1_max, auroc_interval, bootstrap_auroc):
        assert metric(labels, scores) is None


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        auroc([True, False], [np.nan, 1.0])
    with pytest.raises(ValueError, match="one length"):
        auroc([True, False, True], [0.0, 1.0])


def test_the_interval_holds_the_auroc_and_narrows_with_more_pictures() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for n in (20, 320):
        labels = np.arange(n) % 2 == 0
        scores = rng.normal(size=n) + labels
        found, value = auroc_interval(labels, scores), auroc(labels, scores)
        assert found is not None
        assert value is not None
        assert found.low < value < found.high
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 2


def test_bootstrap_draws_are_what_drawing_pictures_gives() -> None:
    labels, scores = tied_case(1, 12)
    draws = bootstrap_auroc(labels, scores, n_draws=4000)
    assert draws is not None
    rng = np.random.default_rng(5)
    by_hand = []
    for _ in range(2000):
        defective = rng.choice(np.flatnonzero(labels), labels.sum())
        good = rng.choice(np.flatnonzero(~labels), (~labels).sum())
        chosen = np.concatenate([defective, good])
        by_hand.append(auroc(labels[chosen], scores[chosen]))
    assert draws.mean() == pytest.approx(np.mean(by_hand), abs=0.01)
    assert draws.std() == pytest.approx(np.std(by_hand), rel=0.08)


def test_several_runs_are_averaged_within_each_draw() -> None:
    labels, first = tied_case(2)
    second = tied_case(3)[1]
    both = bootstrap_auroc(labels, np.stack([first, second]), seed=4)
    alone = [bootstrap_auroc(labels, scores, seed=4) for scores in (first, second)]
    np.testing.assert_allclose(both, (alone[0] + alone[1]) / 2)  # type: ignore[operator]


def test_perfect_separation_has_an_interval_of_one_point() -> None:
    assert auroc_interval([False, False, True, True], [0.1, 0.2, 0.8, 0.9]) == (1.0, 1.0)


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


@pytest.mark.parametrize("pixels_at_once", [1, 100, 300])
def test_maps_asked_for_a_few_at_a_time_give_the_same_figures(pixels_at_once: int) -> None:
    rng = np.random.default_rng(1)
    masks = [np.zeros((9, 12), bool) if i % 3 == 0 else rng.random((9, 12)) < 0.1 for i in range(7)]
    maps = [np.round(rng.random(mask.shape) + 0.3 * mask, 1).astype(np.float32) for mask in masks]
    asked: list[int] = []

    def maps_of(indices: Sequence[int]) -> list[np.ndarray]:
        asked.append(len(indices))
        return [maps[i] for i in indices]

    assert PixelTruth(masks, pixels_at_once).metrics_of(maps_of) == pixel_metrics(maps, masks)
    assert max(asked) == max(1, pixels_at_once // (9 * 12))


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
