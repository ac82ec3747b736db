"""Which files a model is made of, and their sha256: what tells two models of one name apart."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from huggingface_hub.errors import HFValidationError

from lake_core.backbones.fetching import weights_of
from lake_core.backbones.hub import CONFIG_NAME, cached_file, no_repository
from lake_core.backbones.registry import Source, parse_spec
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
        return {name: _digest(path) for name, path in sorted(_files(source).items())}
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
            folder = assets_folder() / source.name if is_ours else Path(source.name).expanduser()
            named = folder.iterdir() if folder.is_dir() else ()
            found = [path for path in named if path.suffix in WEIGHTS_SUFFIXES or path.name == CONFIG_NAME]
        case "checkpoint":
            found = [Path(part).expanduser() for part in (source.name, source.detail)]
        case _:
            repository, names = weights_of(source)
            kept = [cached_file(repository, one) for one in (names, (CONFIG_NAME,))]
            found = [path for path in kept if path is not None]
    return {path.name: path for path in found if path.is_file()}


def _digest(path: Path) -> str:
    found = path.stat()
    return _digest_of(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest_of(path: Path, n_bytes: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _last(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2] or "model"
