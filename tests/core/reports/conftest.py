"""A report on spotted images whose names try to be markup, and one on the real photographs of a sample."""

from dataclasses import replace

import pytest

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig
from lake_core.data.samples import load_sample
from lake_core.detector.lake import Lake
from lake_core.prompts import PromptEnsemble
from lake_core.reports.content import Report
from tests.core.images import spotted
from tests.core.reports.made import HOSTILE, report_on


@pytest.fixture(scope="session")
def hostile(small_cnn: Backbone) -> Report:
    """Two layers; every name of an image, the object, a prompt and a note are hostile."""
    prompts = PromptEnsemble(anomalous_states=("broken {}", "<img src=x onerror=alert(2)> {}"))
    config = LakeConfig(layers=(9, 15), top_k=30, object_name=HOSTILE.replace("{}", ""), prompts=prompts)
    normals = [replace(spotted(seed), name=f"{seed}{HOSTILE}") for seed in range(3)]
    tests = [replace(spotted(9 + seed, seed < 2), name=f"t{seed}{HOSTILE}") for seed in range(4)]
    lake = Lake(small_cnn, config).fit(normals)
    return report_on(lake, tests, ["defective", "defective", "good", None], 2)


@pytest.fixture(scope="session")
def hazelnut(cnn_store: FeatureStore) -> Report:
    """The sample's 8 normal and 20 test images, at full size, the best three in full."""
    sample = load_sample("hazelnut")
    lake = Lake(cnn_store.backbone, LakeConfig(object_name="hazelnut"), cnn_store)
    lake.fit([example.image for example in sample.normals])
    images, labels = [example.image for example in sample.tests], [example.label for example in sample.tests]
    return report_on(lake, images, labels, 3)
