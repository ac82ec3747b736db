"""What commands that score images are asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line; `parameters` are those of `LakeConfig` that were given."""

    normal: Path
    test: Path
    out: Path
    model: str
    image_size: int | None
    resize: str
    device: str
    parameters: Mapping[str, Any]
