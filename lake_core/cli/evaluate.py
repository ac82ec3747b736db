"""The command `lake evaluate`: the few-shot protocol over data sets, printed as tables and written as JSON.

The networks are imported inside of the command, so that help comes at once.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from lake_core.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from rich.table import Table

    from lake_core.evaluation.checkpoint import Checkpoint

_TITLES = {"image_auroc": "Image AUROC", "pixel_auroc": "Pixel AUROC", "pixel_aupro": "AUPRO (up to FPR 0.3)"}
_LIST = "separated by commas or spaces"
_NUMBER_LISTS = {"--shots", "--seeds"}
_LISTS = _NUMBER_LISTS | {"--categories", "--methods"}
_INTERRUPTED = 130


class ListsCommand(TyperCommand):
    """A command whose list options may be written `--shots 1 2 4` as well as `--shots 1,2,4`, and --csv without OUT."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, joined_lists(args))


def joined_lists(args: Sequence[str]) -> list[str]:
    """The arguments with the words of each list option made one, and the file of a bare --csv named after --json's.

    A list takes the words up to the next option; where the folder was not named yet, numbers up to a word, and words
    up to a folder that is there.
    """
    joined: list[str] = []
    option, has_folder = "", False
    for arg in args:
        if arg.startswith("-"):
            option = arg
            joined.append(arg)
        elif joined and joined[-1] == option:  # the option's first value
            joined.append(arg)
        elif option in _LISTS and (has_folder or not _may_be_folder(option, arg)):
            joined[-1] += f",{arg}"
        else:
            has_folder, option = True, ""
            joined.append(arg)
    return _with_file_of_csv(joined)


def _may_be_folder(option: str, word: str) -> bool:
    if option in _NUMBER_LISTS:
        return not word.replace(",", "").isdigit()
    from lake_core.data.samples import samples_if_named

    return samples_if_named(Path(word)).is_dir()


def _with_file_of_csv(args: list[str]) -> list[str]:
    if "--csv" not in args or "--json" not in args[:-1]:
        return args
    after = args.index("--csv") + 1
    if after < len(args) and not args[after].startswith("-"):
        return args
    return [*args[:after], str(Path(args[args.index("--json") + 1]).with_suffix(".csv")), *args[after:]]


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("evaluate", cls=ListsCommand)(evaluate_command)


def evaluate_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A data set, a folder of data sets, or: samples.")],
    only: Annotated[
        str, typer.Option("--categories", metavar="A,B", help=f"Data sets in DIR, {_LIST}; default: all.")
    ] = "",
    shots: Annotated[str, typer.Option(metavar="N,N", help=f"Numbers of normal images to learn from, {_LIST}.")] = "4",
    seeds: Annotated[
        str, typer.Option(metavar="N,N", help=f"Seeds of the choice of normal images, {_LIST}.")
    ] = "0,1,2",
    model: Annotated[str, typer.Option(metavar="SPEC", help="Backbone; `lake models` lists them.")] = "lake-cnn",
    methods: Annotated[
        str, typer.Option(metavar="M,M", help=f"What to compare, {_LIST}.")
    ] = "lake,random,all,visual,text",
    object_name: Annotated[
        str, typer.Option("--object", metavar="NAME", help="What the images show; default: each data set's name.")
    ] = "",
    top_k: Annotated[int, typer.Option(help="Neurons kept per layer.")] = 100,
    pixel: Annotated[bool, typer.Option(help="Also compare maps with masks.")] = True,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda[:N]", help="Where the model runs; auto: a GPU if there is one.")
    ] = "auto",
    precision: Annotated[
        str, typer.Option(metavar="fp32|bf16|fp16", help="Numbers of the image tower; the halves are for GPUs.")
    ] = "fp32",
    batch: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Images in a forward pass; default: 4, on a GPU 64.")
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="Run in this process, or on a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Of a running Ray cluster; default: one on this machine.")
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Write the whole result here.")] = None,
    csv_out: Annotated[
        Path | None,
        typer.Option("--csv", metavar="[OUT]", help="Write the rows of results here; default: beside --json's."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run to the same --json OUT that was interrupted.")
    ] = False,
    with_scores: Annotated[
        bool, typer.Option("--scores", help="Also write the score of each test image to the JSON.")
    ] = False,
) -> None:
    """Measure the method on labelled data sets, beside random neurons, all neurons, and each witness alone.

    Example: lake evaluate data --shots 1 4 --seeds 0 1 2 --json result.json
    """
    from lake_core.backbones.devices import PRECISIONS
    from lake_core.backbones.opening import Opening
    from lake_core.backbones.process import freeze_imports, limit_threads
    from lake_core.cli.console import progress_bars
    from lake_core.config import LakeConfig
    from lake_core.evaluation.checkpoint import Checkpoint
    from lake_core.evaluation.protocol import checked_methods
    from lake_core.evaluation.runner import LocalEngine, evaluate

    folders = _chosen(folder, only)
    protocol_shots, protocol_seeds = _numbers("--shots", shots), _numbers("--seeds", seeds)
    protocol_methods = checked_methods(_words(methods))
    config = LakeConfig(top_k=top_k, object_name=object_name)
    for out in (json_out, csv_out):
        if out is not None and not out.resolve().parent.is_dir():
            raise ConfigError(f"The folder of {out} does not exist; make it first.")
        if out is not None and out.is_dir():
            raise ConfigError(f"{out} is a folder; give the name of a file.")
    if resume and json_out is None:
        raise ConfigError("--resume needs --json OUT: finished work lies beside it.")
    if engine not in ("local", "ray") or (address is not None and engine != "ray"):
        raise ConfigError(f"--engine is {engine!r}; choose local, or ray, which also takes --address.")
    known = next((name for name in PRECISIONS if name == precision), None)
    if known is None:
        raise ConfigError(f"--precision is {precision!r}; choose from {', '.join(PRECISIONS)}.")
    limit_threads()
    freeze_imports()
    opening = Opening(model, device=device, precision=known)
    checkpoint = Checkpoint(json_out, resume) if json_out is not None else None
    with (
        _interruption_told(checkpoint, len(folders)),
        progress_bars(path.resolve().name for path in folders) as on_progress,
    ):
        if engine == "ray":
            from lake_core.evaluation.ray_engine import RayEngine

            runner: Any = RayEngine(opening, address)
        else:
            runner = LocalEngine(opening.open())
        document = evaluate(
            folders,
            runner,
            config,
            shots=protocol_shots,
            seeds=protocol_seeds,
            methods=protocol_methods,
            pixel=pixel,
            with_scores=with_scores,
            batch_size=batch,
            checkpoint=checkpoint,
            on_progress=on_progress,
        )
    _print(document)
    if csv_out is not None:
        write_rows(csv_out, document["results"])
        typer.echo(f"Rows written to {csv_out}")
    if checkpoint is not None:
        checkpoint.finish(document)
        typer.echo(f"Written to {json_out}")


@contextmanager
def _interruption_told(checkpoint: "Checkpoint | None", n_tasks: int) -> Iterator[None]:
    """Turns Ctrl-C into one sentence that says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        if checkpoint is None:
            typer.echo("Stopped. Nothing was kept; with --json OUT a run can go on later.", err=True)
        else:
            typer.echo(
                f"Stopped. {checkpoint.n_kept} of {n_tasks} data sets are finished and kept in {checkpoint.path}; "
                "go on with the same command and --resume.",
                err=True,
            )
        raise typer.Exit(_INTERRUPTED) from None


def _print(document: Mapping[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    found = tables(document)
    for table in found:
        console.print(table)
    if not found:
        typer.echo("Nothing could be measured: every figure is null, for the reason told below.")
    for problem in document["problems"]:
        typer.echo(f"Note: {problem}")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows as CSV; what could not be measured is an empty cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


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
                caption += "; ° not clearly better than chance: the 95 % interval over images reaches 0.5"
            heading = f"{title}, {shots} normal image{'s' * (shots > 1)}, {document['model']}"
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


def _chosen(folder: Path, only: str) -> list[Path]:
    """The data sets in a folder, or those that are named; names that hold spaces stand between commas."""
    from lake_core.data.folders import categories
    from lake_core.data.samples import samples_if_named

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


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _numbers(option: str, text: str) -> list[int]:
    words = _words(text)
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise ConfigError(f"{option} is {text!r}; give whole numbers, {_LIST}, as in 1,2,4.")
    return [int(word) for word in words]
