"""The few-shot protocol over folders of data sets, or over a data set in memory.

For each data set (category), number of normal images (shots) and seed, detectors learn from the first `shots` of one
seeded permutation of the normal images, so that fewer shots are a subset of more, and score every labelled test
image. These methods share the same images and features:

    lake     the selected neurons and the text, fused, as configured
    random   the same with K random neurons: the mean of the metrics of 5 draws
    all      the same with all neurons of the layers
    visual   lake's visual map alone (fusion weight 0)
    text     the text margin alone, zero-shot: no normal image has a part in it, so that all its rows are the same

and so do the baselines (`lake_core.baselines`), published methods on the same backbone and layers. The five above are
the default.

The network runs once per image, whatever the number of methods, shots and seeds. Each category is one task
(`lake_core.evaluation.tasks`); an engine runs the tasks here or elsewhere, and one report is made of their outcomes
(`lake_core.evaluation.report`), the same whichever engine it was.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig
from lake_core.data.datasets import Dataset, Example
from lake_core.data.folders import Entry, entries_of, folders_left_out, placed_in
from lake_core.errors import DatasetError
from lake_core.evaluation.checkpoint import Checkpoint, Fingerprint
from lake_core.evaluation.loading import Batch
from lake_core.evaluation.outcome import CategoryOutcome
from lake_core.evaluation.protocol import CategoryProgress, FewShotProtocol, seeded_order
from lake_core.evaluation.reading import Loaded, reduced_mask
from lake_core.evaluation.report import EvaluationReport, report_of
from lake_core.evaluation.runs import CategoryImages, run_category
from lake_core.evaluation.tasks import Task, run_task


class Engine(Protocol):
    """Runs tasks somewhere.

    Attributes:
        batch_size: Images in a forward pass; None takes 2 on the CPU and 64 on a GPU.
    """

    batch_size: int | None

    def model_key(self) -> str:
        """What the outcomes depend on besides the tasks, as a text."""

    def run(self, tasks: Sequence[Task], on_progress: CategoryProgress | None) -> Iterator[CategoryOutcome]:
        """The outcomes of the tasks, each as soon as it is there, in any order."""


class LocalEngine:
    """Runs tasks in this process, one after the other.

    Args:
        backbone: From `open_backbone`.
        batch_size: Images in a forward pass; None takes 2 on the CPU and 64 on a GPU.
    """

    def __init__(self, backbone: Backbone, batch_size: int | None = None) -> None:
        self.backbone = backbone
        self.batch_size = batch_size

    def model_key(self) -> str:
        return self.backbone.opening.key(self.backbone.device.type)

    def run(self, tasks: Sequence[Task], on_progress: CategoryProgress | None) -> Iterator[CategoryOutcome]:
        for task in tasks:
            yield run_task(task, self.backbone, on_progress)


def evaluate(
    folders: Iterable[str | Path],
    backbone: Backbone | Engine,
    config: LakeConfig | None = None,
    protocol: FewShotProtocol | None = None,
    *,
    object_names: Mapping[str, str] | None = None,
    checkpoint: Checkpoint | None = None,
    on_progress: CategoryProgress | None = None,
) -> EvaluationReport:
    """Runs the protocol over folders.

    Args:
        folders: One folder per category, each a data set with normal and labelled test images; `categories` finds
            those below a folder.
        backbone: From `open_backbone`; or an engine, such as `RayEngine`, that opens its own elsewhere.
        config: Parameters of the method. Its object name is used for all categories, unless it is the neutral "object":
            then each category's folder name, with spaces for underscores, where that has letters.
        protocol: Numbers of normal images, seeds and methods; None takes the defaults of `FewShotProtocol`.
        object_names: Category -> what its images show, where the folder's name does not say it well.
        checkpoint: Keeps the outcome of each category as soon as it is there, so that an interrupted run can be
            resumed.
        on_progress: Called after each few images.
    Raises:
        ConfigError: if the checkpoint belongs to another evaluation.
        DatasetError: if a category has too few normal images or no labelled test image.
    """
    config, protocol = config or LakeConfig(), protocol or FewShotProtocol()
    engine: Engine = LocalEngine(backbone) if isinstance(backbone, Backbone) else backbone
    tasks = []
    for name, folder in _named(folders).items():
        placed = placed_in(folder.resolve())
        entries = tuple(entries_of(folder.resolve(), placed))
        protocol.check(name, entries)
        object_name = (object_names or {}).get(name) or _object_name(name, config)
        left_out = folders_left_out(folder.resolve(), (item.path for item in placed if item.role.role == "ignored"))
        of_category = replace(config, object_name=object_name)
        tasks.append(Task(name, entries, of_category, protocol, engine.batch_size, tuple(left_out)))
    outcomes: dict[str, CategoryOutcome] = {}
    if checkpoint is not None:
        outcomes = checkpoint.begin(Fingerprint.of(engine.model_key(), tasks))
    for name, outcome in outcomes.items():
        if on_progress is not None:
            on_progress(name, len(outcome.paths), len(outcome.paths))
    for outcome in engine.run([task for task in tasks if task.category not in outcomes], on_progress):
        outcomes[outcome.category] = outcome
        if checkpoint is not None:
            checkpoint.keep(outcome)
    return report_of([outcomes[task.category] for task in tasks], protocol)


def evaluate_dataset(
    dataset: Dataset,
    store: FeatureStore,
    config: LakeConfig | None = None,
    protocol: FewShotProtocol | None = None,
    *,
    on_progress: CategoryProgress | None = None,
) -> EvaluationReport:
    """Runs the protocol over one data set in memory.

    Args:
        dataset: Its labelled test images are scored, the others are left out.
        store: Activations; those that it holds are not computed again.
        config, protocol, on_progress: As for `evaluate`.
    Raises:
        DatasetError: if there are too few normal images or no labelled test image.
    """
    config, protocol = config or LakeConfig(), protocol or FewShotProtocol()
    tests = [example for example in dataset.tests if example.label is not None]
    protocol.check(
        dataset.name,
        [*(_entry(example, "normal") for example in dataset.normals), *(_entry(example, "test") for example in tests)],
    )
    normals = [example.image for example in dataset.normals]
    chosen = {seed: [normals[i] for i in seeded_order(len(normals), seed)] for seed in protocol.seeds}
    batches = partial(_batches, tests, store.backbone, store.batch_size, protocol.needs_masks)
    images = CategoryImages(dataset.name, chosen, batches, len(tests))
    return report_of([run_category(images, store, config, protocol, on_progress)], protocol)


def _entry(example: Example, role: Literal["normal", "test"]) -> Entry:
    return Entry(Path(example.image.name), example.image.name, role, example.label, example.kind)


def _batches(examples: Sequence[Example], backbone: Backbone, size: int, with_masks: bool) -> Iterator[Batch]:
    for start in range(0, len(examples), size):
        of_batch = examples[start : start + size]
        canvases = torch.from_numpy(np.stack([backbone.frame.canvas(example.image) for example in of_batch]))
        yield Batch(tuple(_loaded(example, backbone, with_masks) for example in of_batch), canvases, len(of_batch))


def _loaded(example: Example, backbone: Backbone, with_mask: bool) -> Loaded:
    image, placement = example.image, backbone.placement(example.image)
    can_compare = with_mask and (example.mask is not None or example.label == "good")
    mask = reduced_mask(example.mask, image, placement) if can_compare else None
    return Loaded(_entry(example, "test"), image.sha256, placement, mask)


def _named(folders: Iterable[str | Path]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for folder in map(Path, folders):
        name = folder.resolve().name
        if name in named:
            raise DatasetError(f"Two data sets are called {name}: rename a folder.")
        named[name] = folder
    if not named:
        raise DatasetError("There is no data set to evaluate: give folders with train/good and test.")
    return named


def _object_name(category: str, config: LakeConfig) -> str:
    """The configured name; else the category's, if it is a word (BTAD's "01" is not)."""
    is_word = any(letter.isalpha() for letter in category)
    return category.replace("_", " ") if config.object_name == "object" and is_word else config.object_name
