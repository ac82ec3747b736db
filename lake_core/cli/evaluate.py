"""What `lake evaluate` does: the few-shot protocol over data sets, printed as tables and written as JSON and CSV."""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.box import SIMPLE
from rich.table import Table

from lake_core.backbones.devices import PRECISIONS
from lake_core.backbones.opening import Opening
from lake_core.backbones.process import freeze_imports, limit_threads
from lake_core.cli.console import cell, check_output, progress_bars, show
from lake_core.cli.terminal import say
from lake_core.config import LakeConfig
from lake_core.data.folders import categories
from lake_core.data.samples import samples_if_named
from lake_core.errors import ConfigError, DatasetError, writing
from lake_core.evaluation.checkpoint import Checkpoint
from lake_core.evaluation.protocol import FewShotProtocol, Metric
from lake_core.evaluation.ray_engine import RayEngine
from lake_core.evaluation.report import Cell, EvaluationReport, Spread
from lake_core.evaluation.runner import Engine, LocalEngine, evaluate
from lake_core.tables import write_csv

TITLES: dict[Metric, str] = {
    "image_auroc": "Image AUROC",
    "pixel_auroc": "Pixel AUROC",
    "pixel_aupro": "AUPRO (up to FPR 0.3)",
    "pointing_game": "Pointing game",
    "covered_auroc": "Image AUROC with the defects covered",
}
_INTERRUPTED, _TERMINATED = 130, 143
"""Exit codes after Ctrl-C and after SIGTERM, as shells have them."""


class _Termination(KeyboardInterrupt):
    """What SIGTERM raises: whoever ends a run, the same is kept and said."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for on the command line."""

    folder: Path
    categories: str
    protocol: FewShotProtocol
    config: LakeConfig
    model: str
    device: str
    precision: str
    batch_size: int | None
    engine: str
    address: str | None
    json_out: Path | None
    csv_out: Path | None
    resume: bool
    with_scores: bool


def print_tables(report: EvaluationReport) -> None:
    """Prints all tables of a report, and what should be known about it."""
    found = tables(report)
    for table in found:
        show(table)
    if not found:
        say("Nothing could be measured: every metric is null, for the reason given below.")
    for problem in report.problems:
        say(f"Note: {problem}")


def run(request: Request, print_report: Callable[[EvaluationReport], None] = print_tables) -> None:
    """Evaluates, prints, and writes the files asked for.

    Args:
        request: What was asked for.
        print_report: Prints the report.
    Raises:
        ConfigError, BackboneError, DatasetError: if something was asked for that cannot be.
    """
    folders = _chosen(request.folder, request.categories)
    opening = _opening(request)
    limit_threads()
    freeze_imports()
    checkpoint = Checkpoint(request.json_out, request.resume) if request.json_out is not None else None
    with (
        _interruption_reported(checkpoint, len(folders)),
        progress_bars(path.resolve().name for path in folders) as on_progress,
    ):
        engine: Engine
        if request.engine == "ray":
            engine = RayEngine(opening, request.address, batch_size=request.batch_size)
        else:
            engine = LocalEngine(opening.open(), request.batch_size)
        report = evaluate(
            folders, engine, request.config, request.protocol, checkpoint=checkpoint, on_progress=on_progress
        )
    print_report(report)
    if request.csv_out is not None:
        write_rows(request.csv_out, report.rows("results"))
        say(f"Rows written to {request.csv_out}")
    if checkpoint is not None:
        checkpoint.finish(report if request.with_scores else report.without_scores())
        say(f"Written to {request.json_out}")


def _opening(request: Request) -> Opening:
    """The backbone to open, once all options are checked."""
    for out in (request.json_out, request.csv_out):
        if out is not None:
            check_output(out)
    if request.csv_out is not None and request.csv_out == request.json_out:
        raise ConfigError("--json and --csv name the same file; give two.")
    if request.resume and request.json_out is None:
        raise ConfigError("--resume needs --json OUT: finished work lies beside it.")
    if request.engine not in ("local", "ray") or (request.address is not None and request.engine != "ray"):
        raise ConfigError(f"--engine is {request.engine!r}; choose local, or ray, which also takes --address.")
    precision = next((name for name in PRECISIONS if name == request.precision), None)
    if precision is None:
        raise ConfigError(f"--precision is {request.precision!r}; choose from {', '.join(PRECISIONS)}.")
    return Opening(request.model, device=request.device, precision=precision)


@contextmanager
def _interruption_reported(checkpoint: Checkpoint | None, n_categories: int) -> Iterator[None]:
    """Turns Ctrl-C and SIGTERM into one sentence that says how to resume."""

    def terminate(*_: object) -> None:
        raise _Termination

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt as error:
        if checkpoint is None:
            say("Stopped. Nothing was kept; with --json OUT a run can be resumed later.", err=True)
        else:
            say(
                f"Stopped. {checkpoint.n_kept} of {n_categories} data sets are finished and kept in "
                f"{checkpoint.path}; resume with the same command and --resume.",
                err=True,
            )
        raise typer.Exit(_TERMINATED if isinstance(error, _Termination) else _INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def write_rows(path: Path, rows: Sequence[Mapping[str, Cell]]) -> None:
    """Writes rows as CSV; what could not be measured is an empty cell."""
    with writing(path), path.open("w", encoding="utf-8", newline="") as file:
        write_csv(file, list(rows[0]), rows)


def tables(report: EvaluationReport) -> list[Table]:
    """A table for each number of shots and each metric that could be computed: methods by categories and their mean."""
    names = list(dict.fromkeys(row.category for row in report.summary))
    methods = list(dict.fromkeys(row.method for row in report.summary))
    found = []
    for shots in dict.fromkeys(row.shots for row in report.summary):
        for metric, title in TITLES.items():
            rows = {
                method: [report.summary_of(name, shots, method).metrics[metric] for name in names] for method in methods
            }
            if all(spread.mean is None for spreads in rows.values() for spread in spreads):
                continue
            caption = "mean over seeds; ± the standard deviation of the last column over seeds"
            if metric == "image_auroc":
                caption += "; ° not clearly better than chance: the 95% interval over images begins at 0.5 or below"
            if metric == "pointing_game":
                caption += f"; by chance {_chance(report, shots)}"
            heading = f"{title}, {shots} normal image{'s' * (shots > 1)}, {report.model}"
            table = Table(title=cell(heading), caption=cell(caption), box=SIMPLE, pad_edge=False)
            table.add_column("method", no_wrap=True)
            for name in names:
                table.add_column(cell(name), justify="right", overflow="fold")
            table.add_column("±", no_wrap=True)
            for method, spreads in rows.items():
                cells = [_cell(spread, marks_chance=metric == "image_auroc") for spread in spreads]
                std = spreads[-1].std
                table.add_row(method, *cells, "-" if std is None else f"{std:.3f}")
            found.append(table)
    return found


def _chance(report: EvaluationReport, shots: int) -> str:
    """How often a patch drawn at random lies on the defect, from the least to the most by category and grid."""
    own = [row.metrics["pointing_chance"].mean for row in report.summary if row.shots == shots]
    known = sorted(chance for chance in own if chance is not None)
    return f"{known[0]:.3f} to {known[-1]:.3f}, by data set and grid"


def _cell(spread: Spread, marks_chance: bool) -> str:
    if spread.mean is None:
        return "-"
    is_chance = marks_chance and spread.low is not None and spread.low <= 0.5
    return f"{spread.mean:.3f}{'°' if is_chance else ''}"


def _chosen(folder: Path, only: str) -> list[Path]:
    """The data sets in a folder, or those that are named; names that hold spaces stand between commas."""
    found = categories(samples_if_named(folder))
    if not found:
        raise DatasetError(f"{folder} holds no data set: put normal images into NAME/train/good or NAME/normal.")
    by_name = {path.resolve().name: path for path in found}
    between_commas = [part.strip() for part in only.split(",")]
    names = [name for part in between_commas for name in ([part] if part in by_name else part.split())]
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise DatasetError(f"{folder} has no data set {unknown[0]!r}; it has {', '.join(by_name)}.")
    return [by_name[name] for name in dict.fromkeys(names)] or found
