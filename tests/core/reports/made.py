"""Reports for tests, made by way of the same functions as those of the command line and of the dashboard."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from lake_core.backbones.backbone import Backbone
from lake_core.config import LakeConfig
from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.detector.microscope import good_image_beside
from lake_core.detector.result import ImageResult
from lake_core.experiments.controls import random_control
from lake_core.neurons.statistics import auroc_notes
from lake_core.prompts import PromptEnsemble
from lake_core.reports.content import Control, Folders, Report, explained, row_of, shown
from lake_core.types import Label
from lake_core.visualization.colours import score_scale
from tests.core.images import spotted

HOSTILE = "<script>alert(\"1\")</script> & '[x](http://evil.test/?q)' **b** {}"
WHEN = datetime(2026, 11, 27, 9, 5)


def report_on(lake: Lake, images: Sequence[InputImage], labels: Sequence[Label | None], n_in_full: int) -> Report:
    """A report with so many images in full."""
    results = lake.explain_all(images)
    label_of = dict(zip([image.name for image in images], labels, strict=True))
    scale = score_scale([one.map for one in results], lake.threshold_)
    best = sorted(results, key=lambda one: -one.score)
    known = [None if label is None else label == "defective" for label in labels]
    notes = auroc_notes(lake, images, known)

    def beside(one: ImageResult) -> ImageResult | None:
        place = good_image_beside(results.index(one), known, [result.score for result in results])
        return None if place is None else results[place]

    return Report(
        lake=lake,
        rows=[row_of(one, label_of[one.image.name]) for one in results],
        gallery=[shown(one, row_of(one, label_of[one.image.name]), scale) for one in best],
        explained=[
            explained(one, row_of(one, label_of[one.image.name]), scale, beside(one), notes) for one in best[:n_in_full]
        ],
        scale=scale,
        control=Control(random_control(lake, images, known, 9), len(images)),
        when=WHEN,
        folders=Folders("good parts", "new"),
        notes=[f"Skipped: {HOSTILE}"],
    )


def hostile_report(backbone: Backbone) -> Report:
    """Two layers; every name of an image, the object, a prompt and a note are hostile.

    Args:
        backbone: lake-cnn with a small input.
    """
    prompts = PromptEnsemble(anomalous_states=("broken {}", "<img src=x onerror=alert(2)> {}"))
    config = LakeConfig(layers=(9, 15), top_k=30, object_name=HOSTILE.replace("{}", ""), prompts=prompts)
    normals = [replace(spotted(seed), name=f"{seed}{HOSTILE}") for seed in range(3)]
    tests = [replace(spotted(9 + seed, seed < 2), name=f"t{seed}{HOSTILE}") for seed in range(4)]
    lake = Lake(backbone, config).fit(normals)
    return report_on(lake, tests, ["defective", "defective", "good", None], 2)
