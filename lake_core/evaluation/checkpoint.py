"""Finished categories kept on disk, so that an interrupted evaluation can be resumed.

Beside OUT lies OUT.part.jsonl: a first line with the fingerprint of the evaluation, then one line for each finished
category. The file is removed when the document is written.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pydantic import Field

from lake_core.evaluation.outcome import CategoryOutcome
from lake_core.evaluation.part_file import Asked, PartFile, size_and_time, write_whole
from lake_core.evaluation.protocol import Method
from lake_core.evaluation.report import EvaluationReport
from lake_core.evaluation.tasks import Task
from lake_core.version import METHOD_VERSION


class Fingerprint(Asked):
    """What an evaluation was asked for; equal fingerprints give equal reports."""

    format: Literal[6] = 6
    model: str
    method_version: int = Field(title="version of the method")
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    methods: tuple[Method, ...]
    pixel: bool = Field(title="pixel metrics")
    leakage_check: bool = Field(title="leakage check")
    turn_normals: bool = Field(title="turned normal images")
    categories: tuple[str, ...]
    configuration: str
    files: str = Field(title="files of the data sets")

    @classmethod
    def of(cls, model_key: str, tasks: Sequence[Task]) -> "Fingerprint":
        """Of the model, the protocol, the configurations, and the files (names, roles, sizes, times of change).

        Args:
            model_key: From the engine.
            tasks: All tasks of the evaluation, at least one.
        """
        protocol = tasks[0].protocol
        files = hashlib.sha256()
        for task in sorted(tasks, key=lambda task: task.category):
            for entry in task.entries:
                sizes = [size_and_time(path) for path in (entry.path, *entry.masks)]
                files.update(json.dumps([task.category, entry.name, entry.role, entry.label, sizes]).encode())
        configs = json.dumps({task.category: asdict(task.config) for task in tasks}, sort_keys=True)
        return cls(
            model=model_key,
            method_version=METHOD_VERSION,
            shots=tuple(protocol.shots),
            seeds=tuple(protocol.seeds),
            methods=tuple(protocol.methods),
            pixel=protocol.pixel,
            leakage_check=protocol.leakage_check,
            turn_normals=protocol.turn_normals,
            categories=tuple(sorted(task.category for task in tasks)),
            configuration=hashlib.sha256(configs.encode()).hexdigest(),
            files=files.hexdigest(),
        )


class Checkpoint:
    """The file of the finished categories of one evaluation.

    Args:
        out: Where the document will be written.
        resume: Whether to go on with the file if there is one; otherwise there must be none.
    """

    def __init__(self, out: Path, resume: bool) -> None:
        self.out = out
        self.path = out.with_name(out.name + ".part.jsonl")
        self.n_kept = 0
        self._file = PartFile(self.path, out, resume)

    def begin(self, asked: Fingerprint) -> dict[str, CategoryOutcome]:
        """The outcomes kept so far, by category; creates the file if there is none.

        Raises:
            ConfigError: if the file belongs to another evaluation, is damaged, or exists and was not to be resumed; if
                the document is finished and was to be resumed.
        """
        self._file.begin(asked)
        outcomes: dict[str, CategoryOutcome] = {}
        for number, outcome in self._file.work(CategoryOutcome):
            if outcome.category in outcomes or outcome.category not in asked.categories:
                raise self._file.damaged(number)
            outcomes[outcome.category] = outcome
        self.n_kept = len(outcomes)
        return outcomes

    def keep(self, outcome: CategoryOutcome) -> None:
        """Appends a finished category; it is on the disk when this returns."""
        self._file.append(outcome.model_dump_json())
        self.n_kept += 1

    def finish(self, report: EvaluationReport) -> None:
        """Writes the document whole or not at all, and removes the file of finished categories."""
        write_whole(self.out, [report.to_json()])
        self._file.remove()
