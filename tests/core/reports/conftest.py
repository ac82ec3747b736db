"""A report on spotted images whose names try to be markup, and one on the real photographs of a sample."""

import pytest

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig
from lake_core.data.samples import load_sample
from lake_core.detector.lake import Lake
from lake_core.reports.content import Report
from tests.core.reports.made import hostile_report, report_on


@pytest.fixture(scope="session")
def hostile(small_cnn: Backbone) -> Report:
    return hostile_report(small_cnn)


@pytest.fixture(scope="session")
def hazelnut(cnn_store: FeatureStore) -> Report:
    """The sample's 8 normal and 20 test images, at full size, the best three in full."""
    sample = load_sample("hazelnut")
    lake = Lake(cnn_store.backbone, LakeConfig(object_name="hazelnut"), cnn_store)
    lake.fit([example.image for example in sample.normals])
    images, labels = [example.image for example in sample.tests], [example.label for example in sample.tests]
    return report_on(lake, images, labels, 3)
