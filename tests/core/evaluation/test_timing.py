"""What a method's search took: its own, or an equal share of one search for several."""

import time

import pytest
import torch

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.baselines.patchcore import PatchCore
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.batch import BatchScorer, Variant
from lake_core.detector.lake import Lake
from lake_core.evaluation.scorers import Scorers
from lake_core.evaluation.timing import Timed


def test_a_block_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((10.0, 12.5))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    with Timed(torch.device("cpu")) as timed:
        pass
    assert timed.seconds == 2.5


def test_detectors_share_their_search_and_a_baseline_has_its_own(
    small_cnn: Backbone, noise_images: list[InputImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(small_cnn)
    detectors = [Lake(small_cnn, LakeConfig(criterion=one), store).fit(noise_images[:2]) for one in ("variance", "all")]
    baseline = PatchCore(small_cnn).fit(store, noise_images[:2])
    acts = {hook_point: store.stack(noise_images[2:], hook_point) for hook_point in detectors[0].hook_points}
    placements = [small_cnn.placement(image) for image in noise_images[2:]]
    scorers = Scorers([Variant(detectors[0]), baseline, Variant(detectors[1]), Variant(detectors[0], 0.0)], store)
    found, laps = scorers.score(acts, placements)
    alone = BatchScorer([Variant(detectors[0]), Variant(detectors[1])], store).score(acts, placements)
    assert torch.equal(found[0].scores, alone[0].scores)
    assert torch.equal(found[1].scores, baseline.score(acts, placements).scores)
    assert torch.equal(found[2].scores, alone[1].scores)
    assert laps[0] is laps[2] is laps[3]
    assert [lap.n_sharing for lap in laps] == [2, 1, 2, 2]
    monkeypatch.setattr(Timed, "seconds", 3.0)
    assert [lap.seconds for lap in laps] == [1.5, 3, 1.5, 1.5]
