"""A defective image among the normal ones: with real numbers from the metal sample, and against fitting by hand."""

from itertools import chain, groupby, islice

import numpy as np
import pytest

from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig
from lake_core.data.datasets import Example
from lake_core.data.images import InputImage
from lake_core.data.samples import load_sample
from lake_core.detector.lake import Lake
from lake_core.errors import LakeError
from lake_core.experiments.contamination import contaminate
from lake_core.metrics.image_metrics import known_auroc
from tests.core.method import N_NORMALS, naive, naive_normal_scores
from tests.core.running import Cancelled


@pytest.fixture(scope="module")
def tests() -> tuple[Example, ...]:
    """Two images of each kind of defect, and two good ones."""
    by_kind = groupby(load_sample("metal").tests, lambda example: example.kind)
    return tuple(chain.from_iterable(islice(some, 2) for _, some in by_kind))


@pytest.fixture(scope="module")
def lake(cnn_store: FeatureStore, tests: tuple[Example, ...]) -> Lake:
    normals = [example.image for example in load_sample("metal").normals]
    fitted = Lake(cnn_store.backbone, LakeConfig(object_name="metal plate"), cnn_store).fit(normals)
    fitted.store.ensure([example.image for example in tests], fitted.hook_points)
    return fitted


def of_kind(tests: tuple[Example, ...], site: str) -> Example:
    return next(example for example in tests if example.kind == site)


def labels_of(tests: tuple[Example, ...]) -> list[bool]:
    return [example.label == "defective" for example in tests]


def test_a_rusty_plate_among_the_normal_ones_raises_the_threshold(lake: Lake, tests: tuple[Example, ...]) -> None:
    rusty = of_kind(tests, "rust")
    found = contaminate(lake, [rusty.image], lake.explain_all([e.image for e in tests]), labels_of(tests))
    assert found.scores.threshold_before == lake.threshold_ == pytest.approx(1.088, abs=0.02)
    assert found.scores.threshold_after == pytest.approx(1.46, abs=0.05)
    (shift,) = found.layers
    assert shift.tau_after is not None
    assert shift.tau_before is not None
    assert shift.tau_after > 1.03 * shift.tau_before
    assert found.scores.n_missed >= 1
    finding = found.finding
    assert (finding.threshold_before, finding.threshold_after) == (lake.threshold_, found.after.threshold_)
    assert (finding.auroc_before, finding.auroc_after) == (found.scores.auroc_before, found.scores.auroc_after)
    assert (finding.n_added, finding.n_changed, finding.n_missed) == (1, len(shift.gained), found.scores.n_missed)


def test_a_bolt_hole_changes_the_selection(lake: Lake, tests: tuple[Example, ...]) -> None:
    found = contaminate(lake, [of_kind(tests, "bolt_hole").image])
    (shift,) = found.layers
    assert 0.8 < shift.jaccard < 1
    assert len(shift.gained) == len(shift.lost) > 0
    before, after = set(lake.selection_[15].neurons.tolist()), set(found.after.selection_[15].neurons.tolist())
    assert set(shift.gained.tolist()) == after - before
    assert set(shift.lost.tolist()) == before - after
    assert shift.jaccard == pytest.approx(len(before & after) / len(before | after))
    assert (len(found.scores.table), found.scores.auroc_before, found.scores.n_missed) == (0, None, 0)


def test_it_is_fitting_again_by_hand_and_the_added_image_is_no_test(lake: Lake, tests: tuple[Example, ...]) -> None:
    added, labels, done = of_kind(tests, "scratch"), labels_of(tests), []
    n_before = lake.store.n_forwards
    found = contaminate(
        lake, [added.image], lake.explain_all([e.image for e in tests]), labels, lambda *step: done.append(step)
    )
    assert lake.store.n_forwards == n_before
    assert done == [(n, len(tests) - 1) for n in range(1, len(tests))]
    by_hand = Lake(lake.backbone, lake.config, lake.store).fit([*lake.normals_, added.image])
    others = [example for example in tests if example is not added]
    assert found.scores.table["image"].tolist() == [e.image.name for e in others]
    assert added.image.name not in found.scores.table["image"].tolist()
    np.testing.assert_allclose(found.scores.table["before"], [lake.explain(e.image).score for e in others])
    np.testing.assert_allclose(found.scores.table["after"], [by_hand.explain(e.image).score for e in others])
    np.testing.assert_allclose(found.scores.table["change"], found.scores.table["after"] - found.scores.table["before"])
    assert found.scores.auroc_after == known_auroc(labels_of(tuple(others)), found.scores.table["after"].to_numpy())
    assert len(lake.normals_) == 8
    assert [p.sha256 for p in found.added] == [added.image.sha256]
    missed = [
        e
        for e in others
        if e.label == "defective" and lake.explain(e.image).is_anomalous and not by_hand.explain(e.image).is_anomalous
    ]
    assert found.scores.n_missed == len(missed)


def test_an_image_given_twice_is_added_once(lake: Lake, tests: tuple[Example, ...]) -> None:
    rusty = of_kind(tests, "rust").image
    twice = contaminate(lake, [rusty, rusty])
    assert twice.added == (rusty,)
    assert twice.finding.n_added == 1


def test_what_is_normal_already_or_nothing_is_refused(lake: Lake) -> None:
    with pytest.raises(LakeError, match="is among the normal images already"):
        contaminate(lake, [lake.normals_[2]])
    with pytest.raises(LakeError, match="choose at least one"):
        contaminate(lake, [])


def test_cancelling_leaves_the_detector_as_it_was(lake: Lake, tests: tuple[Example, ...]) -> None:
    before = lake.explain(tests[0].image).score

    def stop(done: int, _in_all: int) -> None:
        if done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        contaminate(lake, [tests[1].image], lake.explain_all([e.image for e in tests]), on_progress=stop)
    assert lake.explain(tests[0].image).score == before
    assert len(lake.normals_) == 8


def test_contaminated_normals_agree_with_the_method_written_again(fitted: Lake, noise_images: list[InputImage]) -> None:
    normals, added, image = noise_images[:N_NORMALS], noise_images[6], noise_images[5]
    found = contaminate(fitted, [added], fitted.explain_all([image, added]), [True, False])
    row = found.scores.table.iloc[0]
    assert found.scores.table["image"].tolist() == [image.name]
    assert row["before"] == pytest.approx(naive(fitted, normals, image).score, rel=5e-4)
    assert row["after"] == pytest.approx(naive(fitted, [*normals, added], image).score, rel=5e-4)
    scores = naive_normal_scores(fitted, [*normals, added], {})
    assert found.scores.threshold_after == pytest.approx(
        np.quantile(scores, fitted.config.threshold_quantile), rel=1e-3
    )
    assert abs(row["change"]) > 1e-5
