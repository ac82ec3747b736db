"""The command `lake datasets inspect`: what a folder was understood to be, before anything runs on it."""

import json
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    group = typer.Typer(no_args_is_help=True, help="Look at data sets.")

    @group.callback()
    def _datasets() -> None:
        pass

    group.command("inspect")(inspect_command)
    app.add_typer(group, name="datasets")


def inspect_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A data set, a folder of data sets, or: samples.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Say what is understood: categories, layout, counts, masks, sizes, duplicates, what is ignored.

    Example: lake datasets inspect mvtec
    """
    from lake_core.cli.console import progress_bars
    from lake_core.data.inspection import inspect, lines
    from lake_core.data.samples import samples_if_named

    with progress_bars() as on_progress:
        found, beside = inspect(samples_if_named(folder), on_progress)
    if as_json:
        document = {"folder": str(folder), "categories": [category.as_dict() for category in found], "ignored": beside}
        typer.echo(json.dumps(document, indent=1))
    else:
        for line in lines(found, beside):
            typer.echo(line)
