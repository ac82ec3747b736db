"""Files of the Hugging Face hub: from its cache on this machine, else downloaded, else a sentence within seconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from lake_core.errors import BackboneError, first_line

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of the weights file in a repository or folder of open_clip, the safer format first."""

HUB_TIMEOUT_S = 3.0
"""How long the hub may take to say what it knows of a file; the download itself may take longer."""


def weights_on_hub(pretrained: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Repository of one of open_clip's pretrained tags and the names that its weights may have there, safest first."""
    repository, _, name = str(pretrained.get("hf_hub", "")).rpartition("/")
    if name in ("", WEIGHTS_NAMES[-1]):
        return repository, WEIGHTS_NAMES
    return repository, tuple(dict.fromkeys((Path(name).with_suffix(".safetensors").name, name)))


def cached_file(repository: str, names: Sequence[str]) -> Path | None:
    """The first of the files that lies in the hub's cache, or None.

    Raises:
        HFValidationError: if the repository's name cannot be one.
    """
    found = (try_to_load_from_cache(repository, name) for name in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def hub_file(spec: str, repository: str, names: Sequence[str]) -> Path:
    """The first of the files that the cache or else the repository has; downloaded if need be.

    Args:
        spec: The backbone that is being opened, for messages.
    Raises:
        BackboneError: if there is no such repository or file, or the hub cannot be reached.
    """
    try:
        return cached_file(repository, names) or _downloaded(spec, repository, names)
    except HFValidationError:
        raise BackboneError(f"{spec}: {repository!r} is not the name of a repository; write hf-hub:ORG/REPO.") from None


def _downloaded(spec: str, repository: str, names: Sequence[str]) -> Path:
    name = next((name for name in names if _is_on_hub(spec, repository, name)), None)
    if name is None:
        raise BackboneError(f"{spec}: the repository {repository} has no {' or '.join(names)}; choose another one.")
    try:
        return Path(hf_hub_download(repository, name))
    except Exception as error:  # of the hub's client, its network library, or the disk
        raise BackboneError(_unavailable(spec, f"the download failed ({first_line(error)})")) from error


def _is_on_hub(spec: str, repository: str, name: str) -> bool:
    """Asks the hub once for a file; a download without this would try again for half a minute."""
    try:
        get_hf_file_metadata(hf_hub_url(repository, name), timeout=HUB_TIMEOUT_S)
    except EntryNotFoundError:
        return False
    except OfflineModeIsEnabled:
        raise BackboneError(_unavailable(spec, "HF_HUB_OFFLINE is set")) from None
    except HfHubHTTPError as error:
        reason = f"the hub refuses {repository} ({first_line(error)})"
        raise BackboneError(_unavailable(spec, reason, "check its name and whether you may read it")) from error
    except Exception as error:  # of the client's network library, which differs between its versions
        raise BackboneError(_unavailable(spec, f"the hub cannot be reached ({first_line(error)})")) from error
    return True


def _unavailable(spec: str, reason: str, remedy: str = "connect to the internet once") -> str:
    return (
        f"{spec}: the model is not on this machine and {reason}; {remedy}, or copy the model here and open it as "
        "local-dir:FOLDER."
    )
