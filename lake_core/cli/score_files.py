"""The tables that `lake score` writes image by image, and the file from which an interrupted run goes on."""

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, FiniteFloat

from lake_core.backbones.opening import Opening
from lake_core.cli.console import Skipped, Source
from lake_core.cli.known import Known
from lake_core.data import anomalib_columns
from lake_core.data.anomalib_columns import anomalib_row
from lake_core.detector.contributions import SCHEMA
from lake_core.detector.lake import Lake
from lake_core.errors import writing
from lake_core.evaluation.outcome import FrozenModel
from lake_core.evaluation.part_file import Asked, PartFile, size_and_time, write_whole
from lake_core.tables import csv_cell, write_csv
from lake_core.version import METHOD_VERSION

COLUMNS = ("path", "score", "visual", "text", "threshold", "is_anomalous", *anomalib_columns.COLUMNS)


class ScoreFingerprint(Asked):
    """What `lake score` was asked for; equal fingerprints give equal files."""

    format: Literal[2] = 2
    model: str
    method_version: int = Field(title="version of the method")
    configuration: str
    normals: str = Field(title="normal images")
    threshold: str
    tests: str = Field(title="test images")
    contributions: bool = Field(title="--contributions")
    html: bool = Field(title="--html")

    @classmethod
    def of(cls, opening: Opening, lake: Lake, tests: Sequence[Source], contributions: bool, html: bool) -> Self:
        """Of the model, the fitted detector (configuration, normal images, threshold) and the test files.

        Args:
            opening: Of the detector's backbone.
            lake: Fitted.
            tests: Known by their paths, sizes and times of change; none is read.
            contributions, html: Whether they are written.
        """
        return cls(
            model=opening.key(lake.backbone.device.type),
            method_version=METHOD_VERSION,
            configuration=_hash([[lake.config.as_dict()]]),
            normals=_hash([image.name, image.sha256] for image in lake.normals_),
            threshold=f"{lake.threshold_:.6g}",
            tests=_hash([source.name, *size_and_time(source.path)] for source in tests),
            contributions=contributions,
            html=html,
        )


class ScoredImage(FrozenModel):
    """What is kept of a test image.

    Attributes:
        greatest: Of its map.
        contributions: Its score decomposition, where that is asked for.
    """

    path: str
    sha256: str
    score: FiniteFloat
    visual: FiniteFloat
    text: FiniteFloat
    is_anomalous: bool
    greatest: FiniteFloat
    contributions: dict[str, Any] | None = None


class Chunk(FrozenModel):
    """A few test images that were scored together: a line of the part file.

    Attributes:
        scored: Those that could be read.
        skipped: Side, path and reason of the others.
    """

    scored: tuple[ScoredImage, ...]
    skipped: tuple[Skipped, ...]


class ScoreFiles:
    """scores.csv, which grows with each chunk, the part file beside it, and contributions.json at the end.

    A chunk's maps and pages are written before it is added: what is in the part file is whole.

    Args:
        out: The folder of results.
        resume: Whether to go on with what an interrupted run has left there.

    Attributes:
        n_done, n_scored, n_above: Test images done, scored, and scored above the threshold.
        greatest: Of all maps, 0 without any.
        seen: Paths of the first and the number of the test images that are also among the normal ones.
        skipped: Those that an interrupted run has skipped.
        keeps_contributions: Whether contributions.json is to be written.
    """

    def __init__(self, out: Path, resume: bool) -> None:
        self.scores, self.settings = out / "scores.csv", out / "config.json"
        self._decompositions = out / "contributions.json"
        self._part = PartFile(out / "scores.part.jsonl", self.settings, resume)
        self.n_done = self.n_scored = self.n_above = self.n_seen = 0
        self.greatest = 0.0
        self.first_seen: str | None = None
        self.skipped: list[Skipped] = []
        self.keeps_contributions = False

    def check(self) -> None:
        """Checks that a run may begin or go on, before anything is computed.

        Raises:
            ConfigError: see `PartFile.check`.
        """
        self._part.check()

    def begin(self, asked: ScoreFingerprint, lake: Lake, beside: Mapping[str, tuple[Source, Known]]) -> None:
        """Opens the files: new ones, or those of the interrupted run with all that it has finished.

        Args:
            asked: Equal to what the interrupted run was asked for.
            lake: Fitted.
            beside: By its name, each test image's file and what is known of it.
        Raises:
            ConfigError: if that run was asked for something else, or its file is damaged.
            LakeError: if a file cannot be written.
        """
        self.keeps_contributions, self._threshold = asked.contributions, lake.threshold_
        self._learned = {image.sha256 for image in lake.normals_}
        self._beside = beside
        self._part.begin(asked)
        with writing(self.scores):
            self.settings.unlink(missing_ok=True)  # where it lies, the run is finished
            self._decompositions.unlink(missing_ok=True)
            with self.scores.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
                write_csv(file, COLUMNS, ())
        tests = list(beside)
        for number, chunk in self._part.work(Chunk):
            kept = [*(one.path for one in chunk.scored), *(one.path for one in chunk.skipped)]
            if sorted(kept) != sorted(tests[self.n_done : self.n_done + len(kept)]):
                raise self._part.damaged(number)
            self.skipped.extend(chunk.skipped)
            self._take(chunk)

    def add(self, chunk: Chunk) -> None:
        """Keeps a chunk whose maps and pages are written."""
        self._part.append(chunk.model_dump_json())
        self._take(chunk)

    def finish(self, settings: dict[str, Any]) -> None:
        """Writes contributions.json, if they were kept, and config.json; the run is finished then."""
        if self.keeps_contributions:
            write_whole(self._decompositions, self._documents())
        write_whole(self.settings, [json.dumps(settings, indent=1, allow_nan=False)])
        self._part.remove()

    def abandon(self) -> None:
        """Removes the files of a run in which nothing could be scored."""
        self._part.remove()
        with writing(self.scores):
            self.scores.unlink(missing_ok=True)

    def chunks(self) -> Iterator[Chunk]:
        """What is kept of each image, until the run is finished.

        Raises:
            ConfigError: if the file is damaged.
        """
        return (chunk for _, chunk in self._part.work(Chunk))

    def _take(self, chunk: Chunk) -> None:
        """Counts a chunk and appends its rows to scores.csv."""
        with (
            writing(self.scores),
            self.scores.open("a", newline="", encoding="utf-8", errors="backslashreplace") as file,
        ):
            table = csv.writer(file, lineterminator="\n")
            for one in chunk.scored:
                source, known = self._beside[one.path]
                numbers = one.score, one.visual, one.text, self._threshold, one.is_anomalous
                places = anomalib_row(str(source.path), known.label, known.mask_path)
                table.writerow(map(csv_cell, (one.path, *numbers, *places)))
        self.n_done += len(chunk.scored) + len(chunk.skipped)
        self.n_scored += len(chunk.scored)
        for one in chunk.scored:
            self.n_above += one.is_anomalous
            self.greatest = max(self.greatest, one.greatest)
            if one.sha256 in self._learned:
                self.n_seen += 1
                self.first_seen = self.first_seen or one.path

    def _documents(self) -> Iterator[str]:
        """The lines of contributions.json, an image each."""
        separator = f'{{"schema": {SCHEMA}, "images": ['
        for chunk in self.chunks():
            for image in chunk.scored:
                document = {"path": image.path} | (image.contributions or {})
                yield separator
                separator = ","
                yield json.dumps(document, allow_nan=False)
        yield "]}"


def _hash(values: Iterable[list[Any]]) -> str:
    found = hashlib.sha256()
    for value in values:
        found.update(json.dumps(value, sort_keys=True).encode())
    return found.hexdigest()
