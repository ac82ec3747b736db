"""A real dashboard server in a process of its own, and a browser to look at it: for tests and screenshots."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running_dashboard(log: Path, *arguments: str) -> Iterator[str]:
    """Starts `lake dashboard` on a free port, waits until it answers, and stops it in the end.

    Yields:
        Its address.
    """
    port = free_port()
    with serving(dashboard_command(port, *arguments), port, log) as address:
        yield address


@contextmanager
def serving(command: list[str], port: int, log: Path) -> Iterator[str]:
    """Starts a Streamlit server by a command, waits until it answers, and stops it in the end.

    Yields:
        Its address.
    """
    process = start_server(command, port, log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def dashboard_command(port: int, *arguments: str) -> list[str]:
    """The command line of `lake dashboard` on a port."""
    return [str(Path(sys.executable).with_name("lake")), "dashboard", "--port", str(port), "--headless", *arguments]


def start_server(command: list[str], port: int, log: Path) -> subprocess.Popen[bytes]:
    """Starts a Streamlit server and waits until it answers; its store of projects lies beside the log."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "LAKE_STORE": str(log.with_name("store"))}
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}", process, log)
    except BaseException:
        process.kill()
        process.wait(timeout=20)
        raise
    return process


def _wait_until_healthy(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the dashboard stopped: {log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the dashboard did not answer: {log.read_text()[-2000:]}")


@contextmanager
def browser() -> Iterator[Browser]:
    """The system's Chromium where there is one, else Playwright's own."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield opened
        opened.close()


PATIENCE_S = float(os.environ.get("LAKE_WALK_PATIENCE_S", "90"))
"""For one run of a page; more where many browsers share a small machine."""
QUIET_MS = 300
"""How long nothing may change: longer than an answer of the server, and than a slider waits for the next key."""
POLL_MS = 50
"""Asked at each frame instead, the page is drawn sixty times a second, which slows down all that runs beside it."""

IS_DRAWN = """document.querySelector('[data-testid=stApp][data-test-script-state=notRunning]')
        && !document.querySelector('[data-testid=stMain] :is([data-testid=stSkeleton], [data-stale=true])')"""

IS_IDLE = """([start, quiet]) => {
    if (!window.lakeObserver) {
        window.lakeObserver = new MutationObserver(() => { window.lakeChanged = performance.now(); });
        window.lakeObserver.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
    }
    const done = IS_DRAWN && !document.querySelector('.st-key-layers_beside');
    if (!done) window.lakeChanged = performance.now();
    return done && performance.now() - Math.max(start, window.lakeChanged || start) > quiet;
}""".replace("IS_DRAWN", IS_DRAWN)


def wait_until_drawn(page: Page, timeout_s: float = PATIENCE_S) -> None:
    """Waits until the app's script has run to its end and nothing of the page before is left."""
    page.wait_for_function(IS_DRAWN, timeout=timeout_s * 1000, polling=POLL_MS)


def wait_until_idle(page: Page, timeout_s: float = PATIENCE_S) -> None:
    """Waits until the app's script has run to its end, all layers have arrived, and the page has stopped to change."""
    start = page.evaluate("performance.now()")
    page.wait_for_function(IS_IDLE, arg=[start, QUIET_MS], timeout=timeout_s * 1000, polling=POLL_MS)
