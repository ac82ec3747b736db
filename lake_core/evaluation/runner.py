"""The few-shot protocol over data sets: which normal images are learned from, what is compared, what comes out.

For each data set (category), number of normal images (shots) and seed, detectors learn from the first `shots` of one
seeded permutation of the normal images, so that fewer shots are a part of more, and score every labelled test
image. Five methods share the same images and features:

    lake     the selected neurons and the text, fused, as configured
    random   the same with K random neurons: the mean of the figures of 5 draws
    all      the same with all neurons of the layers
    visual   lake's visual map alone (fusion weight 0)
    text     the text margin alone, zero-shot: as it is, without a normal image, so that all its rows are alike

The network runs once per image, whatever the number of methods, shots and seeds. Each category is one task
(`lake_core.evaluation.tasks`); an engine runs the tasks here or elsewhere, and one document is made of their outcomes
(`lake_core.evaluation.report`), the same whichever engine it was.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from lake_core.backbones.backbone import Backbone
from lake_core.config import LakeConfig
from lake_core.data.folders import index_folder
from lake_core.errors import DatasetError
from lake_core.evaluation.checkpoint import Checkpoint, fingerprint
from lake_core.evaluation.protocol import METHODS, FewShotProtocol, Method, Outcome, Report
from lake_core.evaluation.report import document
from lake_core.evaluation.tasks import Task, run_task


class Engine(Protocol):
    """Runs tasks somewhere."""

    def model_key(self) -> str:
        """What the outcomes depend on besides the tasks, as a text."""

    def run(self, tasks: Sequence[Task], on_progress: Report | None) -> Iterator[Outcome]:
        """The outcomes of the tasks, each as soon as it is there, in any order."""


class LocalEngine:
    """Runs tasks in this process, one after the other."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone

    def model_key(self) -> str:
        return self.backbone.opening.key(self.backbone.device.type)

    def run(self, tasks: Sequence[Task], on_progress: Report | None) -> Iterator[Outcome]:
        for task in tasks:
            yield run_task(task, self.backbone, on_progress)


def evaluate(
    folders: Iterable[Path],
    backbone: Backbone | Engine,
    config: LakeConfig | None = None,
    *,
    shots: Sequence[int] = (4,),
    seeds: Sequence[int] = (0, 1, 2),
    methods: Sequence[Method] = METHODS,
    object_names: Mapping[str, str] | None = None,
    pixel: bool = True,
    with_scores: bool = False,
    batch_size: int | None = None,
    checkpoint: Checkpoint | None = None,
    on_progress: Report | None = None,
) -> dict[str, Any]:
    """Runs the protocol.

    Args:
        folders: One folder per category, each a data set with normal and labelled test images; `categories` finds
            those below a folder.
        backbone: From `open_backbone`; or an engine, such as `RayEngine`, that opens its own elsewhere.
        config: Parameters of the method. Its object name is used for all categories, unless it is the neutral "object":
            then each category's folder name, with spaces for underscores, where that has letters.
        shots: Numbers of normal images.
        seeds: Seeds of the choice of normal images and of random neurons.
        methods: Which methods.
        object_names: Category -> what its images show, where the folder's name does not say it well.
        pixel: Also compare maps with masks. Maps are interpolated over the image and compared at the size of the
            image reduced by the least whole factor that brings its longest side to MAX_PIXEL_SIDE or below; a
            reduced pixel is defect if any of its pixels is. Defective images without a mask take no part, and
            without any mask the pixel metrics are null.
        with_scores: Also give the score of each test image, from which curves are drawn and misses are listed.
        batch_size: Images in a forward pass; None takes 4 on the CPU and 64 on a GPU.
        checkpoint: Keeps the outcome of each category as soon as it is there, so that a run that was interrupted goes
            on.
        on_progress: Called after each few images.
    Returns:
        The result document, plain values for JSON: see `lake_core.evaluation.report`.
    Raises:
        ConfigError: if shots, seeds or methods make no sense.
        DatasetError: if a category has too few normal images or no labelled test image.
    """
    config = config or LakeConfig()
    protocol = FewShotProtocol.of(shots, seeds, methods, pixel)
    engine: Engine = LocalEngine(backbone) if isinstance(backbone, Backbone) else backbone
    tasks = []
    for name, folder in _named(folders).items():
        entries = tuple(index_folder(folder.resolve()))
        protocol.check(name, entries)
        object_name = (object_names or {}).get(name) or _object_name(name, config)
        tasks.append(Task(name, entries, replace(config, object_name=object_name), protocol, batch_size))
    outcomes: dict[str, Outcome] = {}
    if checkpoint is not None:
        outcomes = checkpoint.begin(fingerprint(engine.model_key(), tasks))
    for name, outcome in outcomes.items():
        if on_progress is not None:
            on_progress(name, len(outcome["paths"]), len(outcome["paths"]))
    for outcome in engine.run([task for task in tasks if task.category not in outcomes], on_progress):
        outcomes[outcome["category"]] = outcome
        if checkpoint is not None:
            checkpoint.keep(outcome)
    return document([outcomes[task.category] for task in tasks], protocol, with_scores)


def _named(folders: Iterable[Path]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for folder in folders:
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
