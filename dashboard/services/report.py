"""The report of an analysis as one HTML file."""

import re
from collections.abc import Hashable, Sequence
from datetime import datetime
from itertools import takewhile
from pathlib import PurePosixPath

from dashboard.services.analysis import Analysis, neuron_notes
from dashboard.services.cache import results
from dashboard.services.controls import control_key, control_seconds, known_control, measured_control
from dashboard.services.estimates import Steps, seconds_of
from dashboard.words import light
from lake_core.data.images import InputImage
from lake_core.data.samples import measured_sample, sample_facts
from lake_core.reports.content import MOST_EXPLAINED, MOST_SHOWN, Control, Folders, Report, explained, row_of, shown
from lake_core.reports.document import document
from lake_core.types import Progress, counted

_LINK = re.compile(r"\[([^]]+)\]\(([^)]+)\)")
"""A link in Markdown."""


def report_key(found: Analysis) -> Hashable:
    """Of the cache's: what the report tells depends on the threshold, too."""
    return "report", found.result_key, found.lake.threshold_, found.workspace.sample


def report_seconds(found: Analysis) -> float | None:
    """An estimate of how long it takes to make; None where a step has not been measured yet."""
    drawn = seconds_of(found, Steps(n_scored=min(len(found.images), MOST_SHOWN)))
    control = 0.0 if known_control(found) is not None else control_seconds(found)
    return None if drawn is None or control is None else drawn + control


def report_of(found: Analysis, on_progress: Progress | None = None) -> str:
    """The report as HTML; the random control is the one of the page Selection, measured now if it was not before.

    Args:
        on_progress: Called with draws, then images done and in all; may raise to cancel.
    """
    control = known_control(found) or measured_control(found, on_progress)
    results().put(control_key(found), control)
    label_of = {id(one): example.label for one, example in zip(found.scores, found.workspace.tests, strict=True)}
    best = [(one, row_of(one, label_of[id(one)])) for one in found.by_score[:MOST_SHOWN]]
    return document(
        Report(
            lake=found.lake,
            rows=[row_of(one, label_of[id(one)]) for one in found.scores],
            gallery=[shown(one, row, found.scale) for one, row in counted(best, on_progress)],
            explained=[
                explained(one, row, found.scale, found.good_image_beside(one), neuron_notes(found))
                for one, row in best[:MOST_EXPLAINED]
            ],
            scale=found.scale,
            control=Control(control, len(found.images)),
            when=datetime.now(),
            folders=_folders(found.lake.normals_, found.images),
            notes=_notes(found.workspace.sample),
        )
    )


def _notes(sample: str) -> list[str]:
    """Of a built-in sample: whose images they are, and what else tells its defects apart."""
    facts, measured = sample_facts(sample), measured_sample(sample)
    credit = [] if facts is None else [_LINK.sub(r"\1 (\2)", facts.credit)]
    return [*credit, *([] if measured is None else light(measured))]


def _folders(normals: Sequence[InputImage], tests: Sequence[InputImage]) -> Folders:
    """The folders that the images' names begin with, where they do; images without any are said to be in two.

    That of the test images is the first that tells them from the normal ones: labels are read from those below it.
    """
    normal, test = (_common([PurePosixPath(one.name).parent.parts for one in side]) for side in (normals, tests))
    if not (normal and test):
        return Folders()
    n_shared = len(_common([normal, test]))
    return Folders(str(PurePosixPath(*normal)), str(PurePosixPath(*test[: n_shared + 1])), ".")


def _common(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """What all paths begin with."""
    alike = takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
    return tuple(parts[0] for parts in alike)
