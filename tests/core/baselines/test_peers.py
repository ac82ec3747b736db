"""PatchCore against anomalib's on equal features; needs the extra `peers`."""

import pytest
import torch

from lake_core.baselines.patchcore import PatchCore
from lake_core.data.images import InputImage
from lake_core.detector.coreset import k_center
from tests.core.baselines.cases import case
from tests.core.tiny import OpenTiny

patchcore = pytest.importorskip("anomalib.models.image.patchcore.torch_model", reason="needs the extra peers")
SHARE = 0.3


def test_patchcore_is_that_of_anomalib(open_tiny: OpenTiny, noise_images: list[InputImage]) -> None:
    from anomalib.models.components import KCenterGreedy

    given = case("efficientnet", {}, open_tiny, noise_images)
    baseline = PatchCore(given.backbone, given.config, SHARE).fit(given.store, given.normals)
    patches = baseline.normal_patches(given.store, given.normals)
    torch.manual_seed(0)
    chosen = KCenterGreedy(patches[:, :, None], SHARE).select_coreset_idxs()  # a third axis: without projection
    assert k_center(patches, len(chosen), first=chosen[0]).tolist() == chosen

    theirs = patchcore.PatchcoreModel(["layer1"], "resnet18", pre_trained=False)
    theirs.memory_bank = baseline.bank_.rows
    found = baseline.score_images(given.store, given.tests)
    acts = {hook_point: given.store.stack(given.tests, hook_point) for hook_point in baseline.hook_points}
    embedding = baseline.features(acts).flatten(0, 1)
    distances, locations = (
        some.view(len(given.tests), -1) for some in theirs.nearest_neighbors(embedding, n_neighbors=1)
    )
    torch.testing.assert_close(found.maps, distances, rtol=1e-3, atol=1e-4)
    scores = theirs.compute_anomaly_score(distances, locations, embedding)
    torch.testing.assert_close(found.scores.float(), scores, rtol=1e-3, atol=1e-5)
