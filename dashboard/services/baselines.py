"""What a baseline makes of the images of a session, from stored activations."""

import time
from collections.abc import Hashable
from typing import NamedTuple

import numpy as np

from dashboard.services.analysis import Analysis
from lake_core.backbones.patch_grid import PatchGrid
from lake_core.baselines import baselines
from lake_core.types import Progress

AT_ONCE = 8
"""Images that are scored at once."""


class BaselineScores(NamedTuple):
    """A baseline's scores and maps of the test images.

    Attributes:
        scores: (n_tests,) float64, higher is more anomalous.
        maps: (n_tests, n_patches) float32 on `grid`, NaN off the image.
        fit_seconds, score_seconds: What learning, and scoring all test images, took from stored activations.
    """

    scores: np.ndarray
    maps: np.ndarray
    grid: PatchGrid
    fit_seconds: float
    score_seconds: float


def baseline_key(found: Analysis, name: str) -> Hashable:
    """What the scores of a baseline depend on; how LAKE selects, scales and weighs is not in it."""
    key = found.key
    return (
        "baseline",
        name,
        key.model,
        key.fit.layers,
        key.fit.site,
        key.fit.seed,
        key.text,
        key.normals,
        found.tests_key,
    )


def baseline_scores(found: Analysis, name: str, report: Progress) -> BaselineScores:
    """Fits a baseline on the normal images and scores the test images.

    Args:
        found: The images, and the layers, site, seed and prompts.
        name: Of a baseline for which the backbone has what it needs.
        report: Called with steps done and in all, of the fit and then of the scores; may raise to cancel.
    """
    store, images = found.lake.store, found.images
    started = time.perf_counter()
    baseline = baselines()[name](store.backbone, found.lake.config)
    baseline.fit(store, [example.image for example in found.workspace.normals], report)
    fitted = time.perf_counter()
    scores, maps = [], []
    for start in range(0, len(images), AT_ONCE):
        one = baseline.score_images(store, images[start : start + AT_ONCE])
        scores.append(one.scores.cpu().numpy())
        maps.append(one.maps.cpu().numpy())
        report(min(start + AT_ONCE, len(images)), len(images))
    seconds = time.perf_counter() - fitted
    return BaselineScores(np.concatenate(scores), np.concatenate(maps), baseline.grid, fitted - started, seconds)
