"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

from lake_core.cli.lists import LIST
from lake_core.criteria import criteria
from lake_core.evaluation.protocol import METHODS
from lake_core.types import SITES

Normal = Annotated[Path, typer.Option(metavar="DIR", help="Normal images: a folder, or one image.")]
Test = Annotated[Path, typer.Option(metavar="DIR", help="Images to score: a folder, or one image.")]
Model = Annotated[str, typer.Option(metavar="SPEC", help="Backbone; `lake models list` lists them.")]
ImageSize = Annotated[
    int | None, typer.Option(metavar="N", help="Side of the model's input in pixels; default: what suits the model.")
]
Device = Annotated[
    str, typer.Option(metavar="cpu|cuda[:N]|auto", help="Where the model runs; auto: a GPU if there is one.")
]
Criterion = Annotated[
    str | None, typer.Option(metavar="|".join(criteria()), help="How neurons are ranked; default variance.")
]
ObjectName = Annotated[
    str | None, typer.Option("--object", metavar="NAME", help="What the images show, for the prompts.")
]
SiteName = Annotated[
    str | None, typer.Option(metavar="|".join(SITES), help="Activation site; default: what suits the model.")
]
FusionWeight = Annotated[float | None, typer.Option(help="Weight of the text map, 0 to 1; default 0.3.")]
Layers = Annotated[str | None, typer.Option(metavar="N,N", help="Layers, as in 12,15; default: what suits the model.")]
ResizeName = Annotated[
    str, typer.Option(metavar="squash|letterbox", help="Fill the model's input, or keep the aspect ratio.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of the random criterion; default 0.")]
MemoryBankSize = Annotated[
    int | None, typer.Option(metavar="N", help="Normal patches kept in each layer, far from each other; default: all.")
]
Precision = Annotated[
    str, typer.Option(metavar="fp32|bf16|fp16", help="Precision of the image tower; half precision is for GPUs.")
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Images in a forward pass; default: 4, on a GPU 64.")
]
Engine = Annotated[str, typer.Option(metavar="local|ray", help="Run in this process, or on a Ray cluster.")]
Address = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Of a running Ray cluster; default: one on this machine.")
]
DataFolder = Annotated[Path, typer.Argument(metavar="DIR", help="A data set, a folder of data sets, or: samples.")]
Shots = Annotated[str, typer.Option(metavar="N,N", help=f"Numbers of normal images to learn from, {LIST}.")]
Seeds = Annotated[str, typer.Option(metavar="N,N", help=f"Random seeds for choosing them, {LIST}.")]
Methods = Annotated[str, typer.Option(metavar="M,M", help=f"Methods to compare, {LIST}: {', '.join(METHODS)}.")]
TurnNormals = Annotated[
    bool, typer.Option("--turn-normals", help="anomalydino and subspacead also learn from turned normal images.")
]
LeakageCheck = Annotated[
    bool, typer.Option("--leakage-check", help="Also score the images with their defects covered; needs masks.")
]
JsonOut = Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Write the whole result here.")]
CsvOut = Annotated[
    Path | None,
    typer.Option("--csv", metavar="[OUT]", help="Write the rows of results here; default: beside --json's."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Resume an interrupted run to the same --json OUT.")]
Port = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port, or the next free one; default: $PORT, else 8501.")
]
Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")]
NoBrowser = Annotated[
    bool, typer.Option("--no-browser", "--headless", help="Don't open a browser; print the address only.")
]
StoreFolder = Annotated[
    Path | None,
    typer.Option(
        "--store", metavar="DIR", help="Where shared projects and visitors' work lie; default: $LAKE_STORE, else yours."
    ),
]
StoreGB = Annotated[
    float | None,
    typer.Option("--store-gb", min=0.001, metavar="GB", help="Size of the store's files at most; default 10."),
]
StoreProjects = Annotated[
    int | None,
    typer.Option("--store-projects", min=1, metavar="N", help="Shared projects at most; default 10000."),
]
ReadOnly = Annotated[
    bool,
    typer.Option("--read-only", help="Samples and shared projects alone: nothing is uploaded, shared or stored."),
]
KeepDays = Annotated[
    float | None,
    typer.Option("--keep-days", min=0.01, metavar="N", help="Days until the store forgets a project; default 90."),
]
AllowedModels = Annotated[
    list[str] | None,
    typer.Option(
        "--models",
        metavar="SPEC",
        help="A model that visitors may choose, besides lake-cnn; may be repeated. Default: any for visitors on this "
        "machine, those included where others are let in.",
    ),
]
AllowedHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="NAME",
        help="A name by which the dashboard is reached, as in lake.example.com, besides this machine's own; may be "
        "repeated.",
    ),
]
