"""What work that a page begins on demand costs, beside the page: ratios to one bare forward pass of the same run.

In CPU seconds, which other work on the machine changes least. Default model, 8 normals and 20 tests. At 55 ms for a
forward pass of one image, 90 of them are 5 s.
    python -m pytest tests/benchmarks/test_work_on_demand.py -q
"""

import time
from collections.abc import Callable

import numpy as np
import pytest

import lake_core as lk
from lake_core.data.datasets import Example
from lake_core.detector.reselection import layer_alone, scores_alone
from lake_core.experiments.ablation import ablation_control
from lake_core.experiments.contamination import contaminate
from lake_core.experiments.controls import N_DRAWS, random_control, sweep_k
from lake_core.experiments.neuron_sets import top_contributing_neurons
from lake_core.experiments.occlusion import occlusion
from lake_core.experiments.other_normals import other_normals
from lake_core.neurons.attribution import AttributionConfig, neuron_attribution
from lake_core.neurons.labels import label_concepts

N_NORMALS, N_TESTS = 8, 20
LAYER = 15
ROUNDS = 5


class Case:
    """A fitted detector of the default model, and test images with their labels and results."""

    def __init__(self) -> None:
        sample = lk.load_sample("hazelnut")
        normals = [example.image for example in sample.normals[:N_NORMALS]]
        mirrored = [Example(lk.read_image(np.ascontiguousarray(e.image.rgb[:, ::-1])), e.label) for e in sample.tests]
        examples = [*sample.tests, *mirrored][:N_TESTS]
        self.backbone = lk.open_backbone("lake-cnn")
        self.images = [example.image for example in examples]
        self.labels = [example.label == "defective" for example in examples]
        self.lake = lk.Lake(self.backbone, lk.LakeConfig(object_name="hazelnut", layers=(LAYER,)))
        self.lake.store.ensure([*normals, *self.images], self.backbone.hook_points)
        self.lake.fit(normals)
        self.results = self.lake.explain_all(self.images)
        self.neuron = int(self.lake.selection_[LAYER].neurons[0])

    def forward(self) -> None:
        pixels = self.backbone.prepare(self.images[0])[None]
        self.backbone.forward(pixels, {self.backbone.image_hook_point})

    def strip(self) -> None:
        """All layers of an image, each by itself."""
        for layer in self.backbone.layers_with(self.lake.config.site):
            learned = layer_alone(self.lake, layer)
            assert learned is not None
            scores_alone(self.lake, learned, self.images[0])

    def attribution(self) -> None:
        hook_point = self.backbone.hook_point(LAYER, self.lake.config.site)
        config = AttributionConfig("integrated_gradients", steps=64)
        neuron_attribution(self.backbone, self.images[0], hook_point, self.neuron, 300, config)

    def control_of_ablation(self) -> None:
        neurons = top_contributing_neurons(self.results[0], 10)
        ablation_control(self.lake, neurons, self.results[0], self.results, self.labels)


WORK: dict[str, tuple[Callable[[Case], object], float]] = {
    f"random control, {N_DRAWS} draws": (lambda c: random_control(c.lake, c.images, c.labels), 160),
    "sweep over K": (lambda c: sweep_k(c.lake, c.images, c.labels), 72),
    "all layers of an image": (Case.strip, 90),
    "concept labels of a neuron": (
        lambda c: label_concepts(c.lake, LAYER, [c.neuron], [*c.lake.normals_, *c.images]),
        130,
    ),
    "integrated gradients, 64 steps": (Case.attribution, 200),
    "other normal images": (lambda c: other_normals(c.lake, c.images, c.labels), 140),
    "ablation beside random draws, with the AUROC": (Case.control_of_ablation, 90),
    "reference-set contamination": (lambda c: contaminate(c.lake, c.images[:1], c.results, c.labels), 20),
    "occlusion": (lambda c: occlusion(c.lake, c.images[0]), 90),
}
"""By its name on screen the work, and the greatest number of forward passes that it may take."""


@pytest.fixture(scope="module")
def case(one_thread: None) -> Case:
    return Case()


@pytest.mark.parametrize("what", WORK)
def test_work_on_demand(case: Case, ratios: list[str], what: str) -> None:
    work, limit = WORK[what]
    case.forward()
    before = [cpu_seconds(case.forward) for _ in range(ROUNDS)]
    seconds = cpu_seconds(lambda: work(case))
    one_forward = float(np.median([*before, *(cpu_seconds(case.forward) for _ in range(ROUNDS))]))
    ratios.append(f"{what}, {N_NORMALS} normals and {N_TESTS} tests: {seconds / one_forward:.0f} x one forward pass")
    assert seconds / one_forward < limit


def cpu_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
