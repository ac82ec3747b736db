"""Finished categories kept on disk, so that an interrupted evaluation can be resumed.

Beside OUT lies OUT.part.jsonl: a first line with the fingerprint of the evaluation, then one line for each finished
category. The file is removed when the document is written.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from lake_core.errors import ConfigError, writing
from lake_core.evaluation.outcome import CategoryOutcome, FrozenModel
from lake_core.evaluation.protocol import Method
from lake_core.evaluation.report import EvaluationReport
from lake_core.evaluation.tasks import Task
from lake_core.version import METHOD_VERSION

_LONGEST_SHOWN = 64


class Fingerprint(FrozenModel):
    """What an evaluation was asked for; equal fingerprints give equal reports. Titles are for messages."""

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
                sizes = [_size_and_time(path) for path in (entry.path, *entry.masks)]
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

    def difference(self, earlier: "Fingerprint") -> str | None:
        """The first part in which an earlier fingerprint differs, with short values; None if they are equal."""
        for name, field in type(self).model_fields.items():
            then, now = _shown(getattr(earlier, name)), _shown(getattr(self, name))
            if then != now:
                values = f" (then {then}, now {now})" if len(then) < _LONGEST_SHOWN else ""
                return f"{field.title or name} differed{values}"
        return None


class _Head(FrozenModel):
    """The first line of the file."""

    format: Literal[4] = 4
    asked: Fingerprint


class Checkpoint:
    """The file of the finished categories of one evaluation.

    Args:
        out: Where the document will be written.
        resume: Whether to go on with the file if there is one; otherwise there must be none.
    """

    def __init__(self, out: Path, resume: bool) -> None:
        self.out = out
        self.path = out.with_name(out.name + ".part.jsonl")
        self.resume = resume
        self.n_kept = 0

    def begin(self, asked: Fingerprint) -> dict[str, CategoryOutcome]:
        """The outcomes kept so far, by category; creates the file if there is none.

        Raises:
            ConfigError: if the file belongs to another evaluation, is damaged, or exists and was not to be resumed; if
                the document is finished and was to be resumed.
        """
        if self.resume and self.out.exists() and not self.path.exists():
            raise ConfigError(f"{self.out} is finished: choose another OUT, or run without --resume to replace it.")
        lines = _whole_lines(self.path) if self.path.exists() else []
        if not lines or (len(lines) == 1 and not self.resume):  # nothing was finished
            _rewrite(self.path, [_Head(asked=asked).model_dump_json()])
            return {}
        if not self.resume:
            raise ConfigError(f"{self.path} holds what an interrupted run finished: go on with --resume, or remove it.")
        try:
            head = _Head.model_validate_json(lines[0])
        except ValidationError:
            raise ConfigError(
                f"{self.path} is not the file of an interrupted run: remove it, or choose another OUT."
            ) from None
        difference = asked.difference(head.asked)
        if difference is not None:
            raise ConfigError(f"{self.path} is of a run whose {difference}: ask for the same, or choose another OUT.")
        outcomes = [self._outcome(line, number) for number, line in enumerate(lines[1:], start=2)]
        _rewrite(self.path, lines)  # without a torn end
        self.n_kept = len(outcomes)
        return {outcome.category: outcome for outcome in outcomes}

    def keep(self, outcome: CategoryOutcome) -> None:
        """Appends a finished category; it is on the disk when this returns."""
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(outcome.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.n_kept += 1

    def finish(self, report: EvaluationReport) -> None:
        """Writes the document whole or not at all, and removes the file of finished categories."""
        _rewrite(self.out, [report.to_json()])
        self.path.unlink(missing_ok=True)

    def _outcome(self, line: str, number: int) -> CategoryOutcome:
        try:
            return CategoryOutcome.model_validate_json(line)
        except (ValidationError, ConfigError):
            raise ConfigError(
                f"{self.path} is damaged in line {number}: remove that line, and --resume runs its category again."
            ) from None


def _rewrite(path: Path, lines: Sequence[str]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with writing(path):
        temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        os.replace(temporary, path)


def _whole_lines(path: Path) -> list[str]:
    """The lines that end; a run that was killed while writing leaves a torn one."""
    return path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _size_and_time(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds; (-1, 0) where there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return -1, 0
    return found.st_size, found.st_mtime_ns
