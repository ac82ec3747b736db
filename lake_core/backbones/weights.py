"""Which files a model is made of, and their sha256: what tells two models of one name apart."""

import os
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub.errors import HFValidationError

from lake_core.backbones.fetching import weights_of
from lake_core.backbones.hub import CONFIG_NAME, cached_file, no_repository
from lake_core.backbones.intact import digest
from lake_core.backbones.registry import Source, own_path, parse_spec
from lake_core.data.samples import assets_folder

WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


def weights_digests(spec: str) -> dict[str, str]:
    """File name -> sha256 of a model's weights and configuration on this machine; empty where none is here.

    Nothing is downloaded. Files that have not changed are read once.

    Raises:
        BackboneError: if the spec names nothing that could be opened.
    """
    source = parse_spec(spec)
    try:
        return {name: digest(path) for name, path in sorted(_files(source).items())}
    except HFValidationError:
        raise no_repository(spec, source.name) from None


def name_without_path(spec: str) -> str:
    """A spec with only the last part of each path, for files that others read: they tell nothing of this machine."""
    scheme, _, rest = spec.partition(":")
    if scheme not in ("local-dir", "checkpoint"):
        return spec
    return f"{scheme}:" + "@".join(_last(path) for path in rest.split("@"))


def _files(source: Source) -> Mapping[str, Path]:
    match source.scheme:
        case "shipped" | "local-dir":
            is_ours = source.scheme == "shipped"
            folder = assets_folder() / source.name if is_ours else own_path(source.name)
            named = folder.iterdir() if os.path.isdir(folder) else ()
            found = [path for path in named if path.suffix in WEIGHTS_SUFFIXES or path.name == CONFIG_NAME]
        case "checkpoint":
            found = [own_path(part) for part in (source.name, source.detail)]
        case _:
            repository, names = weights_of(source)
            kept = [cached_file(repository, one) for one in (names, (CONFIG_NAME,))]
            found = [path for path in kept if path is not None]
    return {path.name: path for path in found if os.path.isfile(path)}


def _last(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2] or "model"
