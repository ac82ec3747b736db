"""One category of the few-shot protocol as a task: small to send to another process, typed to get back."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lake_core.backbones.backbone import Backbone
from lake_core.backbones.batch_size import BATCH_ON_CPU, BATCH_ON_GPU
from lake_core.backbones.feature_store import FeatureStore
from lake_core.config import LakeConfig
from lake_core.data.folders import Entry
from lake_core.data.images import InputImage, read_image
from lake_core.errors import DatasetError, ImageError
from lake_core.evaluation.loading import load_ahead
from lake_core.evaluation.outcome import CategoryOutcome
from lake_core.evaluation.protocol import CategoryProgress, FewShotProtocol, choose_normals, labelled_tests
from lake_core.evaluation.runs import CategoryImages, run_category


@dataclass(frozen=True)
class Task:
    """One category to be run; small, and valid wherever its files lie under the same paths.

    Attributes:
        category: Its name.
        entries: Its files.
        config: Parameters of the method.
        protocol: What is evaluated.
        batch_size: Images in a forward pass; None takes 2 on the CPU and 64 on a GPU.
        problems: What was left out already, one sentence each.
    """

    category: str
    entries: tuple[Entry, ...]
    config: LakeConfig
    protocol: FewShotProtocol
    batch_size: int | None = None
    problems: tuple[str, ...] = ()


def run_task(task: Task, backbone: Backbone, on_progress: CategoryProgress | None = None) -> CategoryOutcome:
    """All runs of one category, with the test images read ahead of the network.

    Raises:
        DatasetError: if it has too few normal images that can be read, or no labelled test image.
    """
    started, name, protocol = time.perf_counter(), task.category, task.protocol
    problems = [f"{name}: {one}" for one in task.problems]
    ordered = {seed: choose_normals(task.entries, seed) for seed in protocol.seeds}
    chosen = _read_normals(name, ordered, protocol.shots[-1], problems)
    store = FeatureStore(backbone, batch_size=task.batch_size or _batch_size(backbone), on_device=True)
    tests = labelled_tests(task.entries)
    batches = partial(load_ahead, tests, backbone, store.batch_size, protocol.needs_masks)
    images = CategoryImages(name, chosen, batches, len(tests), problems)
    outcome = run_category(images, store, task.config, protocol, on_progress)
    return outcome.model_copy(update={"seconds": round(time.perf_counter() - started, 3)})


def _read_normals(
    name: str, ordered: Mapping[int, Sequence[Entry]], n: int, problems: list[str]
) -> dict[int, list[InputImage]]:
    """For each seed the first n images that can be read and are not copies of each other; each file is read once."""
    read: dict[Path, InputImage | None] = {}
    chosen = {}
    for seed, entries in ordered.items():
        found: dict[str, InputImage] = {}
        for entry in entries:
            if len(found) == n:
                break
            if entry.path not in read:
                read[entry.path] = _read(name, entry, problems)
            image = read[entry.path]
            if image is not None:
                found.setdefault(image.sha256, image)
        if len(found) < n:
            raise DatasetError(f"{name} has only {len(found)} different normal images that can be read: ask for fewer.")
        chosen[seed] = list(found.values())
    return chosen


def _read(name: str, entry: Entry, problems: list[str]) -> InputImage | None:
    try:
        return read_image(entry.path, entry.name)
    except ImageError as error:
        problems.append(f"{name}: {error}")
        return None


def _batch_size(backbone: Backbone) -> int:
    return BATCH_ON_GPU if backbone.device.type == "cuda" else BATCH_ON_CPU
