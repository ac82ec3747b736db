"""Whether weights are whole: those of the included models by their sha256, others by their numbers."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from lake_core.errors import BackboneError

SHIPPED_SHA256 = {
    "lake-cnn": "6a773a45a42bfeef7b0e8872b7a0ddb015731973bc4ee6c2b036cd9afdca6a88",
    "lake-vit": "1c4fd109f3d728f026f72809fb71b919d8a896eb5c24e88d2c98dbc116652a74",
}
"""Of the weights of the models that come with the program; written anew whenever these are."""


def check_shipped(name: str, weights: Path) -> None:
    """Makes sure that the weights of an included model are those that came with the program.

    Raises:
        BackboneError: if they are not, or cannot be read.
    """
    try:
        is_whole = digest(weights) == SHIPPED_SHA256[name]
    except OSError as error:
        raise BackboneError(f"{name}: {weights.name} cannot be read ({error.strerror}); install again.") from None
    if not is_whole:
        raise BackboneError(
            f"{name}: {weights.name} is damaged, or not the file that came with LAKE Explorer; install it again."
        )


def check_finite(spec: str, model: Any) -> None:
    """Makes sure that the weights of a model are numbers.

    Raises:
        BackboneError: if one is not.
    """
    for name, values in model.state_dict().items():
        if not values.is_floating_point() or not values.numel():
            continue
        if not torch.stack(torch.aminmax(values)).isfinite().all():  # many times as fast as isfinite of all
            raise BackboneError(f"{spec}: its weights are damaged: {name} holds what is no number; copy them again.")


def digest(path: Path) -> str:
    """The sha256 of a file; one that has not changed is read once.

    Raises:
        OSError: if it cannot be read.
    """
    found = path.stat()
    return _digest_of(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest_of(path: Path, n_bytes: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
