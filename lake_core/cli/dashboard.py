"""What `lake dashboard` does: find the app and a free port, start Streamlit, open the browser."""

import errno
import importlib.util
import os
import re
import runpy
import socket
import sys
import threading
import time
import urllib.request
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from lake_core.errors import ConfigError, LakeError

DEFAULT_PORT = 8501
_TRIES = 50
_HOST_NAME = re.compile(r"(\*\.)?[\w-]+(\.[\w-]+)*", re.ASCII)
_FLAGS = {
    "server.headless": "true",  # no question for an e-mail address; the browser is opened here
    "server.fileWatcherType": "none",
    "server.maxUploadSize": "300",
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
    "logger.hideWelcomeMessage": "true",  # it would ask a host of Amazon's for this machine's address
    "runner.magicEnabled": "false",  # a bare string in a page is a remark, not output
}


@dataclass(frozen=True)
class Begin:
    """What the dashboard begins with.

    Attributes:
        sample: Built-in sample that is open.
        project: Project file that is open.
        data: The folder below which visitors may choose data sets to evaluate on; None leaves it to LAKE_DATA.
        store: Where shared projects and visitors' work lie; None leaves it to LAKE_STORE, else to the user's data.
        memory: Share of the machine's memory for stored activations and results; None is the dashboard's own.
        keep_days: Days after which the store forgets a project; None is the store's own limit.
        store_gb, store_projects: What the store holds at most; None is the store's own limit.
        read_only: Samples and shared projects alone; visitors upload, share and store nothing.
        models: What visitors may choose besides the default one; none leaves it to the address that is listened at.
        hosts: Names by which the server is reached, besides the machine's own.
    """

    sample: str | None = None
    project: Path | None = None
    data: Path | None = None
    store: Path | None = None
    keep_days: float | None = None
    memory: float | None = None
    store_gb: float | None = None
    store_projects: int | None = None
    read_only: bool = False
    models: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """What the dashboard's script is given."""
        paths = {"--project": self.project, "--data": self.data, "--store": self.store}
        named = {name: str(path.resolve()) for name, path in paths.items() if path is not None}
        named |= {} if self.sample is None else {"--sample": self.sample}
        numbers = {
            "--keep-days": self.keep_days,
            "--memory": self.memory,
            "--store-gb": self.store_gb,
            "--store-projects": self.store_projects,
        }
        named |= {name: str(number) for name, number in numbers.items() if number is not None}
        repeated = [("--models", model) for model in self.models] + [("--allow-host", host) for host in self.hosts]
        flags = ["--read-only"] if self.read_only else []
        return [word for name_and_value in (*named.items(), *repeated) for word in name_and_value] + flags


def launch(
    port: int | None = None,
    host: str = "127.0.0.1",
    begin: Begin | None = None,
    open_browser: bool = True,
    app: Path | None = None,
) -> None:
    """Runs the dashboard until it is stopped.

    Args:
        port: To begin the search for a free port with; None takes the environment's PORT, else 8501.
        host: Address to listen at.
        begin: What it begins with; nothing if None.
        open_browser: Open it when the dashboard answers, where there is a screen.
        app: The Streamlit script, by default the dashboard's.
    Raises:
        ConfigError: if the port, the host, PORT, the sample or the data folder is not usable.
        BackboneError: if a name is no model's.
        ProjectError: if the project is not.
        LakeError: if the dashboard is not installed.
    """
    begin = begin or Begin()
    _check(begin)
    script = app or find_app()
    chosen = free_port(host, wanted_port() if port is None else port)
    url = address(host, chosen)
    typer.echo(f"LAKE Explorer: {url}")
    if host not in ("127.0.0.1", "localhost", "::1"):
        typer.echo("There is no sign-in: whoever reaches this port can use it (docs/deployment.md).")
    if open_browser and _has_screen():
        threading.Thread(target=_open_when_ready, args=(url,), daemon=True).start()

    sys.argv = ["streamlit", *streamlit_arguments(script, host, chosen, begin)]
    runpy.run_module("dashboard.server", run_name="__main__")  # by its name: the core imports no interface


def streamlit_arguments(script: Path, host: str, port: int, begin: Begin) -> list[str]:
    """What follows `streamlit` on its command line."""
    flags = {"server.address": host, "server.port": str(port), **_FLAGS}
    if begin.read_only:
        flags["server.maxUploadSize"] = "1"  # no page asks for a file; whoever sends one all the same fills no memory
    arguments = ["run", str(script)]
    for name, value in flags.items():
        arguments += [f"--{name}", value]
    own = begin.arguments()
    return [*arguments, "--", *own] if own else arguments


def find_app() -> Path:
    """The dashboard's script.

    Raises:
        LakeError: if it is not installed.
    """
    spec = importlib.util.find_spec("dashboard")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        script = Path(folder) / "asgi.py"
        if script.is_file():
            return script
    raise LakeError("The dashboard is not installed beside lake_core; install lake-explorer again.")


def wanted_port() -> int:
    """The environment's PORT, else 8501.

    Raises:
        ConfigError: if PORT is no port.
    """
    text = os.environ.get("PORT", "").strip()
    if not text:
        return DEFAULT_PORT
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= 65535):
        raise ConfigError(f"The environment's PORT is {text!r}; it must be a number from 1 to 65535.")
    return int(text)


def free_port(host: str, first: int) -> int:
    """The first port from `first` on that nobody listens at, of at most 50.

    Raises:
        ConfigError: if there is none, or the host is no address of this machine.
    """
    last = min(first + _TRIES - 1, 65535)
    for port in range(first, last + 1):
        try:
            family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                if os.name == "posix":
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(where)
                probe.listen(1)
            return port
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise ConfigError(
                    f"The dashboard cannot listen at {host} ({error.strerror}); use 127.0.0.1, or 0.0.0.0 for all."
                ) from None
    raise ConfigError(f"No port from {first} to {last} is free at {host}; choose another with --port.")


def address(host: str, port: int) -> str:
    """The address to open on this machine."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def _check(begin: Begin) -> None:
    if begin.sample is not None:
        _check_sample(begin.sample)
    if begin.project is not None:
        from lake_core.projects.project_file import read_project

        read_project(begin.project)
    if begin.data is not None and not begin.data.is_dir():
        raise ConfigError(f"--data {begin.data} is no folder; give the folder that holds your data sets.")
    _check_models(begin.models)
    for host in begin.hosts:
        if not _HOST_NAME.fullmatch(host):
            raise ConfigError(f"--allow-host {host!r} is no name of a host; write it without http:// and port.")


def _check_models(specs: Sequence[str]) -> None:
    if specs:
        from lake_core.backbones.registry import parse_spec

        for spec in specs:
            parse_spec(spec)


def _check_sample(name: str) -> None:
    from lake_core.data.samples import sample_names

    if name not in sample_names():
        known = ", ".join(sample_names()) or "(none)"
        raise ConfigError(f"There is no sample {name!r}; choose one of {known}.")


def _has_screen() -> bool:
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _open_when_ready(url: str, patience_s: float = 60.0) -> None:
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=2).close()
        except OSError:
            time.sleep(0.3)
        else:
            webbrowser.open(url)
            return
