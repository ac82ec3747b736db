"""The command `lake`: what the dashboard does, without a browser.

This file only says what can be asked. The networks are imported inside of the commands, so that help comes at once.
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lake_core.cli import datasets, evaluate, neurons
from lake_core.errors import BackboneError, ConfigError, DatasetError, LakeError
from lake_core.version import package_version

_WRONG_USAGE = (BackboneError, ConfigError, DatasetError)


class _Group(TyperGroup):
    """Commands whose errors for people become one line on stderr, and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LakeError as error:
            typer.echo(f"Error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(2 if isinstance(error, _WRONG_USAGE) else 1) from None


app = typer.Typer(
    cls=_Group,
    help="LAKE Explorer: which sparse neurons of a vision-language model notice that something is wrong, and where.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,
)


def main() -> None:
    """The entry point."""
    app(prog_name="lake")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"LAKE Explorer {package_version()}")
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
    normal: Annotated[Path, typer.Option(metavar="DIR", help="Normal images: a folder, or one image.")],
    test: Annotated[Path, typer.Option(metavar="DIR", help="Images to score: a folder, or one image.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where scores.csv, config.json, scale.png and maps/ go.")],
    model: Annotated[str, typer.Option(metavar="SPEC", help="Backbone; `lake models` lists them.")] = "lake-cnn",
    object_name: Annotated[
        str | None, typer.Option("--object", metavar="NAME", help="What the images show, for the prompts.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Neurons kept per layer; default 100.")] = None,
    fusion_weight: Annotated[float | None, typer.Option(help="Weight of the text map, 0 to 1; default 0.3.")] = None,
    layers: Annotated[
        str | None, typer.Option(metavar="N,N", help="Layers, as in 12,15; default: what suits the model.")
    ] = None,
    site: Annotated[
        str | None, typer.Option(metavar="hidden|channel", help="Kind of neurons; default: what suits the model.")
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(metavar="variance|robust|range|random|all", help="How neurons are ranked; default variance."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the random criterion; default 0.")] = None,
    image_size: Annotated[
        int | None, typer.Option(metavar="N", help="Side of the model's input in pixels; default: what suits it.")
    ] = None,
    resize: Annotated[
        str, typer.Option(metavar="squash|letterbox", help="Fill the model's input, or keep the aspect.")
    ] = "squash",
    device: Annotated[str, typer.Option(metavar="cpu|cuda|auto", help="Where the model runs.")] = "cpu",
    contributions: Annotated[
        bool, typer.Option("--contributions", help="Also write contributions.json: what each score is made of.")
    ] = False,
) -> None:
    """Score images against a few normal ones; write scores, maps and settings.

    Example: lake score --normal parts/good --test parts/new --object "metal plate" --out results
    """
    from lake_core.cli.score import Request, run

    parameters = {
        "object_name": object_name,
        "top_k": top_k,
        "fusion_weight": fusion_weight,
        "layers": _layers(layers),
        "site": site,
        "criterion": criterion,
        "seed": seed,
    }
    given = {name: value for name, value in parameters.items() if value is not None}
    run(Request(normal, test, out, model, image_size, resize, device, given, contributions))


@app.command()
def models(
    everything: Annotated[bool, typer.Option("--all", help="List every NAME:TAG that open_clip knows.")] = False,
) -> None:
    """List the backbones that can be opened, and which are on this machine."""
    from lake_core.cli.models import lines

    for line in lines(everything):
        typer.echo(line)


@app.command()
def dashboard(
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port, or the next free one; default: $PORT, else 8501."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    sample: Annotated[str | None, typer.Option(metavar="NAME", help="Built-in sample to begin with.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder with data sets that visitors may evaluate on; default: $LAKE_DATA."),
    ] = None,
    headless: Annotated[
        bool, typer.Option("--no-browser", "--headless", help="Don't open a browser; print the address only.")
    ] = False,
) -> None:
    """Open the dashboard in the browser."""
    from lake_core.cli.dashboard import launch

    launch(port, host, sample, open_browser=not headless, data=data)


datasets.register(app)
evaluate.register(app)
neurons.register(app)


def _layers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    words = text.replace(",", " ").split()
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise ConfigError(f"--layers is {text!r}; give layer numbers separated by commas, as in 12,15.")
    return tuple(int(word) for word in words)


if __name__ == "__main__":
    main()
