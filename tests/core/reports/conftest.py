"""A report on spotted images whose names try to be markup, and one on the real photographs of a sample."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pytest

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.data.samples import load_sample
from lake_core.detector.lake import Lake
from lake_core.experiments.controls import random_control
from lake_core.prompts import PromptEnsemble
from lake_core.reports.content import Control, Folders, Report, explained, row_of, shown
from lake_core.types import Label
from lake_core.visualization.colours import score_scale
from tests.core.images import spotted

HOSTILE = "<script>alert(\"1\")</script> & '[x](http://evil.test/?q)' **b** {}"
WHEN = datetime(2026, 11, 27, 9, 5)


def report_on(lake: Lake, images: Sequence[InputImage], labels: Sequence[Label | None], n_in_full: int) -> Report:
    """A report by way of the same functions as the command line and the dashboard."""
    results = lake.explain_all(images)
    label_of = dict(zip([image.name for image in images], labels, strict=True))
    scale = score_scale([one.map for one in results], lake.threshold_)
    best = sorted(results, key=lambda one: -one.score)
    known = [None if label is None else label == "defective" for label in labels]
    return Report(
        lake=lake,
        rows=[row_of(one, label_of[one.image.name]) for one in results],
        gallery=[shown(one, row_of(one, label_of[one.image.name]), scale) for one in best],
        explained=[explained(one, row_of(one, label_of[one.image.name]), scale) for one in best[:n_in_full]],
        scale=scale,
        control=Control(random_control(lake, images, known, 9), len(images)),
        when=WHEN,
        folders=Folders("good parts", "new"),
        notes=[f"Skipped: {HOSTILE}"],
    )


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
