"""Ways to run what is tested: in threads, cancelled in the middle, twice with the same outcome, without a trace."""

import threading
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lake_core.data.images import InputImage
from lake_core.detector.lake import Lake
from lake_core.evaluation.report import EvaluationReport
from lake_core.types import HookPoint


class Cancelled(BaseException):
    """As Streamlit's, no Exception."""


def in_threads(work: Callable[[int], None], n_threads: int = 4) -> None:
    """Runs work(0), work(1) ... at the same time; what one raises is raised here."""
    errors: list[BaseException] = []
    start = threading.Barrier(n_threads)

    def run(index: int) -> None:
        try:
            start.wait()
            work(index)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def without_times(report: EvaluationReport) -> EvaluationReport:
    """The report of an evaluation without what differs from run to run."""
    rows = tuple(row.model_copy(update={"seconds": 0.0}) for row in report.results)
    return report.model_copy(update={"results": rows, "seconds": {}})


def held_activations(lake: Lake, images: Sequence[InputImage]) -> dict[tuple[str, HookPoint], Tensor]:
    """Copies of all activations of the images that the detector's store holds; those of the score must be there."""
    held = {key: tensor.clone() for key, tensor in _held(lake, images).items()}
    assert held.keys() >= {(image.sha256, point) for image in images for point in lake.hook_points}
    return held


def assert_unchanged(lake: Lake, images: Sequence[InputImage], before: Mapping[tuple[str, HookPoint], Tensor]) -> None:
    """The store holds what it held, bit for bit, and nothing else of these images."""
    now = _held(lake, images)
    assert now.keys() == before.keys()
    assert all(torch.equal(tensor, before[key]) for key, tensor in now.items())


def _held(lake: Lake, images: Sequence[InputImage]) -> dict[tuple[str, HookPoint], Tensor]:
    hook_points = lake.backbone.hook_points
    rows = {(image.sha256, point): lake.store.held(image.sha256, {point}) for image in images for point in hook_points}
    return {key: row[key[1]] for key, row in rows.items() if row is not None}
