"""The options --preset and --top-k, and the parameters that a command line gives, over those of its preset."""

from typing import Annotated, Any

import typer

from lake_core.cli.lists import numbers
from lake_core.config import PRESETS, require_one_of

Preset = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(PRESETS),
        help="Begin with what is known of the paper's settings; options that are given override it.",
    ),
]
TopK = Annotated[
    str | None,
    typer.Option(metavar="N[,N]", help="Neurons selected in each layer, one number or one a layer; default 100."),
]


def given_parameters(preset: str | None, *, top_k: str | None = None, **parameters: Any) -> dict[str, Any]:
    """The parameters of `LakeConfig` that a command line gives: those that are named, over those of a preset.

    Args:
        preset: Of --preset; None where it is not given.
        top_k: Of --top-k, one number or one for each layer; None where it is not given.
        parameters: The others by name; None where one is not given.
    Raises:
        ConfigError: if there is no such preset, or --top-k is no list of numbers.
    """
    require_one_of("--preset", preset, (None, *PRESETS))
    ks = None if top_k is None else tuple(numbers("--top-k", top_k))
    named = {"top_k": ks[0] if ks is not None and len(ks) == 1 else ks} | parameters
    return PRESETS.get(preset or "", {}) | {name: value for name, value in named.items() if value is not None}
