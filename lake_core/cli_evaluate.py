"""The command `lake evaluate`: the few-shot protocol over data sets, printed as tables and written as JSON.

The networks are imported inside of the command, so that help comes at once.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lake_core.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from rich.table import Table

_TITLES = {"image_auroc": "Image AUROC", "pixel_auroc": "Pixel AUROC", "pixel_aupro": "AUPRO (up to FPR 0.3)"}
_LIST = "separated by commas or spaces"


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("evaluate")(evaluate_command)


def evaluate_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A data set, or a folder of data sets.")],
    only: Annotated[
        str, typer.Option("--categories", metavar="A,B", help=f"Data sets in DIR, {_LIST}; default: all.")
    ] = "",
    shots: Annotated[
        str, typer.Option(metavar="N,N", help=f"Numbers of normal pictures to learn from, {_LIST}.")
    ] = "4",
    seeds: Annotated[
        str, typer.Option(metavar="N,N", help=f"Seeds of the choice of normal pictures, {_LIST}.")
    ] = "0,1,2",
    model: Annotated[str, typer.Option(metavar="SPEC", help="Backbone; `lake models` lists them.")] = "lake-cnn",
    methods: Annotated[
        str, typer.Option(metavar="M,M", help=f"What to compare, {_LIST}.")
    ] = "lake,random,all,visual,text",
    object_name: Annotated[
        str, typer.Option("--object", metavar="NAME", help="What the pictures show; default: each data set's name.")
    ] = "",
    top_k: Annotated[int, typer.Option(help="Units kept per layer.")] = 100,
    pixel: Annotated[bool, typer.Option(help="Also compare maps with masks.")] = True,
    device: Annotated[str, typer.Option(metavar="cpu|cuda|auto", help="Where the model runs.")] = "cpu",
    json_out: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Write the whole result here.")] = None,
) -> None:
    """Measure the method on labelled data sets, beside random units, all units, and each witness alone.

    Example: lake evaluate data --shots 1,4 --seeds 0,1,2 --json result.json
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from lake_core.backbones import open_backbone
    from lake_core.config import LakeConfig
    from lake_core.evaluation import evaluate
    from lake_core.threads import limit_threads
    from lake_core.trials import checked_methods

    folders = _chosen(folder, _words(only))
    plan_shots, plan_seeds = _numbers("--shots", shots), _numbers("--seeds", seeds)
    plan_methods = checked_methods(_words(methods))
    config = LakeConfig(top_k=top_k, object_name=object_name)
    if json_out is not None and not json_out.resolve().parent.is_dir():
        raise ConfigError(f"The folder of {json_out} does not exist; make it first.")
    limit_threads()
    backbone = open_backbone(model, device=device)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks = {path.resolve().name: progress.add_task(path.resolve().name, total=None) for path in folders}
        document = evaluate(
            folders,
            backbone,
            config,
            shots=plan_shots,
            seeds=plan_seeds,
            methods=plan_methods,
            pixel=pixel,
            on_progress=lambda name, done, total: progress.update(tasks[name], completed=done, total=total),
        )
    console = Console()
    for table in tables(document):
        console.print(table)
    for problem in document["problems"]:
        typer.echo(f"Left out: {problem}")
    if json_out is not None:
        json_out.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        typer.echo(f"Written to {json_out}")


def tables(document: Mapping[str, Any]) -> "list[Table]":
    """A table for each number of shots and each metric that could be had: methods by categories and their mean."""
    from rich.box import SIMPLE
    from rich.table import Table

    rows: Sequence[Mapping[str, Any]] = document["summary"]
    names = list(dict.fromkeys(row["category"] for row in rows))
    found = []
    for shots in dict.fromkeys(row["shots"] for row in rows):
        of_shots = {(row["method"], row["category"]): row for row in rows if row["shots"] == shots}
        for metric, title in _TITLES.items():
            if all(row[f"{metric}_mean"] is None for row in of_shots.values()):
                continue
            caption = "mean over seeds; ± the deviation of the last column over seeds"
            if metric == "image_auroc":
                caption += "; ° not clearly better than chance: the 95 % interval over pictures reaches 0.5"
            heading = f"{title}, {shots} normal picture{'s' * (shots > 1)}, {document['model']}"
            table = Table(title=heading, caption=caption, box=SIMPLE, pad_edge=False)
            table.add_column("method", no_wrap=True)
            for name in names:
                table.add_column(name, justify="right", overflow="fold")
            table.add_column("±", no_wrap=True)
            for method in dict.fromkeys(method for method, _ in of_shots):
                cells = [_cell(of_shots[method, name], metric) for name in names]
                deviation = of_shots[method, names[-1]][f"{metric}_std"]
                table.add_row(method, *cells, "-" if deviation is None else f"{deviation:.3f}")
            found.append(table)
    return found


def _cell(row: Mapping[str, Any], metric: str) -> str:
    mean = row[f"{metric}_mean"]
    low = row["image_auroc_low"] if metric == "image_auroc" else None
    return "-" if mean is None else f"{mean:.3f}{'°' if low is not None and low <= 0.5 else ''}"


def _chosen(folder: Path, names: Sequence[str]) -> list[Path]:
    from lake_core.folders import categories

    found = categories(folder)
    if not found:
        raise DatasetError(f"{folder} holds no data set: put normal pictures into NAME/train/good or NAME/normal.")
    by_name = {path.resolve().name: path for path in found}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise DatasetError(f"{folder} has no data set {unknown[0]!r}; it has {', '.join(by_name)}.")
    return [by_name[name] for name in names] or found


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _numbers(option: str, text: str) -> list[int]:
    words = _words(text)
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise ConfigError(f"{option} is {text!r}; give whole numbers, {_LIST}, as in 1,2,4.")
    return [int(word) for word in words]
