"""Finished tasks kept on disk as they end, so that an interrupted evaluation goes on where it was.

Beside OUT lies OUT.part.jsonl: a first line that says what was asked for, then one line for each finished category.
When the document is written the file goes away.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lake_core.errors import ConfigError
from lake_core.evaluation.protocol import Outcome
from lake_core.evaluation.tasks import Task
from lake_core.version import METHOD_VERSION

_FORMAT = 3


@dataclass(frozen=True)
class Fingerprint:
    """What an evaluation was asked for; two of the same fingerprint give the same document.

    Attributes:
        parts: Name of a part, as people would name it -> its value as a text, or a hash of it.
    """

    parts: Mapping[str, str]


def fingerprint(model_key: str, tasks: Sequence[Task]) -> Fingerprint:
    """Of model, configuration, plan, and the files (names, roles, sizes, times of change) of all data sets."""
    protocol = asdict(tasks[0].protocol)
    files = hashlib.sha256()
    for task in sorted(tasks, key=lambda task: task.category):
        for entry in task.entries:
            sizes = [_size_and_time(path) for path in (entry.path, *entry.masks)]
            files.update(json.dumps([task.category, entry.name, entry.role, entry.label, sizes]).encode())
    configs = json.dumps({task.category: asdict(task.config) for task in tasks}, sort_keys=True)
    return Fingerprint(
        {
            "model": model_key,
            "version of the method": str(METHOD_VERSION),
            "shots": str(list(protocol["shots"])),
            "seeds": str(list(protocol["seeds"])),
            "methods": str(list(protocol["methods"])),
            "pixel metrics": str(protocol["pixel"]),
            "categories": ", ".join(sorted(task.category for task in tasks)),
            "configuration": hashlib.sha256(configs.encode()).hexdigest(),
            "files of the data sets": files.hexdigest(),
        }
    )


class Checkpoint:
    """The file of finished tasks of one evaluation.

    Args:
        out: Where the document will be written.
        resume: Go on with what is there; otherwise there must be nothing.
    """

    def __init__(self, out: Path, resume: bool) -> None:
        self.out = out
        self.path = out.with_name(out.name + ".part.jsonl")
        self.resume = resume
        self.n_kept = 0

    def begin(self, asked: Fingerprint) -> dict[str, Outcome]:
        """The outcomes that are there already; makes the file if there is none.

        Raises:
            ConfigError: if the file is of another evaluation, or is there and was not to be resumed.
        """
        lines = _whole_lines(self.path) if self.path.exists() else []
        if not lines or (len(lines) == 1 and not self.resume):  # nothing was finished
            self._write_head(asked)
            return {}
        if not self.resume:
            raise ConfigError(f"{self.path} holds what an interrupted run finished: go on with --resume, or remove it.")
        head = _parsed(lines[0])
        if head is None or head.get("format") != _FORMAT:
            raise ConfigError(f"{self.path} is not the file of an interrupted run: remove it, or choose another OUT.")
        other = [name for name, value in asked.parts.items() if head["asked"].get(name) != value]
        if other:
            was = head["asked"].get(other[0])
            told = f" (then {was}, now {asked.parts[other[0]]})" if len(str(was)) < 64 else ""
            raise ConfigError(
                f"{self.path} is of a run whose {other[0]} differed{told}: ask for the same, or choose another OUT."
            )
        outcomes = [outcome for line in lines[1:] if (outcome := _parsed(line)) is not None]
        _rewrite(self.path, [json.dumps(item, allow_nan=False) for item in (head, *outcomes)])  # without a torn end
        self.n_kept = len(outcomes)
        return {outcome["category"]: outcome for outcome in outcomes}

    def keep(self, outcome: Outcome) -> None:
        """Writes down a finished task; it is on the disk when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(outcome, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.n_kept += 1

    def finish(self, document: Mapping[str, Any]) -> None:
        """Writes the document whole or not at all, and removes the file of finished tasks."""
        _rewrite(self.out, [json.dumps(document, indent=1, allow_nan=False)])
        self.path.unlink(missing_ok=True)

    def _write_head(self, asked: Fingerprint) -> None:
        _rewrite(self.path, [json.dumps({"format": _FORMAT, "asked": dict(asked.parts)})])


def _rewrite(path: Path, lines: Sequence[str]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    os.replace(temporary, path)


def _whole_lines(path: Path) -> list[str]:
    """The lines that end; a run that was killed while it wrote leaves half of one."""
    return path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return -1, 0
    return found.st_size, found.st_mtime_ns
