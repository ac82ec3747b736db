"""A hub of our own on this machine: repositories with files that Hugging Face's client downloads over HTTP."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import open_clip
import pytest
from huggingface_hub import close_session
from huggingface_hub import constants as hub_constants
from safetensors.torch import save

from tests.core.tiny import FAMILIES, config_of, random_weights

SPEC = "tiny-vit:made_up"
REPOSITORY = "lake/tiny-made_up"
STATISTICS = {"mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28), "interpolation": "bicubic"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class LocalHub:
    """What the hub holds, and what it was asked for.

    Attributes:
        files: "ORG/REPO/NAME" -> bytes.
        headers: Sent with every answer, beside what the client needs.
        asked: Method and path of every request, in order.
        may_send: Cleared to make a download stand still after its first bytes.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self.headers: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.may_send = threading.Event()
        self.may_send.set()


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[LocalHub]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        data = self._answer()
        half = len(data) // 2
        self.wfile.write(data[:half])
        self.hub.may_send.wait(30)
        self.wfile.write(data[half:])

    def _answer(self) -> bytes:
        self.hub.asked.append((self.command, self.path))
        repository, _, name = self.path.strip("/").partition("/resolve/main/")
        data = self.hub.files.get(f"{repository}/{name}")
        self.send_response(404 if data is None else 200)
        if data is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(data or b"").hexdigest()}"'} | self.hub.headers
        for key, value in (headers | {"Content-Length": str(len(data or b""))}).items():
            self.send_header(key, value)
        self.end_headers()
        return data or b""

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def running_hub(patch: pytest.MonkeyPatch, cache: Path, family: str = "native-vit") -> Iterator[LocalHub]:
    """Serves a tiny model under SPEC and REPOSITORY, to a client whose cache is empty.

    Args:
        patch: Undone by the caller.
        cache: Folder for the client's cache.
        family: The model's.
    """
    config = config_of(FAMILIES[family])
    tag = STATISTICS | {"url": "", "hf_hub": f"{REPOSITORY}/"}
    patch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-vit", config["model_cfg"])
    patch.setitem(open_clip.pretrained._PRETRAINED, "tiny-vit", {"made_up": tag})
    hub = LocalHub(
        {
            f"{REPOSITORY}/open_clip_config.json": json.dumps(config).encode(),
            f"{REPOSITORY}/open_clip_model.safetensors": save(random_weights(family)),
        }
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"):
        patch.delenv(name, raising=False)
    patch.setattr(
        hub_constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    patch.setattr(hub_constants, "ENDPOINT", address)
    patch.setattr(hub_constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(hub_constants, "HF_HUB_OFFLINE", False)
    close_session()
    try:
        yield hub
    finally:
        hub.may_send.set()
        server.shutdown()
        server.server_close()
        close_session()


def partial_files(cache: Path) -> list[Path]:
    """What a download that did not end left in the cache."""
    return [path for path in cache.rglob("*") if path.suffix in (".incomplete", ".safetensors")]
