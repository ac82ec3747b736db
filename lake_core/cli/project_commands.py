"""The commands of `lake project`: their options; `project` does the work."""

from pathlib import Path
from typing import Annotated

import typer

from lake_core.cli.lists import layer_numbers
from lake_core.cli.options import (
    AllowedHosts,
    AllowedModels,
    Criterion,
    Device,
    FusionWeight,
    Host,
    ImageSize,
    Layers,
    MemoryBankSize,
    Model,
    NoBrowser,
    Normal,
    ObjectName,
    Port,
    ResizeName,
    Seed,
    SiteName,
    StoreFolder,
    Test,
)
from lake_core.cli.presets import Preset, TopK, given_parameters

projects = typer.Typer(no_args_is_help=True, help="Save, open and check analyses as single files.")
ProjectFile = Annotated[Path, typer.Argument(metavar="X.lake", help="A project file.")]


@projects.command()
def save(
    normal: Normal,
    test: Test,
    out: Annotated[Path, typer.Option(metavar="X.lake", help="The file to write.")],
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
) -> None:
    """Score images against a few normal ones; save images, labels, configuration and scores as one file.

    Example: lake project save --normal parts/good --test parts/new --object "metal plate" --out parts.lake
    """
    from lake_core.cli.project import save as run
    from lake_core.cli.request import Request

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
    run(Request(normal, test, out, model, image_size, resize, device, given))


@projects.command(name="open")
def open_project(
    file: ProjectFile,
    port: Port = None,
    host: Host = "127.0.0.1",
    models: AllowedModels = None,
    allow_host: AllowedHosts = None,
    headless: NoBrowser = False,
) -> None:
    """Open a project in the dashboard.

    Example: lake project open parts.lake
    """
    from lake_core.cli.dashboard import Begin, launch

    begin = Begin(project=file, models=tuple(models or ()), hosts=tuple(allow_host or ()))
    launch(port, host, begin, open_browser=not headless)


@projects.command()
def verify(
    file: ProjectFile,
    model: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Backbone; default: the one that the project names.")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Compute the scores of a project again and say whether they agree to 1e-4, else what differs.

    Exit code 0 if they agree, 1 if not, 2 if the file cannot be used. Example: lake project verify parts.lake
    """
    from lake_core.cli.project import verify as run

    if not run(file, model, device):
        raise typer.Exit(1)


@projects.command(name="list")
def list_projects(store: StoreFolder = None) -> None:
    """List what a server's store of projects holds."""
    from lake_core.cli.project import list_store

    list_store(store)
