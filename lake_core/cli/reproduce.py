"""What `lake reproduce` does: the preset "paper" on a public data set, its figures beside those that were published."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.box import SIMPLE
from rich.table import Table

from lake_core.cli import evaluate
from lake_core.cli.console import cell, show
from lake_core.cli.terminal import say
from lake_core.config import PAPER_BACKBONE, LakeConfig
from lake_core.data.folders import categories
from lake_core.errors import ConfigError, DatasetError
from lake_core.evaluation.protocol import FewShotProtocol
from lake_core.evaluation.published import COMPARED, PUBLISHED, Published, beside_published
from lake_core.evaluation.report import EvaluationReport
from lake_core.sentences import quantity


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for on the command line."""

    dataset: str
    folder: Path
    shots: Sequence[int]
    seeds: Sequence[int]
    model: str
    device: str
    json_out: Path | None
    resume: bool


def run(request: Request) -> None:
    """Evaluates with the preset "paper", prints the comparison, and writes the file asked for.

    Raises:
        ConfigError, BackboneError, DatasetError: if something was asked for that cannot be.
    """
    published = PUBLISHED.get(request.dataset)
    if published is None:
        raise ConfigError(f"The data set is {request.dataset!r}; choose from {', '.join(PUBLISHED)}.")
    evaluate.run(
        evaluate.Request(
            folder=request.folder,
            categories=",".join(_there(request.folder, published)),
            protocol=FewShotProtocol(request.shots, request.seeds, COMPARED),
            config=LakeConfig.preset("paper"),
            model=request.model,
            device=request.device,
            precision="fp32",
            batch_size=None,
            engine="local",
            address=None,
            json_out=request.json_out,
            csv_out=None,
            resume=request.resume,
            with_scores=False,
        ),
        print_report=partial(_print, published=published),
    )


def _there(folder: Path, published: Published) -> list[str]:
    """The data set's categories that are in a folder."""
    there = {path.resolve().name for path in categories(folder)} if folder.is_dir() else set()
    found = [name for name in published.categories if name in there]
    if not found:
        names = ", ".join(published.categories[:3])
        raise DatasetError(
            f"{folder} holds no category of {published.title} with normal images ({names} ...); give the folder that "
            "they lie in."
        )
    return found


def _print(report: EvaluationReport, published: Published) -> None:
    for shots in dict.fromkeys(row.shots for row in report.summary):
        show(comparison(report, published, shots))
    for line in (*remarks(report, published), *(f"Note: {problem}" for problem in report.problems)):
        say(line)


def comparison(report: EvaluationReport, published: Published, shots: int) -> Table:
    """The table for one number of normal images: each method and metric, here and published, in percent."""
    n_categories = len(report.object_names)
    heading = (
        f"{published.title}, mean over {n_categories} of {len(published.categories)} categories, "
        f"{quantity(shots, 'normal image')}, {report.model}"
    )
    caption = "in percent; ± the standard deviation over seeds; paper: from secondary sources, - not known"
    table = Table(title=cell(heading), caption=caption, box=SIMPLE, pad_edge=False)
    for name in ("method", "metric"):
        table.add_column(name, no_wrap=True)
    for name in ("here", "±", "paper"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in beside_published(report, published, shots):
        table.add_row(row.method, evaluate.TITLES[row.metric], *map(_cell, (row.here, row.std, row.published)))
    return table


def remarks(report: EvaluationReport, published: Published) -> list[str]:
    """What keeps the two columns from being the same experiment, one sentence each."""
    config, (height, width) = report.config, report.input_size
    layers = ", ".join(map(str, config.layers))
    shots = ", ".join(map(str, dict.fromkeys(row.shots for row in report.summary)))
    missing = [name for name in published.categories if name not in report.object_names]
    found = [
        "The paper's figures are second hand, from readers' notes and a leaderboard (arXiv 2604.07802); its code is "
        "not public.",
        f"Not known of its protocol, and chosen here: the backbone, the number of normal images ({shots}), layers "
        f"({layers}, the default for the backbone), image size ({height} x {width}) and prompts (the built-in ones, "
        "with the name of each category).",
    ]
    if report.model != PAPER_BACKBONE:
        found.append(f"The preset is meant for {PAPER_BACKBONE}; this is {report.model}.")
    if missing:
        found.append(
            f"The paper's figures are means over all {len(published.categories)} categories; not there: "
            f"{', '.join(missing)}."
        )
    return found


def _cell(percent: float | None) -> str:
    return "-" if percent is None else f"{percent:.1f}"
