"""A model folder whose open_clip_config.json is spoiled: read, and opened where it is taken."""

import json
import tempfile
from functools import cache
from pathlib import Path

from numpy.random import Generator

from lake_core.backbones.opening import open_backbone
from tests.core.tiny import FAMILIES, config_of, write
from tests.fuzz.mutations import spoiled, spoiled_json

CONFIG = "open_clip_config.json"
NAME = "lake-fuzz-"
"""In the name of the folder."""


def valid() -> bytes:
    return json.dumps(config_of(FAMILIES["native-vit"])).encode()


def make(rng: Generator) -> bytes:
    if rng.random() < 0.15:
        return spoiled(valid(), rng)
    return json.dumps(spoiled_json(json.loads(valid()), rng)).encode("utf-8", "replace")


def run(data: bytes) -> None:
    (_folder() / CONFIG).write_bytes(data)
    open_backbone(f"local-dir:{_folder()}")


@cache
def _folder() -> Path:
    """A tiny model, for this process."""
    return write("native-vit", Path(tempfile.mkdtemp(prefix=NAME)))
