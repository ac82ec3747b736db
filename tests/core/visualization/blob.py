"""A reader of the microscope's blobs, written from the format's description alone."""

import json
from typing import Any, NamedTuple

import numpy as np

KINDS = {"u1": "u1", "u2": "<u2", "u4": "<u4", "f4": "<f4", "f8": "<f8"}


class Blob(NamedTuple):
    """A header, and the sections: flat arrays, or the bytes of JPEG files."""

    header: dict[str, Any]
    sections: dict[str, Any]


def read_blob(data: bytes) -> Blob:
    length = int.from_bytes(data[:4], "little")
    header = json.loads(data[4 : 4 + length])
    assert (4 + length) % 8 == 0
    sections: dict[str, Any] = {}
    for name, (offset, size, kind) in header["sections"].items():
        assert offset % 8 == 0
        part = data[4 + length + offset : 4 + length + offset + size]
        assert len(part) == size
        sections[name] = part if kind == "jpeg" else np.frombuffer(part, KINDS[kind])
    return Blob(header, sections)


def neuron_parts(blob: Blob, number: int) -> np.ndarray:
    """(n_patches, k) float64: what each listed neuron of a layer adds at each patch of the fused grid."""
    layer = blob.header["layers"][number]
    difference = blob.sections[f"{number}.difference"].reshape(-1, len(layer["neurons"]))
    parts: np.ndarray = difference[blob.sections[f"{number}.under"]].astype(np.float64) ** 2
    return parts / layer["tau"] * layer["weight"]


def rest_parts(blob: Blob, number: int) -> np.ndarray:
    """(n_patches,) float64: what the selected neurons of a layer that are not listed add together."""
    rest: np.ndarray = blob.sections[f"{number}.rest"][blob.sections[f"{number}.under"]]
    return rest.astype(np.float64) * blob.header["layers"][number]["weight"]
