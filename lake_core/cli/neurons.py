"""The command `lake units`: the table of `Lake.units`, printed in short and written as JSON.

The networks are imported inside of the command, so that help comes at once.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lake_core.errors import ConfigError, ImageError, LakeError

if TYPE_CHECKING:
    import pandas as pd

    from lake_core.data.datasets import Example
    from lake_core.neurons.concepts import Description

_PRINTED = 20


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("units")(units_command)


def units_command(
    normal: Annotated[Path, typer.Option(metavar="DIR", help="Normal pictures: a folder, or one picture.")],
    json_out: Annotated[Path, typer.Option("--json", metavar="OUT", help="Write the table here.")],
    test: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Further pictures; those in folders named for defects give each unit's AUROC."
        ),
    ] = None,
    layer: Annotated[int | None, typer.Option(help="Layer; default: the last of those that suit the model.")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Only the N most sensitive units; default: all.")] = None,
    describe: Annotated[
        bool, typer.Option("--describe", help="Describe the selected units in words, where a word beats chance; slow.")
    ] = False,
    concepts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Words to describe with, one a line; default: the built-in ones."),
    ] = None,
    model: Annotated[str, typer.Option(metavar="SPEC", help="Backbone; `lake models` lists them.")] = "lake-cnn",
    object_name: Annotated[
        str, typer.Option("--object", metavar="NAME", help="What the pictures show, for the prompts.")
    ] = "",
    image_size: Annotated[
        int | None, typer.Option(metavar="N", help="Side of the model's input in pixels; default: what suits it.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="cpu|cuda|auto", help="Where the model runs.")] = "cpu",
) -> None:
    """List the units of a layer: sensitivity, rank, flags and, if asked for, words.

    Example: lake units --normal parts/good --test parts/new --top 20 --describe --json units.json
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from lake_core.backbones.backbone import open_backbone
    from lake_core.backbones.threads import limit_threads
    from lake_core.config import LakeConfig
    from lake_core.detector.lake import Lake
    from lake_core.neurons.concepts import load_concepts
    from lake_core.neurons.effects import describe as describe_in_words
    from lake_core.neurons.statistics import with_words

    if not json_out.resolve().parent.is_dir():
        raise ConfigError(f"The folder of {json_out} does not exist; make it first.")
    words = load_concepts(concepts) if describe else ()
    skipped: list[str] = []
    normals = _examples(normal, "--normal", skipped)
    tests = _examples(test, "--test", skipped) if test is not None else []
    if not normals:
        raise LakeError("None of the normal pictures can be read, so there is nothing to learn from.")
    limit_threads()
    backbone = open_backbone(model, image_size=image_size, device=device)
    lake = Lake(backbone, LakeConfig(object_name=object_name))
    number = layer if layer is not None else lake.config.layers[-1]
    backbone.place(number, lake.config.kind)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    descriptions: list[Description] = []
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Learning what is normal", total=len(normals))
        lake.fit([one.picture for one in normals], lambda done, all_: progress.update(task, completed=done, total=all_))
        table = lake.units(number, tests, top=top)
        if describe:
            task = progress.add_task("Describing", total=None)
            descriptions = describe_in_words(
                lake,
                number,
                table.loc[table["selected"], "unit"].tolist(),
                [*lake.normals_, *(one.picture for one in tests)],
                words,
                on_progress=lambda done, all_: progress.update(task, completed=done, total=all_),
            )
            table = with_words(table, descriptions)
    document = {
        "model": backbone.spec,
        "image_size": backbone.input_size[0],
        "layer": number,
        "kind": lake.config.kind,
        "criterion": lake.config.criterion,
        "object_name": lake.config.object_name,
        "normals": [picture.name for picture in lake.normals_],
        "tests": [one.picture.name for one in tests],
        "units": rows(table),
        "descriptions": [_plain(one) for one in descriptions],
        "problems": skipped,
    }
    for problem in skipped:
        typer.echo(f"Left out: {problem}", err=True)
    try:
        json_out.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{json_out} cannot be written ({error.strerror or error}); give another --json.") from None
    typer.echo(table.head(_PRINTED).to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    if len(table) > _PRINTED:
        typer.echo(f"... and {len(table) - _PRINTED} more.")
    typer.echo(f"Written to {json_out}")


def rows(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """The table of units as plain values for JSON: numbers in full, None for what is not known."""
    return [{str(name): _value(value) for name, value in row.items()} for row in table.to_dict("records")]


def _value(value: Any) -> Any:
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def _plain(one: "Description") -> Mapping[str, Any]:
    """A description with the best words of both routes; those with a p-value above the level are not reported."""

    def scores(route: Sequence[Any]) -> list[dict[str, Any]]:
        return [word._asdict() for word in route]

    return {
        "unit": one.unit,
        "words": list(one.words),
        "level": one.level,
        "agreement": scores(one.agreement),
        "effect": scores(one.effect),
        "effect_by": one.effect_by,
    }


def _examples(given: Path, option: str, skipped: list[str]) -> "list[Example]":
    """The pictures of a folder, or the one picture, with the labels that their paths tell; masks are left out.

    Where some lie in a folder such as `good`, the folders beside it are kinds of defects, as below MVTec's `test`.
    """
    from lake_core.cli.score import list_sources
    from lake_core.data.datasets import Example
    from lake_core.data.images import read_picture
    from lake_core.data.labels import label_of

    sources = list_sources(given, option, given)
    some_are_good = any(label_of(PurePosixPath(source.name))[0] == "good" for source in sources)
    found = []
    for source in sources:
        label, kind = label_of(PurePosixPath("test", source.name) if some_are_good else PurePosixPath(source.name))
        try:
            found.append(Example(read_picture(source.path, source.name), label, kind))
        except ImageError as error:
            skipped.append(str(error))
    return found
