"""Other normal images: scores and decisions against detectors fitted by hand, and what the finding counts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.opening import open_backbone
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.selection import jaccard
from lake_core.errors import LakeError, NotFittedError
from lake_core.experiments.other_normals import OtherNormals, n_refits, other_normals
from lake_core.metrics.image_metrics import known_auroc
from lake_core.sentences import sentence
from tests.core.images import spotted
from tests.core.running import Cancelled

LABELS = [False, False, None, True, True, False]
N_DRAWS = 6


@pytest.fixture(scope="module")
def backbone(one_thread: None) -> Backbone:
    return open_backbone("lake-cnn", image_size=128)


@pytest.fixture(scope="module")
def tests() -> list[InputImage]:
    return [spotted(seed, bool(label)) for seed, label in zip(range(20, 26), LABELS, strict=True)]


@pytest.fixture(scope="module")
def lake(backbone: Backbone, tests: list[InputImage]) -> Lake:
    fitted = Lake(backbone, LakeConfig(top_k=20, layers=(12, 15), seed=3)).fit([spotted(seed) for seed in range(4)])
    fitted.explain_all(tests)
    return fitted


@pytest.fixture(scope="module")
def found(lake: Lake, tests: list[InputImage]) -> OtherNormals:
    return other_normals(lake, tests, LABELS, N_DRAWS)


def by_hand(lake: Lake, chosen: Sequence[int]) -> Lake:
    return Lake(lake.backbone, lake.config, lake.store).fit([lake.normals_[i] for i in chosen])


def drawn(seed: int, n: int, n_draws: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [sorted(set(rng.integers(0, n, n).tolist())) for _ in range(n_draws)]


def sets_of(kind: str) -> list[list[int]]:
    return [[j for j in range(4) if j != i] for i in range(4)] if kind == "leave one out" else drawn(3, 4, N_DRAWS)


@pytest.mark.parametrize("kind", ["leave one out", "bootstrap"])
def test_each_refit_is_a_detector_fitted_by_hand(
    lake: Lake, tests: list[InputImage], found: OtherNormals, kind: str
) -> None:
    whole = lake.score_samples(tests)
    decided = whole > lake.threshold_
    refits = found.refits[found.refits["refits"] == kind].reset_index()
    scores, own, kept = [], [], []
    for row, chosen in zip(refits.itertuples(), sets_of(kind), strict=True):
        other = by_hand(lake, chosen)
        scores.append(other.score_samples(tests))
        own.append((scores[-1] > other.threshold_) != decided)
        kept.append((scores[-1] > lake.threshold_) != decided)
        assert row.n_normals == len(chosen)
        assert row.threshold == pytest.approx(other.threshold_)
        assert (row.n_changed, row.n_changed_at_kept) == (own[-1].sum(), kept[-1].sum())
        assert row.auroc == pytest.approx(known_auroc(LABELS, scores[-1]))
        overlaps = [jaccard(other.selection_[layer].neurons, lake.selection_[layer].neurons) for layer in (12, 15)]
        assert row.jaccard == pytest.approx(np.mean(overlaps))
    images = found.images[found.images["refits"] == kind].reset_index()
    assert images["image"].tolist() == [image.name for image in tests]
    assert images["label"].astype(object).where(images["label"].notna(), None).tolist() == LABELS
    assert set(images["n_refits"]) == {len(scores)}
    np.testing.assert_allclose(images["score"], whole, rtol=1e-5)
    assert images["is_anomalous"].tolist() == decided.tolist()
    for column, q in {"lowest": 0, "q05": 0.05, "median": 0.5, "q95": 0.95, "highest": 1}.items():
        np.testing.assert_allclose(images[column], np.quantile(scores, q, axis=0), rtol=1e-5)
    assert images["n_changed"].tolist() == np.sum(own, axis=0).tolist()
    assert images["n_changed_at_kept"].tolist() == np.sum(kept, axis=0).tolist()
    (finding,) = [one for one in found.finding.refits if one.kind == kind]
    assert (finding.n_refits, finding.n_failed) == (len(scores), 0)
    assert (finding.n_changed, finding.n_changed_at_kept) == (np.sum(own), np.sum(kept))
    assert finding.n_with_change == np.sum(np.any(own, axis=1))
    assert finding.n_images_changed == np.sum(np.any(own, axis=0))
    assert finding.auroc == pytest.approx((refits["auroc"].min(), refits["auroc"].max()))
    assert finding.mean_jaccard == pytest.approx(refits["jaccard"].mean())


def test_some_decisions_change_so_that_the_counts_above_are_not_all_zero(lake: Lake, found: OtherNormals) -> None:
    assert found.finding.n_images == 6
    assert found.finding.n_normals == 4
    assert sum(one.n_changed for one in found.finding.refits) > 0
    assert any(one.n_changed != one.n_changed_at_kept for one in found.finding.refits)


def test_the_network_does_not_run_and_the_same_is_found_again(
    lake: Lake, tests: list[InputImage], found: OtherNormals
) -> None:
    n_forwards = lake.store.n_forwards
    again = other_normals(lake, tests, LABELS, N_DRAWS)
    assert lake.store.n_forwards == n_forwards
    pd.testing.assert_frame_equal(again.refits, found.refits)
    pd.testing.assert_frame_equal(again.images, found.images)
    assert again.finding == found.finding


def test_a_threshold_that_was_set_by_hand_is_kept_by_every_refit(lake: Lake, tests: list[InputImage]) -> None:
    threshold = float(np.median(lake.score_samples(tests)))
    found = other_normals(lake.with_threshold(threshold), tests, None, 2)
    assert set(found.refits["threshold"]) == {threshold}
    assert found.refits["n_changed"].tolist() == found.refits["n_changed_at_kept"].tolist()
    assert found.refits["auroc"].isna().all()
    assert found.finding.auroc is None
    assert [one.auroc for one in found.finding.refits] == [None, None]


def test_of_one_normal_image_nothing_is_said(backbone: Backbone, lake: Lake, tests: list[InputImage]) -> None:
    normal = lake.normals_[0]
    alone = Lake(backbone, lake.config, lake.store).fit([normal, normal])
    found = other_normals(alone, tests, LABELS)
    assert found.finding.refits == ()
    assert (len(found.refits), len(found.images)) == (0, 0)
    assert "n_changed" in found.images
    assert sentence(found.finding).startswith("One normal image cannot tell")
    assert n_refits(1) == 1


def test_a_draw_holds_each_image_once_and_equal_draws_are_fitted_once(
    lake: Lake, tests: list[InputImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[tuple[str, ...]] = []
    fit = Lake.fit

    def counted(self: Lake, normals: Sequence[InputImage]) -> Lake:
        fitted.append(tuple(image.sha256 for image in normals))
        return fit(self, normals)

    monkeypatch.setattr(Lake, "fit", counted)
    other_normals(lake, tests, n_draws=40)
    assert len(fitted) == len(set(fitted)) <= 2**4 - 1
    assert all(len(set(images)) == len(images) > 0 for images in fitted)


def test_a_refit_in_which_nothing_varies_is_counted_apart(
    lake: Lake, tests: list[InputImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, needed = Lake.fit, lake.normals_[2].sha256

    def fails(self: Lake, normals: Sequence[InputImage]) -> Lake:
        if needed not in {image.sha256 for image in normals}:
            raise LakeError("Nothing varies in the normal images in the chosen layers.")
        return fit(self, normals)

    monkeypatch.setattr(Lake, "fit", fails)
    steps: list[tuple[int, int]] = []
    found = other_normals(lake, tests[:1], n_draws=8, on_progress=lambda *step: steps.append(step))
    left_out, draws = found.finding.refits
    n_without = sum(2 not in draw for draw in drawn(3, 4, 8))
    assert n_without > 0
    assert (left_out.n_refits, left_out.n_failed) == (3, 1)
    assert (draws.n_refits, draws.n_failed) == (8 - n_without, n_without)
    assert found.images["n_refits"].tolist() == [3, 8 - n_without]
    assert len(found.refits) == 3 + 8 - n_without
    assert steps[-1][0] == steps[-1][1]


def test_it_reports_images_scored_and_can_be_cancelled(lake: Lake, tests: list[InputImage]) -> None:
    seen: list[tuple[int, int]] = []
    other_normals(lake, tests, n_draws=2, on_progress=lambda *step: seen.append(step))
    n_sets = len({(0, 1, 2, 3), *map(tuple, sets_of("leave one out")), *map(tuple, drawn(3, 4, 2))})
    assert seen[-1] == (6 * n_sets, 6 * n_sets)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})

    def stop(_done: int, _total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        other_normals(lake, tests, on_progress=stop)


def test_what_cannot_be_asked_is_refused(backbone: Backbone, lake: Lake, tests: list[InputImage]) -> None:
    with pytest.raises(LakeError, match="no test image"):
        other_normals(lake, [])
    with pytest.raises(ValueError, match="n_draws is 0"):
        other_normals(lake, tests, n_draws=0)
    with pytest.raises(NotFittedError):
        other_normals(Lake(backbone), tests)
