"""The command `lake`: what the dashboard does, without a browser.

This file only declares commands and their options; a module of the same name does the work. Those are imported inside
of the commands, so that help does not wait for the networks.
"""

from pathlib import Path
from typing import Annotated

import typer

from lake_core.cli.evaluate_commands import evaluate, reproduce
from lake_core.cli.group import Group
from lake_core.cli.lists import ListsCommand, layer_numbers
from lake_core.cli.options import (
    AllowedHosts,
    AllowedModels,
    Criterion,
    DataFolder,
    Device,
    FusionWeight,
    Host,
    ImageSize,
    KeepDays,
    Layers,
    MemoryBankSize,
    Model,
    NoBrowser,
    Normal,
    ObjectName,
    Port,
    ReadOnly,
    ResizeName,
    Seed,
    SiteName,
    StoreFolder,
    StoreGB,
    StoreProjects,
    Test,
)
from lake_core.cli.presets import Preset, TopK, given_parameters
from lake_core.cli.project_commands import projects
from lake_core.cli.terminal import say
from lake_core.version import package_version

app = typer.Typer(
    cls=Group,
    help="LAKE Explorer: which sparse neurons of a vision-language model respond to a defect, and where.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,
)
_datasets = typer.Typer(no_args_is_help=True, help="Look at data sets.")
app.add_typer(_datasets, name="datasets")
_models = typer.Typer(invoke_without_command=True, help="List, download and check backbones.")
app.add_typer(_models, name="models")
app.add_typer(projects, name="project")


def main() -> None:
    """The entry point."""
    app(prog_name="lake")


def _print_version(asked: bool) -> None:
    if asked:
        say(f"LAKE Explorer {package_version()}")
        raise typer.Exit


@app.callback()
def _lake(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command()
def score(
    normal: Normal,
    test: Test,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for scores.csv, config.json, scale.png and maps/.")],
    model: Model = "lake-cnn",
    object_name: ObjectName = None,
    preset: Preset = None,
    top_k: TopK = None,
    fusion_weight: FusionWeight = None,
    layers: Layers = None,
    site: SiteName = None,
    criterion: Criterion = None,
    memory_bank_size: MemoryBankSize = None,
    seed: Seed = None,
    image_size: ImageSize = None,
    resize: ResizeName = "squash",
    device: Device = "cpu",
    contributions: Annotated[
        bool, typer.Option("--contributions", help="Also write contributions.json: the decomposition of each score.")
    ] = False,
    html: Annotated[
        bool, typer.Option("--html", help="Also write html/: the microscope of each image, to open in a browser.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run with the same options and --out.")
    ] = False,
) -> None:
    """Score images against a few normal ones; write scores, maps and the configuration.

    Example: lake score --normal parts/good --test parts/new --object "metal plate" --out results
    """
    from lake_core.cli.score import ScoreRequest, run

    given = given_parameters(
        preset,
        object_name=object_name,
        top_k=top_k,
        fusion_weight=fusion_weight,
        layers=layer_numbers(layers),
        site=site,
        criterion=criterion,
        memory_bank_size=memory_bank_size,
        seed=seed,
    )
    run(ScoreRequest(normal, test, out, model, image_size, resize, device, given, contributions, html, resume))


@app.command()
def neurons(
    normal: Normal,
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
        bool, typer.Option("--describe", help="Find concept labels for the selected neurons; slow.")
    ] = False,
    concepts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Concept words to choose from, one a line; default: the built-in ones."),
    ] = None,
    model: Model = "lake-cnn",
    object_name: ObjectName = None,
    preset: Preset = None,
    top_k: TopK = None,
    site: SiteName = None,
    criterion: Criterion = None,
    seed: Seed = None,
    image_size: ImageSize = None,
    device: Device = "cpu",
) -> None:
    """List the neurons of a layer: sensitivity, rank, flags and, if asked for, concept labels.

    Example: lake neurons --normal parts/good --test parts/new --top 20 --describe --json neurons.json
    """
    from lake_core.cli.neurons import Request, run

    given = given_parameters(preset, object_name=object_name, top_k=top_k, site=site, criterion=criterion, seed=seed)
    run(Request(normal, json_out, test, layer, top, describe, concepts, model, image_size, device, given))


app.command(cls=ListsCommand)(evaluate)
app.command(cls=ListsCommand)(reproduce)


@_datasets.callback()
def _group() -> None:
    pass


@_datasets.command()
def inspect(
    folder: DataFolder, as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False
) -> None:
    """Show how a folder is understood: categories, layout, counts, masks, sizes, duplicates, what is ignored.

    Example: lake datasets inspect mvtec
    """
    from lake_core.cli.datasets import run

    run(folder, as_json)


Everything = Annotated[bool, typer.Option("--all", help="List every NAME:TAG that open_clip knows.")]
ModelName = Annotated[str, typer.Argument(metavar="NAME", help="A model, as `lake models list` writes them.")]


@_models.callback()
def _models_group(ctx: typer.Context, everything: Everything = False) -> None:
    if ctx.invoked_subcommand is None:
        list_models(everything)


@_models.command(name="list")
def list_models(everything: Everything = False) -> None:
    """List the backbones that can be opened, and which are on this machine."""
    from lake_core.cli.models import lines

    for line in lines(everything):
        say(line)


@_models.command()
def pull(name: ModelName) -> None:
    """Download a model from the Hugging Face hub, so that it opens without a network from then on.

    Example: lake models pull ViT-B-16:openai
    """
    from lake_core.cli.models import pull_model

    pull_model(name)


@_models.command()
def check(name: ModelName) -> None:
    """Check on this machine that a model's neurons, preprocessing and score are what they should be.

    Exit code 1 if a check fails. Example: lake models check ViT-B-16:openai
    """
    from lake_core.cli.models import check_model

    if not check_model(name):
        raise typer.Exit(1)


@app.command()
def dashboard(
    port: Port = None,
    host: Host = "127.0.0.1",
    sample: Annotated[str | None, typer.Option(metavar="NAME", help="Built-in sample to begin with.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder with data sets that visitors may evaluate on; default: $LAKE_DATA."),
    ] = None,
    store: StoreFolder = None,
    keep_days: KeepDays = None,
    store_gb: StoreGB = None,
    store_projects: StoreProjects = None,
    read_only: ReadOnly = False,
    memory: Annotated[
        float | None,
        typer.Option(
            min=0.01, max=0.9, metavar="SHARE", help="Of this machine's memory, for what is computed; default 0.25."
        ),
    ] = None,
    models: AllowedModels = None,
    allow_host: AllowedHosts = None,
    headless: NoBrowser = False,
) -> None:
    """Open the dashboard in the browser."""
    from lake_core.cli.dashboard import Begin, launch

    begin = Begin(
        sample=sample,
        data=data,
        store=store,
        keep_days=keep_days,
        memory=memory,
        store_gb=store_gb,
        store_projects=store_projects,
        read_only=read_only,
        models=tuple(models or ()),
        hosts=tuple(allow_host or ()),
    )
    launch(port, host, begin, open_browser=not headless)


if __name__ == "__main__":
    main()
