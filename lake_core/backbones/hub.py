"""Files of the Hugging Face hub: from its cache on this machine, else downloaded, else a sentence within seconds."""

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

from lake_core.errors import BackboneError, UnavailableError, first_line
from lake_core.types import Progress

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


def hub_file(spec: str, repository: str, names: Sequence[str], on_progress: Progress | None = None) -> Path:
    """The first of the files that the cache or else the repository has; downloaded if need be.

    Args:
        spec: The backbone that is being opened, for messages.
        on_progress: Called with the bytes downloaded and the bytes in all; what it raises ends the download, of which
            nothing stays.
    Raises:
        BackboneError: if there is no such repository or file.
        UnavailableError: if it is not on this machine and cannot be brought here.
    """
    try:
        return cached_file(repository, names) or _downloaded(spec, repository, names, on_progress)
    except HFValidationError:
        raise no_repository(spec, repository) from None


def no_repository(spec: str, repository: str) -> BackboneError:
    """What is said of a name that no repository can have."""
    return BackboneError(f"{spec}: {repository!r} is not the name of a repository; write hf-hub:ORG/REPO.")


def _downloaded(spec: str, repository: str, names: Sequence[str], on_progress: Progress | None) -> Path:
    sizes = ((name, _size_on_hub(spec, repository, name)) for name in names)
    name, n_bytes = next(((name, size) for name, size in sizes if size is not None), ("", 0))
    if not name:
        raise BackboneError(f"{spec}: the repository {repository} has no {' or '.join(names)}; choose another one.")
    _check_room(spec, n_bytes)
    watched = _Watched(on_progress)
    try:
        if on_progress is None:
            return Path(hf_hub_download(repository, name))
        with _one_stream():
            return Path(hf_hub_download(repository, name, tqdm_class=watched.bar()))
    except Exception as error:  # of the hub's client, its network library, or the disk
        if error is watched.stopped:
            raise
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise UnavailableError(_no_room(spec, n_bytes)) from error
        raise UnavailableError(_unavailable(spec, f"the download failed ({first_line(error)})")) from error


class _Watched:
    """Reports the progress of a download, and remembers what the report raised to end it."""

    def __init__(self, on_progress: Progress | None) -> None:
        self._on_progress = on_progress
        self.stopped: BaseException | None = None

    def report(self, n_done: int, n_all: int) -> None:
        if self._on_progress is None:
            return
        try:
            self._on_progress(n_done, n_all)
        except BaseException as error:
            self.stopped = error
            raise

    def bar(self) -> type[Any]:
        """A progress bar as the hub's client wants it, which draws nothing and reports instead."""
        report = self.report

        class Bar(tqdm):
            def __init__(self, *args: Any, total: int | None = None, initial: int = 0, **options: Any) -> None:
                super().__init__(*args, **(options | {"disable": True}))  # type: ignore[no-untyped-call]
                self._n_done, self._n_all = initial, total or 0
                report(self._n_done, self._n_all)

            def update(self, n: float | None = 1) -> bool | None:
                self._n_done += int(n or 0)
                report(self._n_done, self._n_all)
                return None

        return Bar


_STREAM_LOCK = Lock()
_CHUNK = 1024**2
"""Bytes between two reports: what a slow connection brings in a second or two."""


@contextmanager
def _one_stream() -> Iterator[None]:
    """While it lasts, the hub's client reads a file as one stream in the thread that asked, and in small steps.

    Its Xet client reports from a thread of its own, where raising an error ends nothing.
    """
    with _STREAM_LOCK:
        kept = constants.HF_HUB_DISABLE_XET, constants.DOWNLOAD_CHUNK_SIZE
        constants.HF_HUB_DISABLE_XET, constants.DOWNLOAD_CHUNK_SIZE = True, _CHUNK
        try:
            yield
        finally:
            constants.HF_HUB_DISABLE_XET, constants.DOWNLOAD_CHUNK_SIZE = kept


def _size_on_hub(spec: str, repository: str, name: str) -> int | None:
    """Asks the hub once for a file's bytes, 0 if it does not say; None if there is no such file.

    A download without this would try again for half a minute.
    """
    try:
        return get_hf_file_metadata(hf_hub_url(repository, name), timeout=HUB_TIMEOUT_S).size or 0
    except EntryNotFoundError:
        return None
    except OfflineModeIsEnabled:
        raise UnavailableError(_unavailable(spec, "HF_HUB_OFFLINE is set")) from None
    except HfHubHTTPError as error:
        reason = f"the hub refuses {repository} ({first_line(error)})"
        raise UnavailableError(_unavailable(spec, reason, "check its name and whether you may read it")) from error
    except Exception as error:  # of the client's network library, which differs between its versions
        raise UnavailableError(_unavailable(spec, f"the hub cannot be reached ({first_line(error)})")) from error


def _check_room(spec: str, n_bytes: int) -> None:
    if n_bytes > _free_bytes():
        raise UnavailableError(_no_room(spec, n_bytes))


def _free_bytes() -> int:
    """Free bytes on the disk of the hub's cache, which may not have a folder yet."""
    cache = Path(constants.HF_HUB_CACHE).expanduser().absolute()
    folder = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    return shutil.disk_usage(folder).free


def _no_room(spec: str, n_bytes: int) -> str:
    return (
        f"{spec}: the model needs {n_bytes / 1e6:.0f} MB and the disk of {constants.HF_HUB_CACHE} has "
        f"{_free_bytes() / 1e6:.0f} MB left; make room, or set HF_HOME to a folder on another disk."
    )


def _unavailable(spec: str, reason: str, remedy: str = "connect to the internet once") -> str:
    return (
        f"{spec}: the model is not on this machine and {reason}; {remedy}, or copy the model here and open it as "
        "local-dir:FOLDER."
    )
