"""The report of `lake score`: made of what was kept of each image, of which only a few are read again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from lake_core.backbones.batch_size import BATCH_ON_CPU
from lake_core.cli.console import Reporter, Source, read_sources
from lake_core.detector.lake import Lake
from lake_core.detector.microscope import good_image_beside
from lake_core.detector.result import ImageResult
from lake_core.detector.streaming import explain_once
from lake_core.experiments import controls
from lake_core.neurons.statistics import auroc_notes
from lake_core.reports.content import (
    MOST_CONTROLLED,
    MOST_EXPLAINED,
    MOST_SHOWN,
    Control,
    Explained,
    Folders,
    Notes,
    Report,
    Row,
    Shown,
    explained,
    shown,
)
from lake_core.types import Progress
from lake_core.visualization.colours import ScoreScale


@dataclass(frozen=True, eq=False)
class Scored:
    """What a run has kept.

    Attributes:
        lake: That scored.
        sources: The files of the test images by their names.
        rows: Their numbers.
        scale: Of all maps.
        folders: Names of the folders of images.
    """

    lake: Lake
    sources: Mapping[str, Source]
    rows: Sequence[Row]
    scale: ScoreScale
    folders: Folders


def report_of(scored: Scored, reporter: Reporter) -> Report:
    """The report; at most MOST_SHOWN images are read again to be drawn, and MOST_CONTROLLED for the random control."""
    best = sorted(scored.rows, key=lambda row: -row.score)[:MOST_SHOWN]
    control, notes = _measured(scored, reporter.bar("Random draws"))
    gallery, in_full = _drawn(scored, best, notes, reporter.bar("Drawing the report", len(best)))
    return Report(
        lake=scored.lake,
        rows=scored.rows,
        gallery=gallery,
        explained=in_full,
        scale=scored.scale,
        control=control,
        when=datetime.now(),
        folders=scored.folders,
        notes=[*reporter.notes, *(f"Skipped: {one.reason}" for one in reporter.skipped)],
    )


def _drawn(
    scored: Scored, best: Sequence[Row], notes: Notes, on_progress: Progress
) -> tuple[list[Shown], list[Explained]]:
    """The images of the gallery, and the first of them in full; read and let go a few at a time."""
    by_name = {row.path: row for row in best}
    beside = _beside(scored, best[:MOST_EXPLAINED])
    gallery: list[Shown] = []
    in_full: list[Explained] = []
    for start in range(0, len(best), BATCH_ON_CPU):
        for result in _results(scored, [row.path for row in best[start : start + BATCH_ON_CPU]]):
            row = by_name[result.image.name]
            gallery.append(shown(result, row, scored.scale))
            if len(in_full) < MOST_EXPLAINED:
                in_full.append(explained(result, row, scored.scale, beside.get(row.path), notes))
        on_progress(min(start + BATCH_ON_CPU, len(best)), len(best))
    return gallery, in_full


def _beside(scored: Scored, rows: Sequence[Row]) -> dict[str, ImageResult]:
    """By their names, the result of the image that each is compared with: mostly the same one."""
    labels, scores = [row.is_defective for row in scored.rows], [row.score for row in scored.rows]
    places = {row.path: place for place, row in enumerate(scored.rows)}
    found = {row.path: good_image_beside(places[row.path], labels, scores) for row in rows}
    names = {path: scored.rows[place].path for path, place in found.items() if place is not None}
    results = {result.image.name: result for result in _results(scored, [*dict.fromkeys(names.values())])}
    return {path: results[name] for path, name in names.items() if name in results}


def _results(scored: Scored, names: Sequence[str]) -> list[ImageResult]:
    """Those of a few images, read again; one that cannot be read any more is left out."""
    images = [image for _, image in read_sources([scored.sources[name] for name in names], "test")[0]]
    return explain_once(scored.lake, images, [scored.lake.backbone.prepare(image) for image in images])


def _measured(scored: Scored, on_progress: Progress) -> tuple[Control | None, Notes]:
    """The random control and the neurons' own AUROCs over all test images, or as many of them, evenly spread."""
    places = np.unique(np.linspace(0, len(scored.rows) - 1, min(MOST_CONTROLLED, len(scored.rows))).round().astype(int))
    found, _ = read_sources([scored.sources[scored.rows[i].path] for i in places], "test")
    if not found:
        return None, {}
    labels = {row.path: row.is_defective for row in scored.rows}
    images, known = [image for _, image in found], [labels[source.name] for source, _ in found]
    control = controls.random_control(scored.lake, images, known, controls.N_DRAWS, on_progress)
    return Control(control, len(images)), auroc_notes(scored.lake, images, known)
