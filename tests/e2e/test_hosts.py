"""Who may call the server: by its own names alone, from its own pages, against DNS rebinding and foreign frames."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.server import free_port, running_dashboard
from tests.e2e.steps import PATIENCE, settle

HEALTH, STREAM = "/_stcore/health", "/_stcore/stream"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that begins with a sample, lets others in, and is called by a name of its own."""
    log = tmp_path_factory.mktemp("server") / "dashboard.log"
    arguments = ("--host", "0.0.0.0", "--allow-host", "lake.example.com", "--sample", "metal")
    with running_dashboard(log, *arguments) as found:
        yield found
    assert "checkip" not in log.read_text()
    assert "External URL" not in log.read_text()


def answer(address: str, path: str, host: str, origin: str | None = None) -> tuple[int, str]:
    """Status and text of a raw request, a WebSocket's handshake where the path is the stream's."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}"]
    if origin is not None:
        lines.append(f"Origin: {origin}")
    if path == STREAM:
        lines += ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    lines += [f"Connection: {'Upgrade' if path == STREAM else 'close'}", "", ""]
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        connection.sendall("\r\n".join(lines).encode())
        received = b""
        while b"\r\n\r\n" not in received or path != STREAM:
            part = connection.recv(65536)
            if not part:
                break
            received += part
    return int(received.split()[1]), received.decode("utf-8", "replace")


def port_of(address: str) -> int:
    return int(urlsplit(address).port or 80)


@pytest.mark.parametrize("path", [HEALTH, STREAM, "/"])
def test_a_rebound_name_is_refused(address: str, path: str) -> None:
    for host in (
        "evil.example",
        f"evil.example:{port_of(address)}",
        "localhost.evil.example",
        "",
        "a b",
        "127.0.0.1@x",
    ):
        status, said = answer(address, path, host, f"http://{host}")
        assert status in (400, 403), host
        assert "set-cookie" not in said.lower()
    status, said = answer(address, path, "evil.example")
    assert path == STREAM or "--allow-host evil.example" in said


def test_this_machine_is_called_by_its_own_names(address: str) -> None:
    port = port_of(address)
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "LOCALHOST", socket.gethostname()):
        assert answer(address, HEALTH, host)[0] == 200, host
        assert answer(address, STREAM, host, f"http://{host}")[0] == 101, host


def test_a_page_of_another_site_gets_no_websocket(address: str) -> None:
    host = f"127.0.0.1:{port_of(address)}"
    for origin in ("http://evil.example", "https://evil.example:8501", "null", "http://127.0.0.1.evil.example", "x"):
        assert answer(address, STREAM, host, origin)[0] == 403, origin
    assert answer(address, STREAM, host, f"http://localhost:{port_of(address)}")[0] == 101


def test_a_shared_server_answers_to_its_name_and_to_addresses(shared: str) -> None:
    for host in ("lake.example.com", "lake.example.com:443", "192.168.7.9:8501", "[fe80::1]"):
        assert answer(shared, HEALTH, host)[0] == 200, host
        assert answer(shared, STREAM, host, f"https://{host}")[0] == 101, host
    for host in ("example.com", "evil.example", "lake.example.com.evil.example"):
        assert answer(shared, HEALTH, host)[0] == 403, host
        assert answer(shared, STREAM, host, f"https://{host}")[0] == 403, host


def test_browsers_are_told_to_ask_no_one_else_and_to_frame_only_what_is_made_for_frames(address: str) -> None:
    host = f"127.0.0.1:{port_of(address)}"
    _, page = answer(address, "/?w=x", host)
    _, for_a_frame = answer(address, "/?w=x&embed=1", host)
    for said in (page, for_a_frame):
        assert "referrer-policy: same-origin" in said.lower()
        assert f"connect-src 'self' data: blob: ws://{host} wss://{host}" in said
        assert "default-src 'self'" in said
    assert "frame-ancestors 'self'" in page
    assert "frame-ancestors" not in for_a_frame


@contextmanager
def other_site(folder: Path, frame: str) -> Iterator[str]:
    """A page of another site with a frame."""
    (folder / "index.html").write_text(f'<iframe id="frame" src="{frame}" width="1200" height="900"></iframe>')
    port = free_port()
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.shutdown()
        thread.join(10)


def test_another_site_shows_the_microscope_in_a_frame_and_nothing_else(
    chromium: Browser, shared: str, tmp_path: Path
) -> None:
    with other_site(tmp_path, f"{shared}/?embed=1") as url, chromium.new_context() as context:
        page = context.new_page()
        page.goto(url)
        expect(page.frame_locator("#frame").locator(".microscope .ms-stage")).to_be_visible(timeout=2 * PATIENCE)
    with other_site(tmp_path, f"{shared}/") as url, chromium.new_context() as context:
        page = context.new_page()
        refused: list[str] = []
        page.on("console", lambda message: refused.append(message.text))
        page.goto(url)
        page.wait_for_timeout(1000)
        assert any("frame-ancestors" in text for text in refused), refused
        assert page.frame_locator("#frame").locator("[data-testid=stApp]").count() == 0


def test_visitors_of_a_shared_server_choose_from_its_models_alone(chromium: Browser, shared: str) -> None:
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(shared)
        settle(page)
        page.get_by_test_id("stSelectbox").filter(has_text="Backbone").locator("input").click()
        options = page.get_by_role("option")
        expect(options.first).to_be_visible()
        assert options.all_inner_texts() == ["lake-cnn", "lake-vit"]
        page.keyboard.press("Escape")
        assert page.get_by_label("Model", exact=True).count() == 0
