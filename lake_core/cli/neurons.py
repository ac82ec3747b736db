"""The command `lake neurons`: the table of `Lake.neurons`, printed in short and written as JSON.

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
    from lake_core.neurons.concepts import ConceptLabels

_PRINTED = 20


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("neurons")(neurons_command)


def neurons_command(
    normal: Annotated[Path, typer.Option(metavar="DIR", help="Normal images: a folder, or one image.")],
    json_out: Annotated[Path, typer.Option("--json", metavar="OUT", help="Write the table here.")],
    test: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Further images; those in folders named for defects give each neuron's AUROC."
        ),
    ] = None,
    layer: Annotated[int | None, typer.Option(help="Layer; default: the last of those that suit the model.")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Only the N most sensitive neurons; default: all.")] = None,
    describe: Annotated[
        bool,
        typer.Option("--describe", help="Describe the selected neurons in words, where a word beats chance; slow."),
    ] = False,
    concepts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Words to describe with, one a line; default: the built-in ones."),
    ] = None,
    model: Annotated[str, typer.Option(metavar="SPEC", help="Backbone; `lake models` lists them.")] = "lake-cnn",
    object_name: Annotated[
        str, typer.Option("--object", metavar="NAME", help="What the images show, for the prompts.")
    ] = "",
    image_size: Annotated[
        int | None, typer.Option(metavar="N", help="Side of the model's input in pixels; default: what suits it.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="cpu|cuda|auto", help="Where the model runs.")] = "cpu",
) -> None:
    """List the neurons of a layer: sensitivity, rank, flags and, if asked for, words.

    Example: lake neurons --normal parts/good --test parts/new --top 20 --describe --json neurons.json
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from lake_core.backbones.opening import open_backbone
    from lake_core.backbones.process import limit_threads
    from lake_core.config import LakeConfig
    from lake_core.detector.lake import Lake
    from lake_core.neurons.concepts import load_concepts
    from lake_core.neurons.effects import describe as label_concepts
    from lake_core.neurons.statistics import neuron_table, with_concepts

    if not json_out.resolve().parent.is_dir():
        raise ConfigError(f"The folder of {json_out} does not exist; make it first.")
    words = load_concepts(concepts) if describe else ()
    skipped: list[str] = []
    normals = _examples(normal, "--normal", skipped)
    tests = _examples(test, "--test", skipped) if test is not None else []
    if not normals:
        raise LakeError("None of the normal images can be read, so there is nothing to learn from.")
    limit_threads()
    backbone = open_backbone(model, image_size=image_size, device=device)
    lake = Lake(backbone, LakeConfig(object_name=object_name))
    number = layer if layer is not None else lake.config.layers[-1]
    backbone.hook_point(number, lake.config.site)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    descriptions: list[ConceptLabels] = []
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Learning what is normal", total=len(normals))
        lake.fit([one.image for one in normals], lambda done, all_: progress.update(task, completed=done, total=all_))
        table = neuron_table(lake, number, tests, top=top)
        if describe:
            task = progress.add_task("Describing", total=None)
            descriptions = label_concepts(
                lake,
                number,
                table.loc[table["selected"], "neuron"].tolist(),
                [*lake.normals_, *(one.image for one in tests)],
                words,
                on_progress=lambda done, all_: progress.update(task, completed=done, total=all_),
            )
            table = with_concepts(table, descriptions)
    document = {
        "model": backbone.spec,
        "image_size": backbone.input_size[0],
        "layer": number,
        "site": lake.config.site,
        "criterion": lake.config.criterion,
        "object_name": lake.config.object_name,
        "normals": [image.name for image in lake.normals_],
        "tests": [one.image.name for one in tests],
        "neurons": rows(table),
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
    """The table of neurons as plain values for JSON: numbers in full, None for what is not known."""
    return [{str(name): _value(value) for name, value in row.items()} for row in table.to_dict("records")]


def _value(value: Any) -> Any:
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def _plain(one: "ConceptLabels") -> Mapping[str, Any]:
    """A description with the best words of both routes; those with a p-value above the level are not reported."""

    def scores(route: Sequence[Any]) -> list[dict[str, Any]]:
        return [word._asdict() for word in route]

    return {
        "neuron": one.neuron,
        "words": list(one.words),
        "level": one.level,
        "agreement": scores(one.agreement),
        "effect": scores(one.effect),
        "effect_by": one.effect_by,
    }


def _examples(given: Path, option: str, skipped: list[str]) -> "list[Example]":
    """The images of a folder, or the one image, with the labels that their paths tell; masks are left out.

    Where some lie in a folder such as `good`, the folders beside it are kinds of defects, as below MVTec's `test`.
    """
    from lake_core.cli.score import list_sources
    from lake_core.data.datasets import Example
    from lake_core.data.images import read_image
    from lake_core.data.labels import label_of

    sources = list_sources(given, option, given)
    some_are_good = any(label_of(PurePosixPath(source.name))[0] == "good" for source in sources)
    found = []
    for source in sources:
        label, site = label_of(PurePosixPath("test", source.name) if some_are_good else PurePosixPath(source.name))
        try:
            found.append(Example(read_image(source.path, source.name), label, site))
        except ImageError as error:
            skipped.append(str(error))
    return found
