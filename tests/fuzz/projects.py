"""Project files: manifests with wrong values, hostile paths and versions, files that lack or lie, damaged bytes."""

import json
from functools import cache
from typing import Any

from numpy.random import Generator

from dashboard.services.projects import as_snapshot
from lake_core.projects.project import sha256_of
from lake_core.projects.project_file import project_bytes, read_project
from tests.core.projects.cases import entries, project
from tests.fuzz import images
from tests.fuzz.archives import WAYS, packed
from tests.fuzz.mutations import TEXTS, pick, spoiled, spoiled_json, spoiled_text

NAME = "project"
"""In the file's name, and in sentences on what is in it."""


@cache
def valid() -> bytes:
    return project_bytes(project())


def make(rng: Generator) -> bytes:
    files = dict(_entries())
    match int(rng.integers(6)):
        case 0 | 1:
            document = spoiled_json(json.loads(files["manifest.json"]), rng)
            files["manifest.json"] = json.dumps(document).encode("utf-8", "replace")
        case 2:
            files["manifest.json"] = spoiled(files["manifest.json"], rng)
        case 3:
            files = _other_files(files, rng)
        case 4:
            files = _other_image(files, rng)
        case _:
            return spoiled(valid(), rng)
    data = packed(files, pick(rng, WAYS))
    return spoiled(data, rng) if rng.random() < 0.1 else data


def run(data: bytes) -> None:
    found = read_project(data, f"{NAME}.lake")
    as_snapshot(found.opened(), is_own=False)


@cache
def _entries() -> dict[str, bytes]:
    return entries(valid())


def _other_files(files: dict[str, bytes], rng: Generator) -> dict[str, bytes]:
    """A file removed, renamed, changed, or one too many."""
    name = pick(rng, list(files))
    match int(rng.integers(4)):
        case 0:
            del files[name]
        case 1:
            files[spoiled_text(name, rng).encode("utf-8", "replace").decode().replace("\0", "0")[:60_000]] = files.pop(
                name
            )
        case 2:
            files[name] = spoiled(files[name], rng)
        case _:
            text = pick(rng, TEXTS).encode("utf-8", "replace").decode().replace("\0", "0")
            files[f"files/{text}"] = b"x"
    return files


def _other_image(files: dict[str, bytes], rng: Generator) -> dict[str, bytes]:
    """A spoiled image in place of one, called by its true sha256."""
    document: dict[str, Any] = json.loads(files["manifest.json"])
    old = pick(rng, list(document["tests"]))["sha256"]
    data = images.make(rng)
    new = sha256_of(data)
    files.pop(f"files/{old}", None)
    text = files["manifest.json"].decode().replace(old, new)
    return files | {"manifest.json": text.encode(), f"files/{new}": data}
