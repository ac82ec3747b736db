"""Stability of a score: each run is what a fresh detector or a changed file gives, and nothing is kept of it."""

import io
from copy import copy

import numpy as np
import pytest
from PIL import Image

from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.data.samples import load_sample
from lake_core.detector.lake import Lake
from lake_core.experiments.robustness import as_jpeg, n_changes, rotated, score_stability, shifted
from lake_core.findings.images import PerturbationFinding
from tests.core.tiny import OpenTiny

N_NORMALS = 3


@pytest.fixture(params=["siglip", "efficientnet", "native-vit-attention-pool"], scope="module")
def lake(request: pytest.FixtureRequest, open_tiny: OpenTiny, noise_images: list[InputImage]) -> Lake:
    return Lake(open_tiny(request.param), LakeConfig(top_k=9, fusion_weight=0.4)).fit(noise_images[:N_NORMALS])


def test_each_row_is_what_a_fresh_detector_gives(lake: Lake, noise_images: list[InputImage]) -> None:
    image, normals = noise_images[5], noise_images[:N_NORMALS]
    before = lake.explain(image)
    n_forwards, n_bytes = lake.store.n_forwards, lake.store.n_bytes
    steps: list[tuple[int, int]] = []
    found = score_stability(lake, image, n_seeds=2, on_progress=lambda *step: steps.append(step))
    assert (lake.store.n_forwards, lake.store.n_bytes) == (n_forwards, n_bytes)
    assert steps == [(i, 19) for i in range(1, 20)]
    assert n_changes(N_NORMALS, n_seeds=2) == (7, 12)
    assert list(found.table.columns) == ["family", "what", "score", "text", "threshold", "is_anomalous"]
    assert found.by_family()[["family", "n"]].to_numpy().tolist() == [
        ["leave one normal out", 3],
        ["number of normals", 4],
        ["shift", 4],
        ["rotation", 4],
        ["JPEG quality", 4],
    ]
    assert found.table["score"].iloc[0] == before.score
    for left_out in range(N_NORMALS):
        kept = [normal for i, normal in enumerate(normals) if i != left_out]
        fresh = Lake(lake.backbone, lake.config).fit(kept).explain(image)
        row = found.table.iloc[1 + left_out]
        assert row["score"] == pytest.approx(fresh.score, rel=1e-4)
        assert row["threshold"] == pytest.approx(fresh.threshold, rel=1e-4)
        assert row["is_anomalous"] == fresh.is_anomalous
    changed = {
        "1 px left": np.concatenate([image.rgb[:, 1:], image.rgb[:, -1:]], axis=1),
        "1 px down": np.concatenate([image.rgb[:1], image.rgb[:-1]]),
        "+5°": rotated(image.rgb, 5),
        "30": as_jpeg(image.rgb, 30),
    }
    rows = found.table.set_index("what")
    for what, rgb in changed.items():
        assert rows.loc[what, "score"] == pytest.approx(lake.explain(rgb).score, rel=1e-4)
        assert rows.loc[what, "threshold"] == lake.threshold_
    assert found.spread == (found.table["score"].min(), found.table["score"].max())
    finding = found.finding
    assert isinstance(finding, PerturbationFinding)
    assert (finding.score, finding.lowest, finding.highest) == (before.score, *found.spread)
    assert (finding.n_changes, len(finding.turned)) == (19, len(found.turned))


def test_a_turned_decision_is_named(lake: Lake, noise_images: list[InputImage]) -> None:
    # With the threshold between its own score and that of a changed copy, at least one decision must turn.
    plain = score_stability(lake, noise_images[5], n_seeds=1)
    shifts = plain.table.loc[plain.table["family"] == "shift", "score"]
    between = copy(lake)
    between.threshold_ = (plain.table["score"].iloc[0] + shifts.iloc[0]) / 2
    found = score_stability(between, noise_images[5], n_seeds=1)
    assert "1 px right" in found.turned["what"].tolist()
    assert isinstance(found.finding, PerturbationFinding)
    assert "shift: 1 px right" in found.finding.turned
    assert found.by_family()["n_turned"].sum() == len(found.turned)


def test_it_can_be_cancelled(lake: Lake, noise_images: list[InputImage]) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_stability(lake, noise_images[5], on_progress=stop)


def test_edges_are_continued_and_no_corner_is_black() -> None:
    white = np.full((30, 50, 3), 255, np.uint8)
    for degrees in (-5, -2, 2, 5):
        assert (rotated(white, degrees) == 255).all()
    assert (shifted(white, 1, -1) == 255).all()
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(shifted(rgb, 1, 0)[:, 1:], rgb[:, :-1])
    np.testing.assert_array_equal(shifted(rgb, 1, 0)[:, 0], rgb[:, 0])
    np.testing.assert_array_equal(shifted(rgb, 0, -1)[:-1], rgb[1:])
    np.testing.assert_array_equal(rotated(rgb, 0), rgb)
    ramp = np.repeat(np.repeat(np.arange(41, dtype=np.uint8)[None, :, None] * 6, 41, 0), 3, 2)
    # Counterclockwise: above the centre comes what was to the right of it, where the ramp is brighter.
    assert abs(int(rotated(ramp, 5)[20, 20, 0]) - 120) <= 1
    assert rotated(ramp, 5)[10, 20, 0] > 122
    assert rotated(ramp, 5)[30, 20, 0] < 118


def test_jpeg_is_that_of_a_file() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=50)
    np.testing.assert_array_equal(as_jpeg(rgb, 50), np.array(Image.open(io.BytesIO(file.getvalue()))))
    error = [np.abs(as_jpeg(rgb, q).astype(int) - rgb).mean() for q in (95, 75, 50, 30)]
    assert error == sorted(error)


def test_an_image_of_one_pixel_can_be_turned() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    assert rotated(noise[:1, :1], 5).shape == (1, 1, 3)
    assert rotated(noise[:1], 5).shape == (1, 60, 3)


def test_turning_a_good_part_makes_no_defect(cnn_store: FeatureStore) -> None:
    sample = load_sample("metal")
    config = LakeConfig(object_name="metal flange")
    detector = Lake(cnn_store.backbone, config, cnn_store).fit([e.image for e in sample.normals[:4]])
    good = next(example.image for example in sample.tests if example.label == "good")
    before = detector.explain(good).score
    for degrees in (-5, 5):
        assert abs(detector.explain(rotated(good.rgb, degrees)).score - before) < 1.0
