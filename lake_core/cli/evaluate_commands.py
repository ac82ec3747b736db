"""The commands that compare with known labels: `lake evaluate` and `lake reproduce`."""

from pathlib import Path
from typing import Annotated

import typer

from lake_core.cli.lists import LIST, numbers, words
from lake_core.cli.options import (
    Address,
    BatchSize,
    Criterion,
    CsvOut,
    DataFolder,
    Device,
    Engine,
    JsonOut,
    LeakageCheck,
    MemoryBankSize,
    Methods,
    Model,
    Precision,
    Resume,
    Seeds,
    Shots,
    TurnNormals,
)
from lake_core.cli.presets import Preset, TopK, given_parameters
from lake_core.config import PAPER_BACKBONE
from lake_core.evaluation.protocol import DEFAULT_METHODS

_DEFAULT_METHODS = ",".join(DEFAULT_METHODS)


def evaluate(
    folder: DataFolder,
    categories: Annotated[str, typer.Option(metavar="A,B", help=f"Data sets in DIR, {LIST}; default: all.")] = "",
    shots: Shots = "4",
    seeds: Seeds = "0,1,2",
    model: Model = "lake-cnn",
    methods: Methods = _DEFAULT_METHODS,
    turn_normals: TurnNormals = False,
    object_name: Annotated[
        str, typer.Option("--object", metavar="NAME", help="What the images show; default: each data set's name.")
    ] = "",
    preset: Preset = None,
    top_k: TopK = None,
    criterion: Criterion = None,
    memory_bank_size: MemoryBankSize = None,
    pixel: Annotated[bool, typer.Option(help="Also compare maps with masks.")] = True,
    leakage_check: LeakageCheck = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    batch: BatchSize = None,
    engine: Engine = "local",
    address: Address = None,
    json_out: JsonOut = None,
    csv_out: CsvOut = None,
    resume: Resume = False,
    with_scores: Annotated[
        bool, typer.Option("--scores", help="Also write the score of each test image to the JSON.")
    ] = False,
) -> None:
    """Evaluate on labelled data sets, beside random neurons, all neurons, one part alone, and published methods.

    Example: lake evaluate data --shots 1 4 --seeds 0 1 2 --json result.json
    """
    from lake_core.cli.evaluate import Request, run
    from lake_core.config import LakeConfig
    from lake_core.evaluation.protocol import FewShotProtocol, checked_methods

    protocol = FewShotProtocol(
        numbers("--shots", shots),
        numbers("--seeds", seeds),
        checked_methods(words(methods)),
        pixel,
        leakage_check,
        turn_normals,
    )
    given = given_parameters(
        preset,
        top_k=top_k,
        object_name=object_name or None,
        criterion=criterion,
        memory_bank_size=memory_bank_size,
    )
    run(
        Request(
            folder=folder,
            categories=categories,
            protocol=protocol,
            config=LakeConfig(**given),
            model=model,
            device=device,
            precision=precision,
            batch_size=batch,
            engine=engine,
            address=address,
            json_out=json_out,
            csv_out=csv_out,
            resume=resume,
            with_scores=with_scores,
        )
    )


def reproduce(
    dataset: Annotated[str, typer.Argument(metavar="mvtec_ad|visa|btad", help="A data set with published figures.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where its categories lie on this machine.")],
    model: Model = PAPER_BACKBONE,
    shots: Annotated[str, typer.Option(metavar="N,N", help=f"Numbers of normal images, {LIST}; 4 is ours.")] = "4",
    seeds: Seeds = "0,1,2",
    device: Device = "auto",
    json_out: JsonOut = None,
    resume: Resume = False,
) -> None:
    """Run what is known of the paper's protocol on a public data set, and print it beside the paper's figures.

    Example: lake reproduce mvtec_ad data/mvtec --json mvtec.json
    """
    from lake_core.cli.reproduce import Request, run

    run(
        Request(
            dataset=dataset,
            folder=folder,
            shots=numbers("--shots", shots),
            seeds=numbers("--seeds", seeds),
            model=model,
            device=device,
            json_out=json_out,
            resume=resume,
        )
    )
